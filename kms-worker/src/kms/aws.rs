//! The AWS SDK: the only place that knows its types. Its answers become those of `job-model` ([`answers`]).
//!
//! The SDK builds, signs and reads; it neither retries nor times out. A retry needs a token of its lane, so the leader
//! decides on it; the time-out is one for the whole request, connecting included.

mod adapter;
mod answers;
mod credentials;
mod pages;

use std::{
    collections::HashMap,
    future::Future,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use aws_config::BehaviorVersion;
use aws_credential_types::{Credentials, provider::SharedCredentialsProvider};
use aws_sdk_kms::{
    Client,
    config::{Region, StalledStreamProtectionConfig, retry::RetryConfig, timeout::TimeoutConfig},
    error::{ProvideErrorMetadata, SdkError},
};
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use job_model::{KeyAddress, Observed, Request, outcome::Failure};
use service_kit::settings::Secret;

pub use self::pages::{AliasesPage, KeysPage, SeenKey, Shelf};
use self::{
    adapter::{Adapter, FLIGHT},
    answers::{failure, no_answer, read_state, without},
    credentials::Chain,
};
use super::{
    flight::{Flight, Progress},
    transport::Transport,
};
use crate::{
    metrics,
    permit::{Clock, Permit},
};

/// What the KMS clients need to know.
#[derive(Clone, Debug)]
pub struct KmsSettings {
    /// The KMS end for all Regions; AWS's own when `None`.
    pub endpoint: Option<String>,
    /// The Region that the credentials chain may ask in.
    pub region: String,
    /// The longest one request may take, connecting included.
    pub operation_timeout: Duration,
}

/// The clients: one per Region, over one pool of connections. Clones share them.
#[derive(Clone, Debug)]
pub struct Kms(Arc<Clients>);

#[derive(Debug)]
struct Clients {
    shared: aws_config::SdkConfig,
    settings: KmsSettings,
    transport: Transport,
    by_region: Mutex<HashMap<Arc<str>, Client>>,
}

/// One key, and the client of its Region.
#[derive(Debug)]
pub struct Key {
    client: Client,
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
    /// Takes the credentials of the standard chain. Reads environment and profiles; asks nothing over the network yet.
    pub async fn load(settings: KmsSettings, clock: Clock) -> Self {
        let shared = aws_config::defaults(BehaviorVersion::latest())
            .region(Region::new(settings.region.clone()))
            .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
            .load()
            .await;
        let shared = match shared.credentials_provider() {
            Some(inner) => {
                let bounded = SharedCredentialsProvider::new(Chain::new(inner, clock));
                shared.into_builder().credentials_provider(bounded).build()
            }
            None => shared,
        };
        Self::new(shared, settings, clock)
    }

    /// Takes these credentials and reads nothing.
    pub fn with_credentials(
        settings: KmsSettings,
        access_key_id: &str,
        secret_access_key: &Secret<String>,
        clock: Clock,
    ) -> Self {
        let credentials = Credentials::new(access_key_id, secret_access_key.expose(), None, None, "given");
        Self::with_provider(settings, SharedCredentialsProvider::new(credentials), clock)
    }

    fn with_provider(settings: KmsSettings, provider: SharedCredentialsProvider, clock: Clock) -> Self {
        let shared = aws_config::SdkConfig::builder()
            .behavior_version(BehaviorVersion::latest())
            .credentials_provider(provider)
            .build();
        Self::new(shared, settings, clock)
    }

    fn new(shared: aws_config::SdkConfig, settings: KmsSettings, clock: Clock) -> Self {
        let transport = Transport::new(settings.operation_timeout, clock);
        Self(Arc::new(Clients { shared, settings, transport, by_region: Mutex::default() }))
    }

    /// The key at `address`. Its account is that of the credentials.
    pub fn key(&self, address: &KeyAddress) -> Key {
        let (client, operation_timeout) = self.client_of(&address.account, &address.region);
        Key { client, id: address.id.to_string(), operation_timeout }
    }

    /// The client of an account and Region, and the longest that one of its requests may take.
    fn client_of(&self, _account: &str, region: &str) -> (Client, Duration) {
        let clients = &self.0;
        let mut by_region = clients.by_region.lock().unwrap_or_else(PoisonError::into_inner);
        let client = match by_region.get(region) {
            Some(client) => client.clone(),
            None => {
                let client = clients.client(region);
                by_region.insert(region.into(), client.clone());
                client
            }
        };
        (client, clients.settings.operation_timeout)
    }
}

impl Clients {
    /// Milliseconds of work, so once per Region.
    fn client(&self, region: &str) -> Client {
        let mut config = aws_sdk_kms::config::Builder::from(&self.shared)
            .region(Region::new(region.to_owned()))
            .http_client(Adapter(self.transport.clone()))
            .retry_config(RetryConfig::disabled())
            .timeout_config(TimeoutConfig::disabled())
            .stalled_stream_protection(StalledStreamProtectionConfig::disabled());
        if let Some(endpoint) = &self.settings.endpoint {
            config = config.endpoint_url(endpoint);
        }
        Client::from_conf(config.build())
    }
}

impl Key {
    /// The longest one request may take, and after which none of it can still take effect.
    pub const fn operation_timeout(&self) -> Duration {
        self.operation_timeout
    }

    /// Looks at what of the key `request` is about: its state, or its policy.
    pub async fn observe(&self, request: &Request, permit: &Arc<Permit>) -> Answer<Observed> {
        match request {
            Request::EnableKey
            | Request::DisableKey
            | Request::ScheduleKeyDeletion { .. }
            | Request::CancelKeyDeletion => {
                let call = self.client.describe_key().key_id(&self.id);
                let answer = self.make("DescribeKey", permit, call.send()).await;
                answer.and_then(|output| read_state(output.key_metadata.as_ref()))
            }
            Request::ApplyPolicy { .. } => {
                let call = self.client.get_key_policy().key_id(&self.id).policy_name("default");
                let answer = self.make("GetKeyPolicy", permit, call.send()).await;
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
        match request {
            Request::EnableKey => {
                let call = self.client.enable_key().key_id(&self.id);
                self.make(operation, permit, call.send()).await.and_then(|_| Ok(()))
            }
            Request::DisableKey => {
                let call = self.client.disable_key().key_id(&self.id);
                self.make(operation, permit, call.send()).await.and_then(|_| Ok(()))
            }
            Request::ScheduleKeyDeletion { days } => {
                let call = self.client.schedule_key_deletion().key_id(&self.id);
                let call = call.pending_window_in_days(i32::try_from(*days).unwrap_or(i32::MAX));
                let answer = self.make(operation, permit, call.send()).await;
                answer.and_then(|output| output.key_id.map(drop).ok_or_else(|| without("KeyId")))
            }
            Request::CancelKeyDeletion => {
                let call = self.client.cancel_key_deletion().key_id(&self.id);
                let answer = self.make(operation, permit, call.send()).await;
                answer.and_then(|output| output.key_id.map(drop).ok_or_else(|| without("KeyId")))
            }
            Request::ApplyPolicy { policy } => {
                let call = self.client.put_key_policy().key_id(&self.id).policy_name("default").policy(&**policy);
                self.make(operation, permit, call.send()).await.and_then(|_| Ok(()))
            }
        }
    }

    async fn make<T, E>(
        &self,
        operation: &'static str,
        permit: &Arc<Permit>,
        call: impl Future<Output = Result<T, SdkError<E, HttpResponse>>>,
    ) -> Answer<T>
    where
        E: ProvideErrorMetadata + std::error::Error + 'static,
    {
        make(operation, permit, self.operation_timeout, call).await
    }
}

/// Makes one request under its permit, in at most this time.
async fn make<T, E>(
    operation: &'static str,
    permit: &Arc<Permit>,
    operation_timeout: Duration,
    call: impl Future<Output = Result<T, SdkError<E, HttpResponse>>>,
) -> Answer<T>
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
{
    let begun = permit.now();
    let flight = Arc::new(Flight::new(permit.clone(), operation_timeout));
    let ended = tokio::time::timeout(operation_timeout, FLIGHT.scope(flight.clone(), call)).await;
    let progress = flight.progress();
    let result = match ended {
        Ok(Ok(output)) => Ok(output),
        Ok(Err(error)) => Err(failure(&error, progress)),
        Err(_elapsed) => Err(no_answer(progress, format!("no answer within {operation_timeout:?}"))),
    };
    metrics::kms_request(operation, result.as_ref().err(), permit.now().since(begun));
    Answer { result, sent: progress == Progress::Sent }
}

impl<T> Answer<T> {
    fn and_then<U>(self, read: impl FnOnce(T) -> Result<U, Failure>) -> Answer<U> {
        Answer { result: self.result.and_then(read), sent: self.sent }
    }
}

#[cfg(test)]
mod tests {
    use aws_credential_types::provider::{ProvideCredentials, error::CredentialsError, future};
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
            region: "us-east-1".to_owned(),
            operation_timeout: Duration::from_secs(60),
        };
        let chain = Chain::new(SharedCredentialsProvider::new(Nothing), clock::boottime);
        let kms = Kms::with_provider(settings, SharedCredentialsProvider::new(chain), clock::boottime);
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
