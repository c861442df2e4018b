//! The session with the leading scheduler, and the loop that everything of this worker passes through.
//!
//! Problem: sessions, leaders, channels and leases come and go while tries run. Invariant: one loop owns the state
//! ([`Desk`]) and handles one event after another; it waits for nothing but the next event, so the lease is renewed
//! whatever else hangs. Every wake-up has a timer beside it: the heartbeat, a tick, and the silence after which a leader
//! that says nothing counts as lost.

use std::{sync::Arc, time::Duration};

use job_model::{GoId, JobId, Moment, TaskRef, WorkerId};
use keyfleet_proto::workers::v1::PageResult;
use scheduler_client::Leader;
use service_kit::{Part, Shutdown, clock, retry::Backoff};
use tokio::{
    sync::{Semaphore, mpsc},
    time::{Instant, MissedTickBehavior, interval, sleep_until},
};

use crate::{
    consumer::{Consumer, QueueEvent},
    desk::{Desk, Work},
    kms::Kms,
    lease::FIRST_INTERVAL,
    link::{Link, LinkEvent},
    pages,
    permit::Clock,
    reports::broken_try,
    run::{self, Looked, Tried},
    threads::Threads,
};

/// Silence after which a leader counts as lost, before a lease's length is known; later it is that length.
const SILENCE: Duration = Duration::from_secs(3);
/// However short the lease, a leader may be silent for so long.
const SHORTEST_SILENCE: Duration = Duration::from_secs(1);

/// How long a worker without a lease keeps its deliveries: a failover passes, and longer others shall have them.
const KEEP_DELIVERIES: Duration = Duration::from_secs(10);

/// Frames that can wait follow each other by this, so that each carries what gathered: what a frame costs, up to the commit of its
/// statuses, is shared by all in it.
const FRAME_EVERY: Duration = Duration::from_millis(10);

/// How often levels are looked at that no event tells of, such as a lease that lapses.
const TICK: Duration = Duration::from_millis(250);

/// Events taken at once, so that what gathered goes out in one frame.
const GATHER: usize = 1_000;

/// Looks at once: they are few, and share the KMS end with the tries.
const LOOKS: usize = 64;

/// Who this worker is.
#[derive(Clone, Debug)]
pub struct Identity {
    /// Made at the process's start.
    pub id: WorkerId,
    /// For the scheduler's log.
    pub name: String,
    /// Gos it takes at once.
    pub concurrency: u32,
}

/// The parts that the loop ties together.
#[derive(Debug)]
pub struct Parts {
    /// Who this worker is.
    pub identity: Identity,
    /// The clock of leases.
    pub clock: Clock,
    /// Its state.
    pub desk: Desk,
    /// Finds the leading scheduler.
    pub leader: Leader,
    /// Makes the KMS requests.
    pub kms: Kms,
    /// Where they are made.
    pub(crate) threads: Threads,
    /// Its end of the task queue.
    pub consumer: Consumer,
    /// Jobs whose flag was set by the broadcast.
    pub aborts: mpsc::UnboundedReceiver<JobId>,
    /// Ready while there is a lease.
    pub ready: Part,
    /// When to stop.
    pub shutdown: Shutdown,
}

/// Runs sessions until the process is to stop and what had begun is reported and acknowledged.
pub async fn run(parts: Parts) {
    let (ended_in, ended) = mpsc::unbounded_channel();
    let (now, leased_at) = (Instant::now(), (parts.clock)());
    let looks = Arc::new(Semaphore::new(LOOKS));
    let link = Link::Down { until: now };
    let backoff = Backoff::reconnect();
    let mut state = Loop {
        parts,
        link,
        ended_in,
        ended,
        looks,
        backoff,
        next_beat: now,
        last_frame: now,
        leased_at,
        leaving: false,
    };
    state.run().await;
    state.parts.consumer.finish().await;
}

struct Loop {
    parts: Parts,
    link: Link,
    ended_in: mpsc::UnboundedSender<Ended>,
    ended: mpsc::UnboundedReceiver<Ended>,
    looks: Arc<Semaphore>,
    backoff: Backoff,
    next_beat: Instant,
    last_frame: Instant,
    /// When there was a lease last.
    leased_at: Moment,
    leaving: bool,
}

/// What spawned work comes to.
enum Ended {
    Try { go: GoId, task: TaskRef, tried: Tried },
    Look { session: u64, look: u64, looked: Looked },
    Page { session: u64, result: PageResult },
}

enum Event {
    Link(LinkEvent),
    Ended(Vec<Ended>),
    Queue(Vec<QueueEvent>),
    Aborted(JobId),
    Beat,
    Tick,
    Leave,
    Drop,
}

impl Loop {
    async fn run(&mut self) {
        let mut tick = interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (requested, forced) = (self.parts.shutdown.requested(), self.parts.shutdown.forced());
        loop {
            let silence = self.parts.desk.lease_length().unwrap_or(SILENCE).max(SHORTEST_SILENCE);
            let (is_up, room_from) = (self.link.is_up(), self.frame_due());
            let mut ended = Vec::new();
            let event = tokio::select! {
                event = self.link.event(room_from, silence) => Event::Link(event),
                _ = self.ended.recv_many(&mut ended, GATHER) => Event::Ended(ended),
                events = self.parts.consumer.events() => Event::Queue(events),
                Some(job) = self.parts.aborts.recv() => Event::Aborted(job),
                () = sleep_until(self.next_beat), if is_up => Event::Beat,
                _ = tick.tick() => Event::Tick,
                () = requested.cancelled(), if !self.leaving => Event::Leave,
                () = forced.cancelled() => Event::Drop,
            };
            if matches!(event, Event::Drop) {
                tracing::warn!("Leaving with tries whose reports nobody has acknowledged.");
                return;
            }
            self.handle(event);
            if self.parts.desk.take_aborted() {
                self.parts.threads.aborted();
            }
            let acknowledgements = self.parts.desk.take_acknowledgements();
            if !acknowledgements.is_empty() {
                self.parts.consumer.acknowledge(&acknowledgements);
            }
            self.flush();
            if self.leaving && self.parts.desk.is_done() {
                return;
            }
        }
    }

    fn handle(&mut self, event: Event) {
        let desk = &mut self.parts.desk;
        match event {
            Event::Link(event) => self.on_link(event),
            Event::Ended(ended) => {
                for ended in ended {
                    match ended {
                        Ended::Try { go, task, tried } => desk.on_tried(go, task, tried),
                        Ended::Look { session, look, looked } => desk.on_looked(session, look, looked),
                        Ended::Page { session, result } => desk.on_page(session, result),
                    }
                }
            }
            Event::Queue(events) => events.into_iter().for_each(|event| on_queue(desk, event)),
            Event::Aborted(job) => desk.on_abort(job),
            Event::Beat => {
                desk.beat();
                self.next_beat = Instant::now() + desk.interval();
            }
            Event::Leave => self.leave(),
            Event::Tick => self.look_at_levels(),
            Event::Drop => {}
        }
    }

    fn on_link(&mut self, event: LinkEvent) {
        let desk = &mut self.parts.desk;
        match event {
            LinkEvent::Due => self.open(),
            LinkEvent::Opened(Ok(open)) => {
                tracing::info!(worker.id = %self.parts.identity.id, "The session with the scheduler is open.");
                self.link = Link::Up(open);
                self.next_beat = Instant::now() + desk.interval();
            }
            LinkEvent::Opened(Err(why)) => self.down(&why),
            LinkEvent::Lost(why) => {
                self.parts.leader.lost();
                self.down(&why);
            }
            LinkEvent::Frame(mut frame) => {
                self.backoff.reset();
                // Before its Gos, which may be of an account that is new.
                if let Some(reaches) = frame.reaches.take() {
                    self.parts.kms.reach(reaches.into());
                }
                for work in desk.on_frame(*frame) {
                    self.start(work);
                }
                self.look_at_levels();
            }
            LinkEvent::Room => {}
        }
    }

    /// When what there is to send is to go out, if there is anything.
    fn frame_due(&self) -> Option<Instant> {
        let desk = &self.parts.desk;
        let wait = if desk.can_wait() { FRAME_EVERY } else { Duration::ZERO };
        desk.has_frame().then(|| self.last_frame + wait)
    }

    /// Sends what has gathered, if it is due and there is room. If not, the link tells when.
    fn flush(&mut self) {
        let now = Instant::now();
        if self.frame_due().is_some_and(|due| due <= now)
            && let Some(room) = self.link.room()
        {
            room.send(self.parts.desk.take_frame());
            self.last_frame = now;
        }
    }

    fn open(&mut self) {
        let Identity { id, name, concurrency } = &self.parts.identity;
        let hello = self.parts.desk.hello(*id, name, *concurrency);
        self.link = Link::open(self.parts.leader.clone(), hello);
    }

    fn down(&mut self, why: &str) {
        tracing::info!(why, "There is no session with the scheduler.");
        self.link = Link::Down { until: Instant::now() + self.backoff.next_delay() };
        self.look_at_levels();
    }

    /// Stops taking part. A session of no concurrency follows, so that the leader gives nothing new while what has begun
    /// ends and is reported under the lease.
    fn leave(&mut self) {
        self.leaving = true;
        let give_back = self.parts.desk.leave();
        self.parts.consumer.drain(&give_back);
        if !self.parts.desk.is_done() {
            self.open();
        }
    }

    fn look_at_levels(&mut self) {
        let now = (self.parts.clock)();
        if self.parts.desk.is_leased(now) {
            self.leased_at = now;
            self.parts.ready.ready();
            self.parts.consumer.open();
        } else {
            let up = self.link.is_up();
            // A machine that slept must not wait for a heartbeat that its old lease had time for.
            self.next_beat = self.next_beat.min(Instant::now() + FIRST_INTERVAL);
            self.parts.ready.not_ready(if up { "no lease yet" } else { "no session with a leading scheduler" });
            if now.since(self.leased_at) >= KEEP_DELIVERIES
                && let Some(event) = self.parts.consumer.close()
            {
                on_queue(&mut self.parts.desk, event);
            }
        }
        self.parts.desk.tell_levels();
    }

    fn start(&mut self, work: Work) {
        let (kms, ended) = (self.parts.kms.clone(), self.ended_in.clone());
        let (session, threads) = (self.parts.desk.session(), &mut self.parts.threads);
        match work {
            Work::Try { go, attempt } => {
                // Made here: work that is dropped before it begins is reported, too.
                let ending = Ending { go, task: attempt.task, tried: None, ended };
                threads.spawn(attempt.permit.clone(), async move {
                    ending.with(run::attempt(&kms, &attempt).await);
                });
            }
            Work::Page { request, permit } => {
                threads.spawn(permit.clone(), async move {
                    let result = pages::read(&kms, &request, permit).await;
                    let _leaving = ended.send(Ended::Page { session, result });
                });
            }
            Work::Look { look, key, spec, permit } => {
                let looks = self.looks.clone();
                threads.spawn(permit.clone(), async move {
                    // Never closed.
                    let _one_of_few = looks.acquire().await;
                    let looked = run::look(&kms, &key, &spec.request, &permit).await;
                    let _leaving = ended.send(Ended::Look { session, look, looked });
                });
            }
        }
    }
}

fn on_queue(desk: &mut Desk, event: QueueEvent) {
    match event {
        QueueEvent::Delivered(task, tag) => desk.on_delivery(task, tag),
        QueueEvent::ChannelLost(channel) => desk.on_channel_lost(channel),
    }
}

/// Tells the loop how a try ended, also when it panicked: a Go without a report would never end.
struct Ending {
    go: GoId,
    task: TaskRef,
    tried: Option<Tried>,
    ended: mpsc::UnboundedSender<Ended>,
}

impl Ending {
    fn with(mut self, tried: Tried) {
        self.tried = Some(tried);
    }
}

impl Drop for Ending {
    fn drop(&mut self) {
        let tried = self.tried.take().unwrap_or_else(|| broken_try(clock::wall()));
        let _leaving = self.ended.send(Ended::Try { go: self.go, task: self.task, tried });
    }
}
