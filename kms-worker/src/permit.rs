//! What allows a KMS request: the Go, the lease it came under, and the job's abort flag.
//!
//! A permit is checked before each request and once more where the request's bytes are written (`kms::gate`). It is
//! fresh until its first request begins. A new session takes back the fresh ones for ever; those that have begun are
//! declared to the leader and may go on to their next request while lease and flag allow. Begun and taken back exclude
//! each other by one atomic exchange, so the leader is never told that a Go is void which then begins.

use std::sync::{
    Arc,
    atomic::{AtomicU8, Ordering},
};

use job_model::Moment;

use crate::{lease::Lease, stops::Flag};

/// A source of the time that leases are measured with.
pub type Clock = fn() -> Moment;

const FRESH: u8 = 0;
const BEGUN: u8 = 1;
const TAKEN_BACK: u8 = 2;

/// Leave to make the requests of one Go or one Look.
#[derive(Debug)]
pub struct Permit {
    lease: Arc<Lease>,
    generation: u64,
    flag: Option<Flag>,
    clock: Clock,
    stage: AtomicU8,
    /// It allows requests that change a key.
    acting: bool,
}

/// Why a request must not begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Void {
    /// The job was aborted.
    #[error("its job was aborted")]
    Flag,
    /// The lease has lapsed, now or at any time since the permit was given.
    #[error("the lease it was given under has lapsed")]
    Lease,
    /// A new session took it back.
    #[error("a new session took it back")]
    Session,
}

impl Permit {
    /// For an acting Go received now.
    pub fn for_go(lease: &Arc<Lease>, flag: Flag, clock: Clock) -> Self {
        Self::new(lease, Some(flag), clock, true)
    }

    /// For a Go received now that only observes: one without an acting token, or of a dry run.
    pub fn for_observing(lease: &Arc<Lease>, flag: Flag, clock: Clock) -> Self {
        Self::new(lease, Some(flag), clock, false)
    }

    /// For a Look received now: read only, so it does not heed the flag.
    pub fn for_look(lease: &Arc<Lease>, clock: Clock) -> Self {
        Self::new(lease, None, clock, false)
    }

    fn new(lease: &Arc<Lease>, flag: Option<Flag>, clock: Clock, acting: bool) -> Self {
        Self { lease: lease.clone(), generation: lease.generation(), flag, clock, stage: AtomicU8::new(FRESH), acting }
    }

    /// Whether it allows a request that changes a key.
    pub const fn acts(&self) -> bool {
        self.acting
    }

    /// Begins it, if it still allows anything. From here on it cannot be taken back.
    ///
    /// # Errors
    /// [`Void`]: no request may be made.
    pub fn begin(&self) -> Result<(), Void> {
        self.check()?;
        match self.stage.compare_exchange(FRESH, BEGUN, Ordering::SeqCst, Ordering::SeqCst) {
            Ok(_) | Err(BEGUN) => Ok(()),
            Err(_) => Err(Void::Session),
        }
    }

    /// Takes it back for ever; tells whether that was in time, before it had begun.
    pub fn take_back(&self) -> bool {
        self.stage.compare_exchange(FRESH, TAKEN_BACK, Ordering::SeqCst, Ordering::SeqCst).is_ok()
    }

    /// Whether it allows a request at this moment.
    ///
    /// # Errors
    /// [`Void`]: it does not.
    pub fn check(&self) -> Result<(), Void> {
        if self.stage.load(Ordering::SeqCst) == TAKEN_BACK {
            Err(Void::Session)
        } else if self.flag.as_ref().is_some_and(Flag::is_set) {
            Err(Void::Flag)
        } else if self.lease.holds(self.generation, self.now()) {
            Ok(())
        } else {
            Err(Void::Lease)
        }
    }

    /// The time by the permit's clock.
    pub fn now(&self) -> Moment {
        (self.clock)()
    }
}

#[cfg(test)]
mod tests {
    use std::{cell::Cell, time::Duration};

    use job_model::JobId;

    use super::*;
    use crate::{lease::Heartbeats, stops::Stops};

    thread_local! { static NOW: Cell<u64> = const { Cell::new(10) } }

    fn clock() -> Moment {
        Moment::from_nanos(NOW.get())
    }

    struct Setup {
        lease: Arc<Lease>,
        beats: Heartbeats,
        stops: Stops,
    }

    impl Setup {
        /// Leased from 10 to 20.
        fn new() -> Self {
            NOW.set(10);
            let lease = Arc::new(Lease::default());
            let mut setup = Self { beats: Heartbeats::new(lease.clone()), lease, stops: Stops::default() };
            setup.renew();
            setup
        }

        fn renew(&mut self) {
            let number = self.beats.beat(clock());
            self.beats.granted(number, Duration::from_nanos(10), clock());
        }

        fn go(&self) -> Permit {
            Permit::for_go(&self.lease, self.stops.flag(job()), clock)
        }
    }

    fn job() -> JobId {
        JobId::from_uuid(uuid::Uuid::from_u128(1))
    }

    #[test]
    fn a_go_may_begin_under_its_lease() {
        let setup = Setup::new();
        let go = setup.go();
        assert_eq!(go.begin(), Ok(()));
        assert_eq!(go.begin(), Ok(()), "and go on");
        NOW.set(20);
        assert_eq!(go.check(), Err(Void::Lease));
    }

    #[test]
    fn a_renewed_lease_does_not_revive_a_go() {
        let mut setup = Setup::new();
        let (begun, fresh) = (setup.go(), setup.go());
        begun.begin().unwrap();
        NOW.set(25);
        setup.renew();
        assert_eq!(begun.check(), Err(Void::Lease));
        assert_eq!(fresh.begin(), Err(Void::Lease));
        assert_eq!(setup.go().begin(), Ok(()), "a new one lives");
    }

    #[test]
    fn a_lease_renewed_in_time_carries_a_go_on() {
        let mut setup = Setup::new();
        let go = setup.go();
        NOW.set(15);
        setup.renew();
        NOW.set(22);
        assert_eq!(go.begin(), Ok(()));
    }

    #[test]
    fn a_go_received_without_a_lease_stays_void() {
        let mut setup = Setup::new();
        NOW.set(30);
        let go = setup.go();
        assert_eq!(go.begin(), Err(Void::Lease));
        setup.renew();
        assert_eq!(go.begin(), Err(Void::Lease));
    }

    #[test]
    fn an_abort_voids_gos_but_not_looks() {
        let setup = Setup::new();
        let (begun, fresh, look) = (setup.go(), setup.go(), Permit::for_look(&setup.lease, clock));
        begun.begin().unwrap();
        setup.stops.set(job(), clock());
        assert_eq!(begun.check(), Err(Void::Flag));
        assert_eq!(fresh.begin(), Err(Void::Flag));
        assert_eq!(look.begin(), Ok(()));
        NOW.set(20);
        assert_eq!(look.check(), Err(Void::Lease));
    }

    #[test]
    fn only_what_has_not_begun_is_taken_back() {
        let setup = Setup::new();
        let (begun, fresh) = (setup.go(), setup.go());
        begun.begin().unwrap();
        assert!(!begun.take_back() && fresh.take_back());
        assert_eq!(begun.check(), Ok(()));
        assert_eq!(fresh.begin(), Err(Void::Session));
        assert_eq!(fresh.check(), Err(Void::Session));
    }
}
