//! The threads that make KMS requests, and how much each has in hand.
//!
//! Problem: building, signing and reading requests is nearly all that a worker does, and more than one core's worth; but a
//! runtime that shares its tasks over threads wakes them and moves them across cores, which costs half as much again. So
//! each thread has a runtime of its own, and what it was given stays on it, with its connections ([`crate::kms`]). The session's loop
//! is on none of them: no try holds up a lease, a report or an abort.
//!
//! More at once than the machine keeps up with is no faster for it, but all that has begun must be waited for when its job
//! is stopped, and an abort waits for a core like everything else. So what a thread is given waits its turn there, and less is
//! begun while the thread itself has to wait for cores ([`Limit`], [`Cores`]). How slow KMS is counts for nothing: that is
//! no reason to ask it for less than its quota. What an abort has made void passes by those who wait.

use std::{collections::VecDeque, fmt, fs, io, num::NonZeroUsize, pin::Pin, sync::Arc, thread, time::Duration};

use service_kit::settings::Invalid;
use tokio::{
    runtime::Builder,
    sync::{Notify, mpsc},
    task::JoinSet,
    time::{Instant, MissedTickBehavior, interval},
};

use crate::permit::Permit;

/// What waits its turn: what allows its requests, and the work.
type Waiting = (Arc<Permit>, Pin<Box<dyn Future<Output = ()> + Send>>);

/// The threads. Dropping them drops what runs on them.
#[derive(Debug)]
pub(crate) struct Threads {
    all: Vec<Thread>,
    next: usize,
}

struct Thread {
    work: mpsc::UnboundedSender<Waiting>,
    aborted: Arc<Notify>,
}

impl Threads {
    /// Starts so many.
    ///
    /// # Errors
    /// [`Invalid`] when the system has none left.
    pub(crate) fn start(count: NonZeroUsize) -> Result<Self, Invalid> {
        let all = (0..count.get()).map(|_| Thread::start()).collect::<io::Result<_>>();
        Ok(Self { all: all.map_err(|error| Invalid::new("THREADS", error))?, next: 0 })
    }

    /// Has the next thread do work that needs this permit.
    ///
    /// # Panics
    /// When that thread broke down: the worker must not go on with a part of its tries failing.
    pub(crate) fn spawn(&mut self, permit: Arc<Permit>, work: impl Future<Output = ()> + Send + 'static) {
        self.next = (self.next + 1) % self.all.len();
        let taken = self.all[self.next].work.send((permit, Box::pin(work)));
        assert!(taken.is_ok(), "a thread for KMS requests broke down");
    }

    /// A job was aborted: what of it waits ends at once.
    pub(crate) fn aborted(&self) {
        self.all.iter().for_each(|thread| thread.aborted.notify_one());
    }
}

impl Thread {
    fn start() -> io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let (work, given) = mpsc::unbounded_channel();
        let aborted = Arc::new(Notify::new());
        let hears = aborted.clone();
        thread::Builder::new().name("kms".to_owned()).spawn(move || {
            runtime.block_on(run(given, &hears));
            // A name that is still being looked up holds up nobody.
            runtime.shutdown_background();
        })?;
        Ok(Self { work, aborted })
    }
}

impl fmt::Debug for Thread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Thread")
    }
}

/// Runs what is given until nobody gives anything any more.
async fn run(mut given: mpsc::UnboundedReceiver<Waiting>, aborted: &Notify) {
    let mut waiting = VecDeque::<Waiting>::new();
    let mut running = JoinSet::new();
    let (mut limit, mut cores) = (Limit::default(), Cores::counted());
    let mut look = interval(Limit::LOOK);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            next = given.recv() => match next {
                Some(next) => waiting.push_back(next),
                None => return,
            },
            // Of a panic the work's own end tells.
            Some(_ended) = running.join_next() => {}
            () = aborted.notified() => {
                let (void, rest) = waiting.drain(..).partition(|(permit, _)| permit.check().is_err());
                waiting = rest;
                let void: VecDeque<Waiting> = void;
                void.into_iter().for_each(|(_, work)| drop(running.spawn(work)));
            }
            _ = look.tick(), if !running.is_empty() => limit.look(cores.are_short(), !waiting.is_empty()),
        }
        while !given.is_closed()
            && running.len() < limit.now()
            && let Some((_, work)) = waiting.pop_front()
        {
            running.spawn(work);
        }
    }
}

/// How much a thread has begun and not ended at the most: it falls by an eighth while cores stay short, and grows by a
/// sixteenth while they are not and somebody waits.
#[derive(Debug)]
struct Limit {
    now: usize,
    /// Cores were short at the last look. Once is an accident: a lane that needs little of the machine would lose its pace by it.
    short: bool,
}

impl Limit {
    /// With so little begun a thread is in nobody's way.
    const LEAST: usize = 4;
    /// Above what any thread is given.
    const MOST: usize = 65_536;
    /// Between two looks.
    const LOOK: Duration = Duration::from_millis(10);

    const fn now(&self) -> usize {
        self.now
    }

    /// Whether cores are short, and whether somebody waits to begin.
    fn look(&mut self, short: bool, waited_for: bool) {
        let stays = std::mem::replace(&mut self.short, short) && short;
        if stays {
            self.now -= (self.now / 8).max(1);
        } else if waited_for && !short {
            self.now += (self.now / 16).max(1);
        }
        self.now = self.now.clamp(Self::LEAST, Self::MOST);
    }
}

/// Whether this thread gets a core when it wants one, by what the kernel counts of it (`schedstat`).
#[derive(Clone, Copy, Debug)]
struct Cores {
    at: Instant,
    ran: Duration,
    waited: Duration,
}

impl Cores {
    /// As counted now. A kernel that does not count has enough of them.
    fn counted() -> Self {
        let counted = fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
        let mut nanos = counted.split_ascii_whitespace().map_while(|figure| figure.parse().ok());
        let mut next = || Duration::from_nanos(nanos.next().unwrap_or(0));
        Self { at: Instant::now(), ran: next(), waited: next() }
    }

    /// Whether they were, since this was asked.
    fn are_short(&mut self) -> bool {
        let before = std::mem::replace(self, Self::counted());
        self.were_short_since(&before)
    }

    /// It had to wait for a fifth of the time that it had something to do. Each start waits a moment, so that a thread with little
    /// to do is not meant: it was a tenth of all the time, too.
    fn were_short_since(&self, before: &Self) -> bool {
        let waited = self.waited.saturating_sub(before.waited);
        waited * 4 > self.ran.saturating_sub(before.ran) && waited * 10 > self.at.saturating_duration_since(before.at)
    }
}

impl Default for Limit {
    fn default() -> Self {
        Self { now: Self::LEAST, short: false }
    }
}

#[cfg(test)]
mod tests {
    use job_model::{JobId, Moment};
    use service_kit::clock;
    use tokio::sync::oneshot;

    use super::*;
    use crate::{
        lease::{Heartbeats, Lease},
        stops::Stops,
    };

    #[tokio::test]
    async fn what_an_abort_has_made_void_passes_by_those_who_wait() {
        let (lease, stops) = (Arc::new(Lease::default()), Stops::default());
        let mut beats = Heartbeats::new(lease.clone());
        let number = beats.beat(clock::boottime());
        beats.granted(number, Duration::from_secs(60), clock::boottime());
        let job = |number| JobId::from_uuid(uuid::Uuid::from_u128(number));
        let permit = |number| Arc::new(Permit::for_go(&lease, stops.flag(job(number)), clock::boottime));
        let mut threads = Threads::start(NonZeroUsize::MIN).unwrap();
        let (go, begun) = mpsc::unbounded_channel();
        for number in (0..Limit::LEAST).map(|_| 1).chain([2, 3]) {
            let go = go.clone();
            threads.spawn(permit(number), async move {
                go.send(number).unwrap();
                if number == 1 {
                    std::future::pending::<()>().await;
                }
            });
        }
        let mut begun = begun;
        for _ in 0..Limit::LEAST {
            assert_eq!(begun.recv().await, Some(1));
        }
        stops.set(job(3), Moment::default());
        threads.aborted();
        assert_eq!(begun.recv().await, Some(3), "the second still waits its turn");
    }

    #[tokio::test]
    async fn what_runs_is_dropped_with_the_threads() {
        struct Held(#[expect(dead_code, reason = "its drop is what tells")] oneshot::Sender<()>);
        let (held, dropped) = oneshot::channel();
        let held = Held(held);
        let mut threads = Threads::start(NonZeroUsize::MIN).unwrap();
        let permit = Permit::for_look(&Arc::new(Lease::default()), clock::boottime);
        threads.spawn(Arc::new(permit), async move {
            let _held = held;
            std::future::pending::<()>().await;
        });
        drop(threads);
        dropped.await.unwrap_err();
    }

    #[test]
    fn cores_are_short_for_one_who_waits_much_and_not_for_one_who_does_little() {
        let before = Cores { at: Instant::now(), ran: Duration::from_secs(1), waited: Duration::from_secs(1) };
        let after = |ran_us, waited_us| Cores {
            at: before.at + Duration::from_millis(10),
            ran: before.ran + Duration::from_micros(ran_us),
            waited: before.waited + Duration::from_micros(waited_us),
        };
        for (ran_us, waited_us, short) in [
            (7_500, 2_500, true),
            (9_000, 1_000, false),
            (100, 50, false),
            (2_000, 900, false),
            (2_000, 1_100, true),
            (0, 0, false),
        ] {
            assert_eq!(after(ran_us, waited_us).were_short_since(&before), short, "{ran_us} {waited_us}");
        }
    }

    #[test]
    fn more_is_begun_while_somebody_waits() {
        let mut limit = Limit::default();
        limit.look(false, false);
        assert_eq!(limit.now(), Limit::LEAST);
        let looks = (0..).take_while(|_| {
            limit.look(false, true);
            limit.now() < 128
        });
        assert!(looks.count() < 100);
        (0..1_000).for_each(|_| limit.look(false, true));
        assert_eq!(limit.now(), Limit::MOST);
    }

    #[test]
    fn less_is_begun_while_cores_stay_short_but_never_nothing() {
        let mut limit = Limit { now: 128, short: false };
        limit.look(true, true);
        assert_eq!(limit.now(), 128, "once");
        limit.look(true, true);
        assert_eq!(limit.now(), 112);
        limit.look(false, false);
        limit.look(true, true);
        assert_eq!(limit.now(), 112, "once again");
        (0..1_000).for_each(|_| limit.look(true, true));
        assert_eq!(limit.now(), Limit::LEAST);
    }
}
