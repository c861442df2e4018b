//! How long to wait before trying again.
//!
//! Each delay is drawn between half the step and the whole step, and the step doubles up to a cap: processes that lost
//! the same peer at the same moment do not come back at the same moment.

use std::time::Duration;

use rand::Rng;

/// Growing, capped, jittered delays of one reconnect loop.
#[derive(Clone, Debug)]
pub struct Backoff {
    first: Duration,
    cap: Duration,
    step: Duration,
}

impl Backoff {
    /// Delays that begin near `first` and double up to `cap`.
    pub const fn new(first: Duration, cap: Duration) -> Self {
        Self { first, cap, step: first }
    }

    /// What the services use for their peers: 100 ms up to 2 s. Recovery after a short outage is not to wait long, and
    /// a try costs one TCP handshake.
    pub const fn reconnect() -> Self {
        Self::new(Duration::from_millis(100), Duration::from_secs(2))
    }

    /// The next delay, drawn by chance.
    pub fn next_delay(&mut self) -> Duration {
        self.draw(rand::rng().random())
    }

    /// Sleeps for the next delay.
    pub async fn wait(&mut self) {
        let delay = self.next_delay();
        tokio::time::sleep(delay).await;
    }

    /// It worked: begin at the first delay next time.
    pub const fn reset(&mut self) {
        self.step = self.first;
    }

    /// The next delay for a fraction of 0 to 1.
    fn draw(&mut self, fraction: f64) -> Duration {
        let step = self.step.min(self.cap);
        self.step = step.saturating_mul(2).min(self.cap);
        step.mul_f64(0.5 + fraction / 2.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_double_up_to_the_cap_and_start_over() {
        let ms = Duration::from_millis;
        let mut backoff = Backoff::new(ms(100), ms(350));
        let whole: Vec<_> = (0..4).map(|_| backoff.draw(1.0)).collect();
        assert_eq!(whole, [ms(100), ms(200), ms(350), ms(350)]);
        backoff.reset();
        assert_eq!(backoff.draw(0.0), ms(50));
    }

    #[test]
    fn chance_keeps_a_delay_between_half_and_whole() {
        let mut backoff = Backoff::reconnect();
        for _ in 0..100 {
            backoff.reset();
            let delay = backoff.next_delay();
            assert!((Duration::from_millis(50)..=Duration::from_millis(100)).contains(&delay), "{delay:?}");
        }
    }
}
