//! The AWS SDK: the only place that knows its types. Its answers become those of `job-model` ([`answers`]).
//!
//! The SDK builds, signs and reads; it neither retries nor times out. A retry needs a token of its lane, so the leader
//! decides on it; the time-out is one for the whole request, connecting included.

mod adapter;
mod answers;
mod clients;
mod credentials;
mod origin;
mod pages;

use std::{future::Future, sync::Arc, time::Duration};

use aws_sdk_kms::error::{ProvideErrorMetadata, SdkError};
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use job_model::{KeyAddress, Observed, Refusal, Request, outcome::Failure};

use self::{
    adapter::FLIGHT,
    answers::{failure, no_answer, read_state, without},
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
                let call = line.client.describe_key().key_id(&self.id);
                let answer = make("DescribeKey", permit, line, call.send()).await;
                answer.and_then(|output| read_state(output.key_metadata.as_ref()))
            }
            Request::ApplyPolicy { .. } => {
                let call = line.client.get_key_policy().key_id(&self.id).policy_name("default");
                let answer = make("GetKeyPolicy", permit, line, call.send()).await;
                answer.and_then(|output| output.policy.map(Observed::Policy).ok_or_else(|| without("Policy")))
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
        match request {
            Request::EnableKey => {
                let call = line.client.enable_key().key_id(&self.id);
                make(operation, permit, line, call.send()).await.and_then(|_| Ok(()))
            }
            Request::DisableKey => {
                let call = line.client.disable_key().key_id(&self.id);
                make(operation, permit, line, call.send()).await.and_then(|_| Ok(()))
            }
            Request::ScheduleKeyDeletion { days } => {
                let call = line.client.schedule_key_deletion().key_id(&self.id);
                let call = call.pending_window_in_days(i32::try_from(*days).unwrap_or(i32::MAX));
                let answer = make(operation, permit, line, call.send()).await;
                answer.and_then(|output| named(output.key_id))
            }
            Request::CancelKeyDeletion => {
                let call = line.client.cancel_key_deletion().key_id(&self.id);
                let answer = make(operation, permit, line, call.send()).await;
                answer.and_then(|output| named(output.key_id))
            }
            Request::ApplyPolicy { policy } => {
                let call = line.client.put_key_policy().key_id(&self.id).policy_name("default").policy(&**policy);
                make(operation, permit, line, call.send()).await.and_then(|_| Ok(()))
            }
        }
    }
}

/// The success of a call that names the key.
fn named(key_id: Option<String>) -> Result<(), Failure> {
    key_id.filter(|id| !id.is_empty()).map(drop).ok_or_else(|| without("KeyId"))
}

/// Makes one request under its permit, in at most the operation timeout. Credentials come first and count in it; nothing
/// of the request has begun while they are waited for.
async fn make<T, E>(
    operation: &'static str,
    permit: &Arc<Permit>,
    line: &Line,
    call: impl Future<Output = Result<T, SdkError<E, HttpResponse>>>,
) -> Answer<T>
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
{
    let (begun, operation_timeout) = (permit.now(), line.operation_timeout);
    let flight = Arc::new(Flight::new(permit.clone(), operation_timeout));
    // Kilobytes: in a box of its own it is not moved with each future that is built around it.
    let call = FLIGHT.scope(flight.clone(), Box::pin(call));
    let signed = async {
        line.source.ready(permit).await?;
        Ok(call.await)
    };
    let ended = tokio::time::timeout(operation_timeout, signed).await;
    let progress = flight.progress();
    let result = match ended {
        Ok(Ok(Ok(output))) => Ok(output),
        Ok(Ok(Err(error))) => Err(failure(&error, progress)),
        Ok(Err(unsigned)) => Err(unsigned),
        Err(_elapsed) => Err(no_answer(progress, format!("no answer within {operation_timeout:?}"))),
    };
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
