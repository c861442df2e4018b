//! The dead-man's switch: without a live lease this worker begins no KMS request.
//!
//! Problem: a worker that cannot be told to stop must stop by itself, and whoever waits for it must know when it has.
//! Invariant: a lease is valid until the heartbeat it answers was *sent* plus its length, on a clock that counts
//! suspended time, so its end here is never later than the end its leader counts with. A lease that was found lapsed
//! begins a new generation: what was permitted under an older one stays void for ever.
//!
//! Two atomics instead of a lock, because every write to a KMS connection asks. A reader takes the end first and the
//! generation after it; a renewal after a lapse writes them the other way round, so nobody sees the new end together
//! with the old generation.

use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use job_model::Moment;

/// The time between heartbeats while there is no lease. With one it is a third of it.
pub const FIRST_INTERVAL: Duration = Duration::from_millis(500);

/// The shortest time between heartbeats, however short the lease.
const SHORTEST_INTERVAL: Duration = Duration::from_millis(20);

/// The longest lease that is taken. A leader may be set to longer ones; a worker that takes a shorter one stops earlier than its
/// leader counts with, which is safe, and renews in time.
const LONGEST: Duration = Duration::from_secs(60);

/// The lease's end and generation, shared by all who ask.
#[derive(Debug, Default)]
pub struct Lease {
    end: AtomicU64,
    generation: AtomicU64,
}

impl Lease {
    /// The generation that a Go received now belongs to.
    pub fn generation(&self) -> u64 {
        self.generation.load(Ordering::SeqCst)
    }

    /// When it ends, or ended.
    pub fn end(&self) -> Moment {
        Moment::from_nanos(self.end.load(Ordering::SeqCst))
    }

    /// Whether it is live at `now`.
    pub fn live(&self, now: Moment) -> bool {
        now < self.end()
    }

    /// Whether it is live at `now` and has never lapsed since `generation`.
    pub fn holds(&self, generation: u64, now: Moment) -> bool {
        self.live(now) && self.generation() == generation
    }

    /// Extends it to `end`. Tells whether it had lapsed before `now`: then a new generation begins.
    fn renew(&self, end: Moment, now: Moment) -> bool {
        let lapsed = !self.live(now);
        if lapsed {
            self.generation.fetch_add(1, Ordering::SeqCst);
        }
        // A shorter grant takes nothing back: whoever gave the longer one waits for its end.
        self.end.fetch_max(end.as_nanos(), Ordering::SeqCst);
        lapsed
    }
}

/// The heartbeats of one worker, which ask for the lease.
#[derive(Debug)]
pub struct Heartbeats {
    lease: Arc<Lease>,
    number: u64,
    unanswered: VecDeque<(u64, Moment)>,
    length: Option<Duration>,
}

impl Heartbeats {
    /// None sent yet.
    pub const fn new(lease: Arc<Lease>) -> Self {
        Self { lease, number: 0, unanswered: VecDeque::new(), length: None }
    }

    /// Numbers the next heartbeat. `now` must be taken before it is sent.
    pub fn beat(&mut self, now: Moment) -> u64 {
        self.number += 1;
        self.unanswered.push_back((self.number, now));
        self.number
    }

    /// A lease of this length came in answer to a heartbeat. An answer to none that is awaited grants nothing.
    /// Tells whether a lease that was live once had lapsed.
    pub fn granted(&mut self, number: u64, length: Duration, now: Moment) -> bool {
        let Some(place) = self.unanswered.iter().position(|(sent, _)| *sent == number) else {
            return false;
        };
        let length = length.min(LONGEST);
        let sent = self.unanswered[place].1;
        self.unanswered.drain(..=place);
        let first = self.length.replace(length).is_none();
        self.lease.renew(sent + length, now) && !first
    }

    /// A new session answers none of the old one's heartbeats.
    pub fn new_session(&mut self) {
        self.unanswered.clear();
    }

    /// The length of the last lease.
    pub const fn length(&self) -> Option<Duration> {
        self.length
    }

    /// The time from one heartbeat to the next.
    pub fn interval(&self) -> Duration {
        self.length.map_or(FIRST_INTERVAL, |length| (length / 3).max(SHORTEST_INTERVAL))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LENGTH: Duration = Duration::from_secs(3);

    fn at(seconds: u64) -> Moment {
        Moment::from_nanos(seconds * 1_000_000_000)
    }

    fn new() -> (Arc<Lease>, Heartbeats) {
        let lease = Arc::new(Lease::default());
        (lease.clone(), Heartbeats::new(lease))
    }

    #[test]
    fn there_is_no_lease_before_the_first_grant() {
        let (lease, _) = new();
        assert!(!lease.live(at(0)) && !lease.holds(0, at(1)));
    }

    #[test]
    fn a_lease_counts_from_when_its_heartbeat_was_sent() {
        let (lease, mut beats) = new();
        let number = beats.beat(at(10));
        beats.granted(number, LENGTH, at(12));
        let generation = lease.generation();
        assert!(lease.holds(generation, at(12)));
        assert!(!lease.holds(generation, at(13)), "the end itself is no longer within");
    }

    #[test]
    fn a_lapse_voids_what_was_permitted_before_it() {
        let (lease, mut beats) = new();
        let first = beats.beat(at(10));
        assert!(!beats.granted(first, LENGTH, at(10)), "the first lease is no lapse");
        let before = lease.generation();
        let second = beats.beat(at(11));
        assert!(!beats.granted(second, LENGTH, at(11)));
        assert!(lease.holds(before, at(13)), "renewed in time");
        let third = beats.beat(at(20));
        assert!(beats.granted(third, LENGTH, at(20)));
        assert!(lease.live(at(21)) && !lease.holds(before, at(21)));
        assert!(lease.holds(lease.generation(), at(21)));
    }

    #[test]
    fn an_answer_that_comes_after_the_end_it_grants_revives_nothing() {
        let (lease, mut beats) = new();
        let number = beats.beat(at(10));
        beats.granted(number, LENGTH, at(14));
        assert!(!lease.live(at(14)));
    }

    #[test]
    fn only_awaited_heartbeats_are_answered() {
        let (lease, mut beats) = new();
        let first = beats.beat(at(10));
        let second = beats.beat(at(11));
        beats.granted(second, LENGTH, at(11));
        beats.granted(first, LENGTH * 100, at(11));
        assert_eq!(lease.end(), at(14), "an overtaken heartbeat grants nothing");
        let third = beats.beat(at(12));
        beats.new_session();
        beats.granted(third, LENGTH, at(12));
        assert_eq!(lease.end(), at(14), "nor one of an older session");
    }

    #[test]
    fn a_shorter_grant_takes_nothing_back() {
        let (lease, mut beats) = new();
        let first = beats.beat(at(10));
        beats.granted(first, LENGTH, at(10));
        let second = beats.beat(at(11));
        beats.granted(second, Duration::from_secs(1), at(11));
        assert_eq!(lease.end(), at(13));
    }

    #[test]
    fn three_heartbeats_fit_into_a_lease() {
        let (_, mut beats) = new();
        assert_eq!(beats.interval(), FIRST_INTERVAL);
        let number = beats.beat(at(10));
        beats.granted(number, LENGTH, at(10));
        assert_eq!(beats.interval(), Duration::from_secs(1));
    }

    #[test]
    fn a_lease_of_any_length_is_taken_for_a_minute_at_the_most() {
        let (lease, mut beats) = new();
        let number = beats.beat(at(10));
        beats.granted(number, Duration::MAX, at(10));
        assert_eq!((lease.end(), beats.length()), (at(70), Some(LONGEST)));
    }
}
