//! How long to go on waiting: a deadline on the clock that neither jumps nor stands still in suspend.

use std::thread;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// Between two looks: short enough that a start is not noticeably longer, long enough to cost nothing.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// A deadline for polling something that has no event to wait for (another program's readiness).
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    until: Duration,
}

impl Patience {
    /// Patience that ends `duration` from now.
    #[must_use]
    pub fn of(duration: Duration) -> Self {
        Self {
            until: now() + duration,
        }
    }

    /// Sleeps a little; `false` when patience has run out (then without sleeping).
    #[must_use]
    pub fn pause(&self) -> bool {
        if now() >= self.until {
            return false;
        }
        thread::sleep(LOOK_EVERY);
        true
    }

    /// Looks until `done` says so; `false` when patience ran out first.
    #[must_use]
    pub fn until(&self, mut done: impl FnMut() -> bool) -> bool {
        loop {
            if done() {
                return true;
            }
            if !self.pause() {
                return false;
            }
        }
    }
}

fn now() -> Duration {
    let time = clock_gettime(ClockId::Boottime);
    Duration::new(
        u64::try_from(time.tv_sec).unwrap_or_default(),
        u32::try_from(time.tv_nsec).unwrap_or_default(),
    )
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
