//! The time as the simulator sees it, passed in so that tests can own it.
//!
//! Quotas refill and reads lag by the monotonic clock; dates and the log carry the wall clock.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use job_model::Moment;

/// Both clocks.
pub trait Clock: Send + Sync + 'static {
    /// The wall clock, in nanoseconds since 1970.
    fn wall_ns(&self) -> u64;
    /// The monotonic clock.
    fn moment(&self) -> Moment;
}

/// The machine's clocks.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn wall_ns(&self) -> u64 {
        // Before 1970 or after 2554 the date is wrong anyway.
        u64::try_from(service_kit::clock::wall().unix_timestamp_nanos()).unwrap_or(0)
    }

    fn moment(&self) -> Moment {
        service_kit::clock::boottime()
    }
}

/// A clock that stands until it is moved.
#[derive(Debug)]
pub struct ManualClock(AtomicU64);

impl ManualClock {
    /// Where the wall clock begins: 2026-01-01T00:00:00Z.
    pub const START_NS: u64 = 1_767_225_600_000_000_000;

    /// Moves both clocks on.
    pub fn advance(&self, span: Duration) {
        self.0.fetch_add(u64::try_from(span.as_nanos()).unwrap_or(u64::MAX), Ordering::SeqCst);
    }
}

impl Default for ManualClock {
    fn default() -> Self {
        Self(AtomicU64::new(Self::START_NS))
    }
}

impl Clock for ManualClock {
    fn wall_ns(&self) -> u64 {
        self.0.load(Ordering::SeqCst)
    }

    fn moment(&self) -> Moment {
        Moment::from_nanos(self.0.load(Ordering::SeqCst))
    }
}
