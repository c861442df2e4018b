//! The machine's clocks: the one place that reads them.
//!
//! Logic that depends on the time has it passed in; only loops and edges call these. Leases are measured by
//! [`boottime`], which counts the time a machine was suspended: one that slept must find its lease lapsed.

use job_model::Moment;
use rustix::time::{ClockId, clock_gettime};

/// The wall clock, UTC: for people and rows, never for deciding who is first.
#[expect(clippy::disallowed_methods, reason = "this is where the clock is read")]
pub fn wall() -> time::OffsetDateTime {
    std::time::SystemTime::now().into()
}

/// The clock of leases: since the boot, suspended time included (`CLOCK_BOOTTIME`), the same in every process.
pub fn boottime() -> Moment {
    let now = clock_gettime(ClockId::Boottime);
    // The kernel's clock is never negative.
    Moment::from_nanos(now.tv_sec.unsigned_abs() * 1_000_000_000 + now.tv_nsec.unsigned_abs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_boot_clock_never_goes_back() {
        let first = boottime();
        let second = boottime();
        assert!(second >= first);
        assert!(first > Moment::default());
    }

    #[test]
    fn the_wall_clock_is_of_this_century() {
        assert!((2024..2100).contains(&wall().year()));
    }
}
