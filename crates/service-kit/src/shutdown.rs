//! Stopping in two steps: finish what is begun, then drop the rest.
//!
//! `requested` is the first step: take nothing new, finish what is under way. `forced` follows after a cap, or at once
//! on a second signal: whoever still runs gives up. Tokens rather than events: a late listener sees them too.

use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// How long the first step may take: below the 10 s that container runtimes give by default after a `SIGTERM`.
pub const CAP: Duration = Duration::from_secs(9);

/// Both steps. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct Shutdown {
    requested: CancellationToken,
    forced: CancellationToken,
}

impl Shutdown {
    /// Cancelled at `SIGTERM`, `SIGINT` or [`Shutdown::request`]: take nothing new, finish what is begun.
    pub fn requested(&self) -> CancellationToken {
        self.requested.clone()
    }

    /// Cancelled [`CAP`] later or at a second signal: drop everything.
    pub fn forced(&self) -> CancellationToken {
        self.forced.clone()
    }

    /// Begins the first step from within.
    pub fn request(&self) {
        self.requested.cancel();
    }

    /// Begins the second step from within.
    pub fn force(&self) {
        self.requested.cancel();
        self.forced.cancel();
    }

    /// Runs both steps by the process's signals. Ends once `forced` is cancelled.
    pub(crate) async fn on_signals(self, mut signals: Signals) {
        tokio::select! {
            name = signals.next() => tracing::info!(signal = name, "Stopping: finishing what is begun."),
            () = self.requested.cancelled() => tracing::info!("Stopping: finishing what is begun."),
        }
        self.requested.cancel();
        tokio::select! {
            name = signals.next() => tracing::warn!(signal = name, "Stopping at once: asked a second time."),
            () = tokio::time::sleep(CAP) => tracing::warn!("Stopping at once: finishing took too long."),
            () = self.forced.cancelled() => {}
        }
        self.forced.cancel();
    }
}

/// The signals that end a service. Taken over before any work begins, so that none is missed.
pub(crate) struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    pub(crate) fn install() -> std::io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_second_step_follows_the_first_after_the_cap() {
        let shutdown = Shutdown::default();
        let signals = Signals::install().unwrap();
        let task = tokio::spawn(shutdown.clone().on_signals(signals));
        let begun = tokio::time::Instant::now();
        shutdown.request();
        shutdown.forced().cancelled().await;
        assert!(begun.elapsed() >= CAP);
        task.await.unwrap();
    }

    #[tokio::test]
    async fn forcing_takes_both_steps() {
        let shutdown = Shutdown::default();
        let task = tokio::spawn(shutdown.clone().on_signals(Signals::install().unwrap()));
        shutdown.force();
        task.await.unwrap();
        assert!(shutdown.requested().is_cancelled());
    }
}
