//! Credentials, kept and renewed: one [`Source`] for all requests that go the same way.
//!
//! Problem: whoever gives credentials may take seconds, throttle, refuse, or be gone, and hundreds of keys want some at
//! once. Invariants: one load at a time, in a task of its own, whoever waits for it; credentials are renewed well before
//! their end while the old ones are still given out, so a renewal holds up nobody; a failure is remembered for a while
//! and told at once, because it must fail the container clearly and not each key slowly. Who waits for credentials looks
//! at its permit meanwhile: an abort does not wait for STS. The SDK's own cache is not used: it renews at the very end,
//! and lets all wait for it.

use std::{
    fmt,
    pin::pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use aws_credential_types::{
    Credentials,
    provider::{ProvideCredentials, error::CredentialsError, future},
};
use job_model::{Moment, outcome::Failure};
use tokio::{
    sync::watch,
    time::{sleep, timeout},
};

use super::origin::{Lack, Loaded, Origin};
use crate::{
    metrics,
    permit::{Clock, Permit},
};

/// How long a failure is told again before somebody is asked again: a refusal, and one that may be over soon.
const MEMORY: Duration = Duration::from_secs(10);
const SHORT_MEMORY: Duration = Duration::from_secs(2);

/// How long a request waits for credentials: a load, and a little for the one that it may need first.
const WAIT: Duration = Duration::from_secs(4);

/// How early credentials are renewed, and how long before their end they are given out no more; less for short ones.
const EARLY: Duration = Duration::from_secs(300);
const LAST: Duration = Duration::from_secs(10);

/// Between two loads that succeed: who gives out what ends soon must not be asked all the time.
const REST: Duration = Duration::from_secs(1);

/// How often one who waits looks at its permit.
const GLANCE: Duration = Duration::from_millis(50);

/// One way to credentials, and what it gave last.
pub(super) struct Source {
    origin: Origin,
    /// Whose they are, for people: empty, or ` by the connection "…"`.
    by: String,
    clock: Clock,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    kept: Option<Kept>,
    failed: Option<(Moment, Lack)>,
    /// Closed when the load has ended, however it did.
    loading: Option<watch::Receiver<()>>,
}

struct Kept {
    credentials: Credentials,
    loaded_at: Moment,
    /// When to renew them, and until when they are given out.
    ends: Option<(Moment, Moment)>,
}

enum Look {
    Have(Credentials),
    Lack(Lack),
    Wait(watch::Receiver<()>),
}

impl Source {
    pub(super) fn new(origin: Origin, by: String, clock: Clock) -> Arc<Self> {
        Arc::new(Self { origin, by, clock, state: Mutex::default() })
    }

    /// The time by its clock.
    pub(super) fn now(&self) -> Moment {
        (self.clock)()
    }

    /// Credentials, waited for while the permit allows the request that wants them.
    pub(super) async fn ready(self: &Arc<Self>, permit: &Permit) -> Result<Credentials, Failure> {
        if let Look::Have(credentials) = self.look() {
            return Ok(credentials);
        }
        let mut got = pin!(self.get());
        loop {
            tokio::select! {
                got = &mut got => return got.map_err(|lack| lack.failure()),
                () = sleep(GLANCE) => if permit.check().is_err() {
                    return Err(Failure::Void);
                },
            }
        }
    }

    /// Credentials, at most [`WAIT`] from now.
    pub(super) async fn get(self: &Arc<Self>) -> Result<Credentials, Lack> {
        if let Look::Have(credentials) = self.look() {
            return Ok(credentials);
        }
        let waited = timeout(WAIT, async {
            loop {
                match self.look() {
                    Look::Have(credentials) => return Ok(credentials),
                    Look::Lack(lack) => return Err(lack),
                    // Nothing is ever sent: it ends by being closed.
                    Look::Wait(mut loading) => while loading.changed().await.is_ok() {},
                }
            }
        });
        waited.await.unwrap_or_else(|_elapsed| {
            Err(Lack { passing: true, text: format!("no AWS credentials{} within {WAIT:?}", self.by) })
        })
    }

    /// AWS says that those given out before `begun` are no good. Fresh ones are not asked for again: they are no better.
    pub(super) fn distrust(&self, begun: Moment) {
        let mut state = self.state();
        if state.kept.as_ref().is_some_and(|kept| begun.since(kept.loaded_at) >= MEMORY) {
            state.kept = None;
        }
    }

    /// What there is now. Has it loaded if there is nothing, or renewed if it ends soon.
    fn look(self: &Arc<Self>) -> Look {
        let now = self.now();
        let mut state = self.state();
        let failing = state.failed.as_ref().filter(|(at, lack)| now.since(*at) < memory(lack));
        let failing = failing.map(|(_, lack)| lack.clone());
        let loading = state.loading.take().filter(|loading| loading.has_changed().is_ok());
        if let Some(kept) = state.kept.as_ref().filter(|kept| kept.lives(now)) {
            let have = Look::Have(kept.credentials.clone());
            let renew = kept.is_due(now) && failing.is_none();
            state.loading = if renew { loading.or_else(|| Some(self.load())) } else { loading };
            return have;
        }
        if let Some(lack) = failing {
            state.loading = loading;
            return Look::Lack(lack);
        }
        let loading = loading.unwrap_or_else(|| self.load());
        state.loading = Some(loading.clone());
        Look::Wait(loading)
    }

    /// In a task of its own: it goes on when the one who asked first is gone.
    fn load(self: &Arc<Self>) -> watch::Receiver<()> {
        let (done, loading) = watch::channel(());
        let source = self.clone();
        tokio::spawn(async move {
            let loaded = source.origin.load(&source.by).await;
            source.settle(loaded);
            drop(done);
        });
        loading
    }

    fn settle(&self, loaded: Result<Loaded, Lack>) {
        let loaded = loaded.and_then(|loaded| match loaded.lasts {
            Some(Duration::ZERO) => {
                Err(Lack { passing: false, text: format!("no AWS credentials{}: they have expired", self.by) })
            }
            Some(_) | None => Ok(loaded),
        });
        metrics::credentials(loaded.as_ref().err().map(|lack| lack.passing));
        let now = self.now();
        let mut state = self.state();
        match loaded {
            Ok(loaded) => {
                if state.failed.take().is_some() {
                    tracing::info!(origin = ?self.origin, "There are AWS credentials again{}.", self.by);
                }
                state.kept = Some(Kept::new(loaded, now));
            }
            Err(lack) => {
                // Once, and not each time that it is found out again.
                if state.failed.as_ref().is_none_or(|(_, before)| *before != lack) {
                    tracing::error!(error = lack.text, "There are no AWS credentials.");
                }
                state.failed = Some((now, lack));
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

const fn memory(lack: &Lack) -> Duration {
    if lack.passing { SHORT_MEMORY } else { MEMORY }
}

impl Kept {
    fn new(loaded: Loaded, now: Moment) -> Self {
        let ends = loaded.lasts.map(|lasts| {
            let renew = (now + lasts) - EARLY.min(lasts / 4);
            (renew.max(now + REST), (now + lasts) - LAST.min(lasts / 8))
        });
        Self { credentials: loaded.credentials, loaded_at: now, ends }
    }

    fn lives(&self, now: Moment) -> bool {
        self.ends.is_none_or(|(_, end)| now < end)
    }

    fn is_due(&self, now: Moment) -> bool {
        self.ends.is_some_and(|(renew, _)| now >= renew)
    }
}

/// Hands a source's credentials to the SDK.
#[derive(Debug)]
pub(super) struct Handout(pub(super) Arc<Source>);

impl ProvideCredentials for Handout {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        future::ProvideCredentials::new(async { self.0.get().await.map_err(CredentialsError::provider_error) })
    }
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Source({:?}{})", self.origin, self.by)
    }
}

#[cfg(test)]
mod tests;
