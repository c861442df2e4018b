//! Credentials from the standard chain, with a bounded wait and a memory for failure.
//!
//! Where there are none, the chain's last resort (the instance's metadata service) takes seconds to find that out. That
//! must fail the container clearly and at once, not each key slowly, so a failure is remembered for a while.

use std::{fmt, time::Duration};

use aws_credential_types::{
    Credentials,
    provider::{ProvideCredentials, SharedCredentialsProvider, error::CredentialsError, future},
};
use job_model::Moment;
use tokio::sync::Mutex;

use crate::permit::Clock;

/// How long the chain may take: below the operation timeout, so that the reason is told and not a time-out.
const PATIENCE: Duration = Duration::from_secs(3);

/// How long a failure is told again before the chain is asked again.
const MEMORY: Duration = Duration::from_secs(10);

/// The chain, asked by one at a time.
pub(super) struct Chain {
    inner: SharedCredentialsProvider,
    clock: Clock,
    failure: Mutex<Option<(Moment, String)>>,
}

impl Chain {
    pub(super) fn new(inner: SharedCredentialsProvider, clock: Clock) -> Self {
        Self { inner, clock, failure: Mutex::new(None) }
    }

    async fn load(&self) -> Result<Credentials, CredentialsError> {
        let mut failure = self.failure.lock().await;
        if let Some((at, why)) = &*failure
            && (self.clock)().since(*at) < MEMORY
        {
            return Err(CredentialsError::not_loaded(why.clone()));
        }
        let loaded = tokio::time::timeout(PATIENCE, self.inner.provide_credentials()).await;
        let loaded = loaded.unwrap_or_else(|_| Err(CredentialsError::provider_timed_out(PATIENCE)));
        *failure = loaded.as_ref().err().map(|error| {
            let why = crate::kms::connection::chain(error);
            tracing::error!(error = why, "There are no AWS credentials.");
            ((self.clock)(), why)
        });
        loaded
    }
}

impl ProvideCredentials for Chain {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        future::ProvideCredentials::new(self.load())
    }
}

impl fmt::Debug for Chain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Chain")
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    };

    use super::*;

    /// Counts how often it is asked; hangs, or has nothing.
    #[derive(Clone, Debug, Default)]
    struct Source {
        asked: Arc<AtomicU64>,
        hangs: bool,
    }

    impl ProvideCredentials for Source {
        fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
        where
            Self: 'a,
        {
            self.asked.fetch_add(1, Ordering::Relaxed);
            if self.hangs {
                return future::ProvideCredentials::new(std::future::pending());
            }
            future::ProvideCredentials::ready(Err(CredentialsError::not_loaded("nothing")))
        }
    }

    static NOW: AtomicU64 = AtomicU64::new(0);

    fn chain(source: &Source) -> Chain {
        Chain::new(SharedCredentialsProvider::new(source.clone()), || Moment::from_nanos(NOW.load(Ordering::Relaxed)))
    }

    #[tokio::test]
    async fn a_failure_is_remembered_for_a_while() {
        let source = Source::default();
        let chain = chain(&source);
        for _ in 0..3 {
            assert!(crate::kms::connection::chain(&chain.load().await.unwrap_err()).contains("nothing"));
        }
        assert_eq!(source.asked.load(Ordering::Relaxed), 1);
        NOW.fetch_add(u64::try_from(MEMORY.as_nanos()).unwrap(), Ordering::Relaxed);
        chain.load().await.unwrap_err();
        assert_eq!(source.asked.load(Ordering::Relaxed), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn a_chain_that_hangs_is_given_up() {
        let chain = chain(&Source { hangs: true, ..Source::default() });
        assert!(matches!(chain.load().await, Err(CredentialsError::ProviderTimedOut(_))));
    }
}
