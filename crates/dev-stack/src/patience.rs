//! How long to go on waiting, and how long something took, on the clock that neither jumps nor stands
//! still in suspend.

use std::thread;
use std::time::Duration;

use job_model::Moment;
use service_kit::clock;

/// Between two looks: short enough that a start is not noticeably longer, long enough to cost nothing.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// A deadline for polling something that has no event to wait for (another program's readiness).
#[derive(Debug, Clone, Copy)]
pub(crate) struct Patience {
    watch: Stopwatch,
    all: Duration,
}

/// Measures from its start.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Stopwatch {
    from: Moment,
}

impl Patience {
    /// Patience that ends `duration` from now.
    pub(crate) fn of(duration: Duration) -> Self {
        Self { watch: Stopwatch::start(), all: duration }
    }

    /// Looks until `done` says so, at least once; `false` when patience ran out first.
    pub(crate) fn until(&self, mut done: impl FnMut() -> bool) -> bool {
        loop {
            if done() {
                return true;
            }
            if self.watch.read() >= self.all {
                return false;
            }
            thread::sleep(LOOK_EVERY);
        }
    }
}

impl Stopwatch {
    /// Starts it.
    pub(crate) fn start() -> Self {
        Self { from: clock::boottime() }
    }

    /// The time since.
    pub(crate) fn read(self) -> Duration {
        clock::boottime().since(self.from)
    }
}

/// The wall clock in nanoseconds since 1970, as the KMS end's log writes it.
pub(crate) fn wall_ns() -> u64 {
    u64::try_from(clock::wall().unix_timestamp_nanos()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn looks_once_even_without_patience() {
        assert!(Patience::of(Duration::ZERO).until(|| true));
        assert!(!Patience::of(Duration::ZERO).until(|| false));
    }
}
