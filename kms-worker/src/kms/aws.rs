//! AWS's protocol: the only place that knows it. Its answers become those of `job-model` ([`answers`]).
//!
//! A call is neither repeated nor timed out here below: a retry needs a token of its lane, so the leader decides on it; the
//! time-out is one for the whole request, connecting included.

mod answers;
mod caller;
mod clients;
mod credentials;
mod origin;
mod pages;

use std::{sync::Arc, time::Duration};

use job_model::{KeyAddress, Observed, Refusal, Request, outcome::Failure};
use serde::Serialize;
use serde_with::skip_serializing_none;

use self::{
    answers::{Described, Named, Nothing, Object, Output, Policy, no_answer},
    clients::Line,
    origin::is_about_credentials,
};
pub use self::{
    clients::{Kms, KmsSettings},
    pages::{AliasesPage, KeysPage, SeenKey, Shelf},
};
use super::flight::{Flight, Progress};
use crate::{metrics, permit::Permit};

/// One key, and how it is reached.
#[derive(Debug)]
pub struct Key {
    /// Its account's client, or why there is none.
    line: Result<Line, Refusal>,
    id: String,
    operation_timeout: Duration,
}

/// What came of one request.
#[derive(Debug)]
pub struct Answer<T> {
    /// What KMS said, or why it said nothing.
    pub result: Result<T, Failure>,
    /// Bytes of it were written: it may have had an effect.
    pub sent: bool,
}

impl Kms {
    /// The key at `address`. If nothing reaches its account, that is the answer to every request for it.
    pub fn key(&self, address: &KeyAddress) -> Key {
        let line = self.line(&address.account, &address.region);
        Key { line, id: address.id.to_string(), operation_timeout: self.operation_timeout() }
    }
}

impl Key {
    /// The longest one request may take, and after which none of it can still take effect.
    pub const fn operation_timeout(&self) -> Duration {
        self.operation_timeout
    }

    /// Looks at what of the key `request` is about: its state, or its policy.
    pub async fn observe(&self, request: &Request, permit: &Arc<Permit>) -> Answer<Observed> {
        let line = match &self.line {
            Ok(line) => line,
            Err(refusal) => return Answer::unreached(refusal),
        };
        match request {
            Request::EnableKey
            | Request::DisableKey
            | Request::ScheduleKeyDeletion { .. }
            | Request::CancelKeyDeletion => {
                let answer = make::<Object<Described>>("DescribeKey", &self.input(), permit, line).await;
                answer.and_then(|Object(described)| described.observed())
            }
            Request::ApplyPolicy { .. } => {
                let input = Input { policy_name: Some("default"), ..self.input() };
                let answer = make::<Object<Policy>>("GetKeyPolicy", &input, permit, line).await;
                answer.and_then(|Object(policy)| policy.observed())
            }
        }
    }

    /// Makes the mutating call: the only place that can. Under a permit that only observes it makes none.
    pub async fn act(&self, request: &Request, permit: &Arc<Permit>) -> Answer<()> {
        let operation = request.operation().kms_operation();
        if !permit.acts() {
            tracing::error!(
                operation,
                "A request that would change a key was asked for where only reading is allowed."
            );
            return Answer { result: Err(Failure::Void), sent: false };
        }
        let line = match &self.line {
            Ok(line) => line,
            Err(refusal) => return Answer::unreached(refusal),
        };
        let input = match request {
            Request::EnableKey | Request::DisableKey | Request::CancelKeyDeletion => self.input(),
            Request::ScheduleKeyDeletion { days } => Input { pending_window_in_days: Some(*days), ..self.input() },
            Request::ApplyPolicy { policy } => {
                Input { policy_name: Some("default"), policy: Some(policy), ..self.input() }
            }
        };
        match request {
            Request::EnableKey | Request::DisableKey | Request::ApplyPolicy { .. } => {
                make::<Nothing>(operation, &input, permit, line).await.and_then(|Nothing| Ok(()))
            }
            Request::ScheduleKeyDeletion { .. } | Request::CancelKeyDeletion => {
                let answer = make::<Object<Named>>(operation, &input, permit, line).await;
                answer.and_then(|Object(named)| named.checked())
            }
        }
    }

    fn input(&self) -> Input<'_> {
        Input { key_id: &self.id, ..Input::default() }
    }
}

/// What a call about a key may say.
#[skip_serializing_none]
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Input<'a> {
    key_id: &'a str,
    pending_window_in_days: Option<u32>,
    policy_name: Option<&'static str>,
    policy: Option<&'a str>,
}

/// Makes one request under its permit, in at most the operation timeout. Credentials come first and count in it; nothing
/// of the request has begun while they are waited for.
async fn make<T: Output>(
    operation: &'static str,
    input: &impl Serialize,
    permit: &Arc<Permit>,
    line: &Line,
) -> Answer<T> {
    let (begun, operation_timeout) = (permit.now(), line.operation_timeout);
    let flight = Arc::new(Flight::new(permit.clone(), operation_timeout));
    let call = async {
        let credentials = line.source.ready(permit).await?;
        line.caller.call(operation, input, credentials, flight.clone()).await
    };
    let ended = tokio::time::timeout(operation_timeout, call).await;
    let progress = flight.progress();
    let result =
        ended.unwrap_or_else(|_elapsed| Err(no_answer(progress, format!("no answer within {operation_timeout:?}"))));
    if let Err(Failure::Refused(refusal)) = &result
        && refusal.status != 0
        && is_about_credentials(&refusal.code)
    {
        line.source.distrust(begun);
    }
    metrics::kms_request(operation, result.as_ref().err(), permit.now().since(begun));
    Answer { result, sent: progress == Progress::Sent }
}

impl<T> Answer<T> {
    /// Nobody was asked.
    fn unreached(refusal: &Refusal) -> Self {
        Self { result: Err(Failure::Refused(refusal.clone())), sent: false }
    }

    fn and_then<U>(self, read: impl FnOnce(T) -> Result<U, Failure>) -> Answer<U> {
        Answer { result: self.result.and_then(read), sent: self.sent }
    }
}

#[cfg(test)]
mod tests {
    use aws_credential_types::provider::{
        ProvideCredentials, SharedCredentialsProvider, error::CredentialsError, future,
    };
    use service_kit::clock;

    use super::*;
    use crate::{
        lease::{Heartbeats, Lease},
        stops::Stops,
    };

    #[derive(Debug)]
    struct Nothing;

    impl ProvideCredentials for Nothing {
        fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
        where
            Self: 'a,
        {
            future::ProvideCredentials::ready(Err(CredentialsError::not_loaded("nobody has any")))
        }
    }

    #[tokio::test]
    async fn without_credentials_every_request_is_refused_clearly_and_at_once() {
        let settings = KmsSettings {
            endpoint: Some("http://127.0.0.1:1".to_owned()),
            sts_endpoint: None,
            region: "us-east-1".to_owned(),
            operation_timeout: Duration::from_secs(60),
            session_name: "keyfleet-test".to_owned(),
        };
        let kms = Kms::with_provider(settings, SharedCredentialsProvider::new(Nothing), clock::boottime);
        let key = kms.key(&KeyAddress { account: "1".into(), region: "us-east-1".into(), id: "k".into() });
        let lease = Arc::new(Lease::default());
        let mut beats = Heartbeats::new(lease.clone());
        let number = beats.beat(clock::boottime());
        beats.granted(number, Duration::from_secs(60), clock::boottime());
        for _ in 0..2 {
            let flag = Stops::default().flag(job_model::JobId::from_uuid(uuid::Uuid::nil()));
            let permit = Arc::new(Permit::for_go(&lease, flag, clock::boottime));
            let answer = key.act(&Request::EnableKey, &permit).await;
            let Err(Failure::Refused(refusal)) = answer.result else { panic!("{answer:?}") };
            assert_eq!(refusal.code, "CredentialsError");
            assert!(refusal.text.contains("nobody has any"), "{}", refusal.text);
            assert!(!answer.sent);
        }
    }
}
