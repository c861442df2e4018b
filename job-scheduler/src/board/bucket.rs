//! A token bucket at a quota's pace, which slows when KMS throttles and finds its way back.
//!
//! It starts empty: what an earlier leader gave out is not known. It holds little, so that what it lets through in any
//! second stays at the quota; it holds more than one token, so that a late timer loses none.

use std::time::Duration;

use job_model::Moment;

/// Additive increase: how much of the quota comes back each second after a throttled answer.
const RECOVERY_PER_SECOND: f64 = 0.02;
/// Multiplicative decrease: what one throttled answer leaves of the rate (as CUBIC, RFC 9438). With 0.8 it took two seconds to be below what
/// a client leaves that takes half of the quota, and 2.3 % of half a minute's requests were throttled.
const SLOWED: f64 = 0.7;
/// One decrease in this time at the most: the answers to one burst count once.
const SLOW_ONCE_IN: Duration = Duration::from_millis(500);
/// Never slower than this share of the quota.
const FLOOR: f64 = 0.05;
/// What it holds at the most, in seconds of its rate.
const HOLDS_SECONDS: f64 = 0.1;
/// And never fewer tokens than this.
const HOLDS_TOKENS: f64 = 2.0;
/// The rate assumed of an unlimited lane that is throttled before anything was measured, per second.
const GUESS: f64 = 100.0;

/// The pace of one quota.
#[derive(Clone, Debug)]
pub(super) struct Bucket {
    /// Requests per second; `None`: no limit.
    quota: Option<f64>,
    /// The rate kept now; below the quota after throttled answers.
    rate: Option<f64>,
    tokens: f64,
    at: Moment,
    slowed_at: Option<Moment>,
    /// Tokens taken since `counted_from`, to know the pace of an unlimited lane.
    taken: u64,
    counted_from: Moment,
}

impl Bucket {
    pub(super) fn new(quota: Option<f64>, now: Moment) -> Self {
        Self { quota, rate: quota, tokens: 0.0, at: now, slowed_at: None, taken: 0, counted_from: now }
    }

    /// The quota is another from here on. A rate that throttled answers have lowered stays so, and finds its way to the
    /// new quota as it would have to the old one.
    pub(super) fn set_quota(&mut self, quota: Option<f64>, now: Moment) {
        if quota == self.quota {
            return;
        }
        self.refill(now);
        let slowed = self.rate.filter(|rate| self.quota.is_none_or(|quota| *rate < quota));
        self.rate = match (slowed, quota) {
            (None, quota) => quota,
            (Some(rate), None) => Some(rate),
            (Some(rate), Some(quota)) => Some(rate.min(quota)),
        };
        self.quota = quota;
        self.tokens = match self.rate {
            Some(rate) => self.tokens.min((rate * HOLDS_SECONDS).max(HOLDS_TOKENS)),
            None => 0.0,
        };
    }

    fn refill(&mut self, now: Moment) {
        let elapsed = now.since(self.at).as_secs_f64();
        self.at = now;
        let Some(rate) = self.rate else { return };
        self.tokens = (self.tokens + elapsed * rate).min((rate * HOLDS_SECONDS).max(HOLDS_TOKENS));
        match self.quota {
            Some(quota) => self.rate = Some((rate + quota * RECOVERY_PER_SECOND * elapsed).min(quota)),
            // Unlimited but throttled: the limit is out there somewhere, so probe upwards.
            None => self.rate = Some(rate + rate * RECOVERY_PER_SECOND * elapsed),
        }
    }

    /// Takes one token, if there is one.
    pub(super) fn take(&mut self, now: Moment) -> bool {
        self.refill(now);
        if self.rate.is_some() {
            if self.tokens < 1.0 {
                return false;
            }
            self.tokens -= 1.0;
        }
        self.taken += 1;
        true
    }

    /// Takes so many at once, also those that are not there yet: whoever comes next waits for them.
    pub(super) fn charge(&mut self, tokens: u32, now: Moment) {
        self.refill(now);
        if self.rate.is_some() {
            self.tokens -= f64::from(tokens);
        }
        self.taken += u64::from(tokens);
    }

    /// Whether a token is there.
    pub(super) fn has(&mut self, now: Moment) -> bool {
        self.refill(now);
        self.rate.is_none() || self.tokens >= 1.0
    }

    /// An unused token comes back.
    pub(super) fn give_back(&mut self) {
        if self.rate.is_some() {
            self.tokens += 1.0;
        }
        self.taken = self.taken.saturating_sub(1);
    }

    /// When the next token is there: now, if one is.
    pub(super) fn next_at(&self, now: Moment) -> Moment {
        match self.rate {
            Some(rate) if self.tokens < 1.0 => {
                self.at + Duration::from_secs_f64(((1.0 - self.tokens) / rate).min(3600.0))
            }
            Some(_) | None => now,
        }
    }

    /// KMS said it was too fast.
    pub(super) fn slow(&mut self, now: Moment) {
        self.refill(now);
        if self.slowed_at.is_some_and(|at| now.since(at) < SLOW_ONCE_IN) {
            return;
        }
        self.slowed_at = Some(now);
        let rate = self.rate.unwrap_or_else(|| {
            let seconds = now.since(self.counted_from).as_secs_f64();
            if seconds > 0.0 { (self.taken as f64 / seconds).max(1.0) } else { GUESS }
        });
        let floor = self.quota.map_or(1.0, |quota| quota * FLOOR);
        self.rate = Some((rate * SLOWED).max(floor));
        self.tokens = self.tokens.min(0.0);
    }

    /// Tasks that keep the pace for `span`; `None` when there is no limit.
    pub(super) fn in_span(&self, span: Duration) -> Option<f64> {
        self.rate.map(|rate| rate * span.as_secs_f64())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const START: Moment = Moment::from_nanos(1_000_000_000);

    proptest! {
        #[test]
        fn no_window_of_a_second_goes_above_the_quota_and_what_is_held(
            quota in 1.0..2000.0f64,
            steps in prop::collection::vec(1u64..50_000_000, 1..400),
        ) {
            let mut bucket = Bucket::new(Some(quota), START);
            let mut now = START;
            let mut taken: Vec<Moment> = Vec::new();
            for step in steps {
                now = now + Duration::from_nanos(step);
                while bucket.take(now) {
                    taken.push(now);
                }
            }
            let most = quota + (quota * HOLDS_SECONDS).max(HOLDS_TOKENS);
            let mut first = 0;
            for (last, at) in taken.iter().enumerate() {
                while at.since(taken[first]) >= Duration::from_secs(1) {
                    first += 1;
                }
                let within = last - first + 1;
                prop_assert!(within as f64 <= most + 1.0, "{within} in a second at {quota}");
            }
        }
    }

    #[test]
    fn what_is_charged_in_advance_is_waited_for() {
        let mut bucket = Bucket::new(Some(100.0), START);
        let mut now = START;
        let mut taken = 0;
        while now.since(START) < Duration::from_secs(100) {
            now = bucket.next_at(now).max(now) + Duration::from_millis(1);
            if bucket.has(now) {
                bucket.charge(30, now);
                taken += 30;
            }
        }
        assert!((9_900..=10_100).contains(&taken), "{taken} tokens in 100 s at 100/s");
    }

    #[test]
    fn a_late_timer_loses_no_token() {
        let mut bucket = Bucket::new(Some(5.0), START);
        let mut now = START;
        let mut taken = 0;
        while now.since(START) < Duration::from_secs(100) {
            now = bucket.next_at(now).max(now) + Duration::from_millis(30);
            while bucket.take(now) {
                taken += 1;
            }
        }
        assert!((495..=502).contains(&taken), "{taken} tokens in 100 s at 5/s");
    }

    #[test]
    fn throttled_answers_slow_it_and_time_brings_it_back() {
        let mut bucket = Bucket::new(Some(100.0), START);
        bucket.slow(START);
        assert!(!bucket.has(START + Duration::from_millis(1)));
        bucket.slow(START + Duration::from_millis(100));
        assert!(bucket.rate.is_some_and(|rate| (70.0..71.0).contains(&rate)), "one decrease for one burst");
        bucket.refill(START + Duration::from_secs(60));
        assert_eq!(bucket.rate, Some(100.0));
    }

    #[test]
    fn a_new_quota_holds_at_once_and_lets_no_burst_through() {
        let taken_in_a_second = |bucket: &mut Bucket, from: Moment| {
            let mut taken = 0;
            for step in 0..1000 {
                while bucket.take(from + Duration::from_millis(step)) && taken < 10_000 {
                    taken += 1;
                }
            }
            taken
        };
        let mut bucket = Bucket::new(Some(1000.0), START);
        let mut now = START + Duration::from_secs(1);
        for (quota, least, most) in
            [(Some(10.0), 9, 12), (Some(100.0), 98, 112), (None, 10_000, 10_000), (Some(10.0), 9, 12)]
        {
            bucket.set_quota(quota, now);
            let taken = taken_in_a_second(&mut bucket, now);
            assert!((least..=most).contains(&taken), "{taken} in the first second at {quota:?}");
            now = now + Duration::from_secs(1);
        }
    }

    #[test]
    fn what_throttled_answers_have_shown_outlives_a_new_quota() {
        let mut bucket = Bucket::new(Some(100.0), START);
        bucket.slow(START);
        for (quota, rate) in [(Some(200.0), 70.0), (None, 70.0), (Some(50.0), 50.0), (Some(60.0), 60.0)] {
            bucket.set_quota(quota, START);
            assert_eq!(bucket.rate, Some(rate), "{quota:?}");
        }
    }

    #[test]
    fn an_unlimited_lane_learns_a_limit_only_from_throttling() {
        let mut bucket = Bucket::new(None, START);
        let now = START + Duration::from_secs(1);
        for _ in 0..1000 {
            assert!(bucket.take(now));
        }
        bucket.slow(now);
        assert_eq!(bucket.rate, Some(700.0));
        assert!(!bucket.take(now));
    }
}
