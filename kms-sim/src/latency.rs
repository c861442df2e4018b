//! How long an answer takes.
//!
//! Log-normal, because that is what measured service latencies look like: a hump at the left and a long tail. It is
//! fixed by two numbers people know about a service, its mean and its 99th percentile.

use std::time::Duration;

use rand::Rng;
use serde::{Deserialize, Deserializer, Serialize};

/// The 99th percentile of the standard normal distribution.
const Z99: f64 = 2.326_347_874_040_841;

/// No log-normal distribution has its 99th percentile further above its mean than e^(z²/2), about 14.97 times.
const MAX_RATIO: f64 = 14.9;

/// The longest a request is kept by latency alone.
const LONGEST: Duration = Duration::from_secs(60);

/// Latency in milliseconds. A mean of 0 is none; a 99th percentile at or below the mean is the mean every time, and
/// so is one that is not given.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Latency {
    /// The mean, 0 or more.
    pub mean: f64,
    /// The 99th percentile, at most 14.9 times the mean.
    pub p99: f64,
}

impl<'de> Deserialize<'de> for Latency {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Form {
            mean: f64,
            p99: Option<f64>,
        }
        let Form { mean, p99 } = Form::deserialize(deserializer)?;
        Ok(Self { mean, p99: p99.unwrap_or(mean) })
    }
}

impl Latency {
    /// The distribution; `None` is no latency at all.
    ///
    /// # Errors
    /// A sentence when no log-normal distribution has these two numbers.
    pub(crate) fn spread(self) -> Result<Option<Spread>, String> {
        let Self { mean, p99 } = self;
        if !(mean.is_finite() && mean >= 0.0 && p99.is_finite() && p99 >= 0.0) {
            return Err("latency_ms: mean and p99 are milliseconds, 0 or more".to_owned());
        }
        if mean == 0.0 {
            return if p99 == 0.0 { Ok(None) } else { Err("latency_ms: a p99 needs a mean".to_owned()) };
        }
        let ratio = (p99 / mean).max(1.0);
        if ratio > MAX_RATIO {
            return Err(format!("latency_ms: p99 is at most {MAX_RATIO} times the mean in a log-normal distribution"));
        }
        // mean = exp(mu + sigma²/2) and p99 = exp(mu + z·sigma), solved for sigma.
        let sigma = Z99 - (Z99 * Z99 - 2.0 * ratio.ln()).sqrt();
        Ok(Some(Spread { mu: mean.ln() - sigma * sigma / 2.0, sigma }))
    }
}

/// A log-normal distribution of milliseconds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Spread {
    mu: f64,
    sigma: f64,
}

impl Spread {
    pub(crate) fn sample(&self, rng: &mut impl Rng) -> Duration {
        // Box and Muller; 1 - x keeps the logarithm's argument above 0.
        let radius = (-2.0 * (1.0 - rng.random::<f64>()).ln()).sqrt();
        let normal = radius * (std::f64::consts::TAU * rng.random::<f64>()).cos();
        let ms = (self.mu + self.sigma * normal).exp();
        Duration::try_from_secs_f64(ms / 1000.0).unwrap_or(LONGEST).min(LONGEST)
    }
}

#[cfg(test)]
mod tests {
    use rand::{SeedableRng, rngs::StdRng};

    use super::*;

    #[test]
    fn samples_have_the_mean_and_the_percentile_asked_for() {
        let spread = Latency { mean: 20.0, p99: 100.0 }.spread().unwrap().unwrap();
        let mut rng = StdRng::seed_from_u64(1);
        let mut ms: Vec<f64> = (0..200_000).map(|_| spread.sample(&mut rng).as_secs_f64() * 1000.0).collect();
        ms.sort_by(f64::total_cmp);
        let mean = ms.iter().sum::<f64>() / 200_000.0;
        assert!((19.0..21.0).contains(&mean), "mean {mean}");
        assert!((95.0..105.0).contains(&ms[198_000]), "p99 {}", ms[198_000]);
    }

    #[test]
    fn without_a_spread_every_sample_is_the_mean() {
        let latency: Latency = serde_json::from_str(r#"{"mean": 20}"#).unwrap();
        let spread = latency.spread().unwrap().unwrap();
        let mut rng = StdRng::seed_from_u64(2);
        for _ in 0..100 {
            assert_eq!(spread.sample(&mut rng).as_micros().div_ceil(1000), 20);
        }
    }

    #[test]
    fn impossible_numbers_are_refused() {
        assert!(Latency { mean: 0.0, p99: 0.0 }.spread().unwrap().is_none());
        for (mean, p99) in [(0.0, 5.0), (1.0, 100.0), (-1.0, 1.0), (f64::NAN, 1.0)] {
            assert!(Latency { mean, p99 }.spread().is_err(), "{mean} {p99}");
        }
    }
}
