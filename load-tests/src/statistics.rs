//! Medians and percentiles of small samples: by nearest rank, so that each is a value that was measured.

/// The value that at least `percent` (0 to 100) of the sample do not exceed; `None` of an empty sample.
#[must_use]
pub fn percentile(sample: &[f64], percent: f64) -> Option<f64> {
    let mut sorted = sample.to_vec();
    sorted.sort_by(f64::total_cmp);
    // Nearest rank: the ceiling of percent/100 · n, from 1. A rounding error must not lift an exact rank by one.
    let rank = (percent / 100.0 * count(sample.len()) - 1e-9).ceil().max(1.0);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "from 1 up to the sample's size")]
    let index = rank as usize - 1;
    sorted.get(index.min(sorted.len().saturating_sub(1))).copied()
}

/// The middle value, the mean of the two middle ones of an even sample; `None` of an empty sample.
#[must_use]
pub fn median(sample: &[f64]) -> Option<f64> {
    let mut sorted = sample.to_vec();
    sorted.sort_by(f64::total_cmp);
    let upper = *sorted.get(sorted.len() / 2)?;
    match sorted.len() % 2 {
        1 => Some(upper),
        _ => Some(f64::midpoint(sorted[sorted.len() / 2 - 1], upper)),
    }
}

/// A count as a number to reckon with.
#[must_use]
#[expect(clippy::cast_precision_loss, reason = "counts of keys, rows and requests stay far below 2^52")]
pub fn count(n: usize) -> f64 {
    n as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentile_is_the_nearest_rank() {
        let sample: Vec<f64> = (1..=100).rev().map(f64::from).collect();
        assert_eq!(percentile(&sample, 50.0), Some(50.0));
        assert_eq!(percentile(&sample, 99.0), Some(99.0));
        assert_eq!(percentile(&sample, 100.0), Some(100.0));
        assert_eq!(percentile(&sample, 0.0), Some(1.0));
        // Of five, the second is the first that 40 % do not exceed, and 41 % need the third.
        let five = [15.0, 20.0, 35.0, 40.0, 50.0];
        assert_eq!((percentile(&five, 40.0), percentile(&five, 41.0)), (Some(20.0), Some(35.0)));
        assert_eq!(percentile(&[7.0], 99.0), Some(7.0));
        assert_eq!(percentile(&[], 50.0), None);
    }

    #[test]
    fn a_median_is_the_middle_or_between_the_middles() {
        assert_eq!(median(&[9.0, 1.0, 5.0]), Some(5.0));
        assert_eq!(median(&[4.0, 1.0, 9.0, 2.0]), Some(3.0));
        assert_eq!(median(&[2.5]), Some(2.5));
        assert_eq!(median(&[]), None);
    }

    #[test]
    fn many_exact_ranks_are_not_lifted_by_rounding() {
        let sample: Vec<f64> = (1..=2_000).map(f64::from).collect();
        for percent in 1..=100 {
            assert_eq!(percentile(&sample, f64::from(percent)), Some(f64::from(percent * 20)), "{percent} %");
        }
    }
}
