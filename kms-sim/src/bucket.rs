//! A request quota: a bucket of one second's worth of requests, refilled continuously.

use job_model::Moment;

/// One operation's quota in one account and Region. It starts full, and is full again whenever the rate changes.
#[derive(Debug, Default)]
pub(crate) struct Bucket {
    rate: f64,
    tokens: f64,
    filled: Moment,
}

impl Bucket {
    /// Takes a request's token if there is one; `rate` is the quota of this moment, in requests per second.
    pub(crate) fn take(&mut self, rate: f64, now: Moment) -> bool {
        // Below one a second the bucket must still hold the one it is there to give.
        let capacity = rate.max(1.0);
        #[expect(clippy::float_cmp, reason = "the very same number, or a new one")]
        if self.rate == rate {
            let grown = now.since(self.filled).as_secs_f64() * rate;
            self.tokens = (self.tokens + grown).min(capacity);
        } else {
            self.rate = rate;
            self.tokens = capacity;
        }
        self.filled = self.filled.max(now);
        if self.tokens < 1.0 {
            return false;
        }
        self.tokens -= 1.0;
        true
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn one_second_at_once_then_the_rate() {
        let mut bucket = Bucket::default();
        let mut now = Moment::from_nanos(1);
        let burst = (0..10).filter(|_| bucket.take(5.0, now)).count();
        assert_eq!(burst, 5);
        let mut later = 0;
        for _ in 0..100 {
            now = now + Duration::from_millis(100);
            later += usize::from(bucket.take(5.0, now)) + usize::from(bucket.take(5.0, now));
        }
        assert_eq!(later, 50, "10 s at 5 a second");
    }

    #[test]
    fn an_idle_bucket_holds_no_more_than_a_second() {
        let mut bucket = Bucket::default();
        assert!(bucket.take(3.0, Moment::from_nanos(0)));
        let now = Moment::from_nanos(0) + Duration::from_secs(3600);
        assert_eq!((0..10).filter(|_| bucket.take(3.0, now)).count(), 3);
    }

    #[test]
    fn a_new_rate_starts_full() {
        let mut bucket = Bucket::default();
        let now = Moment::from_nanos(7);
        while bucket.take(2.0, now) {}
        assert_eq!((0..10).filter(|_| bucket.take(4.0, now)).count(), 4);
    }

    #[test]
    fn a_rate_below_one_still_gives_one() {
        let mut bucket = Bucket::default();
        let now = Moment::from_nanos(0);
        assert!(bucket.take(0.5, now));
        assert!(!bucket.take(0.5, now + Duration::from_millis(1999)));
        assert!(bucket.take(0.5, now + Duration::from_secs(2)));
    }
}
