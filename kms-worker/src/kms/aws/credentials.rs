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
