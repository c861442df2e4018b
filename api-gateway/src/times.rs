//! Times as the API writes them: RFC 3339, UTC, exactly six digits of microseconds.

use time::{OffsetDateTime, format_description::BorrowedFormatItem, macros::format_description};

const FORM: &[BorrowedFormatItem<'_>] =
    format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:6]Z");

/// Microseconds since 1970 as text. A number no calendar has becomes 1970 itself: it is the scheduler's fault, and a
/// list must not break over it.
pub(crate) fn rfc3339(microseconds: i64) -> String {
    OffsetDateTime::from_unix_timestamp_nanos(i128::from(microseconds) * 1_000)
        .unwrap_or(OffsetDateTime::UNIX_EPOCH)
        .format(FORM)
        .expect("a time within the calendar has all parts of the form")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn microseconds_always_have_six_digits() {
        assert_eq!(rfc3339(0), "1970-01-01T00:00:00.000000Z");
        assert_eq!(rfc3339(1_676_017_188_558_869), "2023-02-10T08:19:48.558869Z");
        assert_eq!(rfc3339(1_676_017_188_500_000), "2023-02-10T08:19:48.500000Z");
        assert_eq!(rfc3339(i64::MAX), "1970-01-01T00:00:00.000000Z");
    }
}
