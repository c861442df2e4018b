//! The API's times, and those of the KMS end's log.

use std::time::Duration;

use anyhow::{Context, Result};
use service_kit::clock;
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

/// Milliseconds from one RFC 3339 time to another; negative when they are the other way round.
///
/// # Errors
/// When one is no such time.
pub fn span_ms(from: &str, to: &str) -> Result<f64> {
    let read = |text: &str| OffsetDateTime::parse(text, &Rfc3339).with_context(|| format!("{text:?} is no time"));
    Ok((read(to)? - read(from)?).as_seconds_f64() * 1_000.0)
}

/// The wall clock in nanoseconds since 1970, as the KMS end's log tells it.
#[must_use]
pub fn wall_ns() -> u64 {
    u64::try_from(clock::wall().unix_timestamp_nanos()).unwrap_or_default()
}

/// A duration in milliseconds.
#[must_use]
pub fn ms(span: Duration) -> f64 {
    span.as_secs_f64() * 1_000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_microseconds_sharp() {
        let span = span_ms("2023-02-10T08:19:48.558869Z", "2023-02-10T08:19:48.970204Z").unwrap();
        assert!((span - 411.335).abs() < 1e-6, "{span}");
        assert!(span_ms("", "2023-02-10T08:19:48Z").is_err());
    }
}
