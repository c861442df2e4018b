//! Who makes the requests of an account and Region.
//!
//! An account's way ([`way`]) is found once, and forgotten whenever the leader or the file of connections says something
//! new. Callers and credentials are kept by their way, shared over accounts, and dropped when no account is reached by
//! them any more. All share one pool of connections.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use aws_config::{BehaviorVersion, SdkConfig, provider_config::ProviderConfig};
use aws_credential_types::{Credentials, provider::SharedCredentialsProvider};
use aws_sdk_kms::config::endpoint::Params;
use aws_sdk_sts::config::{
    IdentityCache, Region, StalledStreamProtectionConfig, retry::RetryConfig, timeout::TimeoutConfig,
};
use job_model::Refusal;
use service_kit::settings::Secret;

use super::{
    caller::Caller,
    credentials::{Handout, Source},
    origin::{Origin, refusal},
};
use crate::{
    connections::{Connections, Means},
    kms::{
        reach::{Reaches, Way, way},
        transport::Transport,
    },
    permit::Clock,
};

/// What STS is given for one attempt, and for connecting; and the pause before the second of three, which doubles. All
/// of it is within the patience of a load, so that STS's own words are told.
const STS_ATTEMPT: Duration = Duration::from_secs(2);
const STS_CONNECT: Duration = Duration::from_secs(1);
const STS_PAUSE: Duration = Duration::from_millis(200);

/// What the KMS clients need to know.
#[derive(Clone, Debug)]
pub struct KmsSettings {
    /// The KMS end for all Regions; AWS's own when `None`.
    pub endpoint: Option<String>,
    /// The same for STS.
    pub sts_endpoint: Option<String>,
    /// The Region that the credentials chain may ask in.
    pub region: String,
    /// The longest one request may take, connecting included.
    pub operation_timeout: Duration,
    /// What assumed roles call their sessions: AWS's logs tell it.
    pub session_name: String,
}

/// KMS: a caller per way and Region, over one pool of connections. Clones share them.
#[derive(Clone, Debug)]
pub struct Kms(Arc<Clients>);

#[derive(Debug)]
struct Clients {
    shared: SdkConfig,
    chain: SharedCredentialsProvider,
    pub(super) settings: KmsSettings,
    clock: Clock,
    transport: Transport,
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    /// The leader's last word.
    reaches: Option<Reaches>,
    connections: Connections,
    /// By account, then by Region.
    lines: HashMap<String, HashMap<String, Line>>,
    by_way: HashMap<(Way, String), Line>,
    /// A role's are asked for in the Region that they are for, all others once.
    sources: HashMap<(Way, Option<String>), Arc<Source>>,
}

/// Who calls, and where the credentials come from.
#[derive(Clone, Debug)]
pub(super) struct Line {
    pub(super) caller: Caller,
    pub(super) source: Arc<Source>,
    /// The longest one request may take.
    pub(super) operation_timeout: Duration,
}

impl Kms {
    /// Takes the standard chain for what it is told of no other way. Reads environment and profiles; asks nothing over the
    /// network yet.
    pub async fn load(settings: KmsSettings, clock: Clock) -> Self {
        let shared = aws_config::defaults(BehaviorVersion::latest())
            .region(Region::new(settings.region.clone()))
            .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
            .load()
            .await;
        let chain = shared.credentials_provider().expect("the SDK's defaults have a chain of credentials");
        Self::new(shared, chain, settings, clock)
    }

    /// Takes these credentials in the place of the standard chain, and reads nothing.
    pub fn with_credentials(
        settings: KmsSettings,
        access_key_id: &str,
        secret_access_key: &Secret<String>,
        clock: Clock,
    ) -> Self {
        let credentials = Credentials::new(access_key_id, secret_access_key.expose(), None, None, "given");
        Self::with_provider(settings, SharedCredentialsProvider::new(credentials), clock)
    }

    pub(super) fn with_provider(settings: KmsSettings, chain: SharedCredentialsProvider, clock: Clock) -> Self {
        let shared = SdkConfig::builder().behavior_version(BehaviorVersion::latest()).build();
        Self::new(shared, chain, settings, clock)
    }

    fn new(shared: SdkConfig, chain: SharedCredentialsProvider, settings: KmsSettings, clock: Clock) -> Self {
        let transport = Transport::new(settings.operation_timeout, clock);
        // Credentials are kept by `Source`.
        let shared = shared.into_builder().identity_cache(IdentityCache::no_cache()).build();
        Self(Arc::new(Clients { shared, chain, settings, clock, transport, known: Mutex::default() }))
    }

    /// The leader says how all accounts are reached; what it said before no longer counts.
    pub fn reach(&self, reaches: Reaches) {
        self.0.change(|known| {
            let changed = known.reaches.as_ref() != Some(&reaches);
            known.reaches = Some(reaches);
            changed
        });
    }

    /// These are the connections from here on.
    pub fn connect_by(&self, connections: &Connections) {
        self.0.change(|known| {
            let changed = known.connections != *connections;
            known.connections.clone_from(connections);
            changed
        });
    }

    /// Who calls for an account and Region.
    pub(super) fn line(&self, account: &str, region: &str) -> Result<Line, Refusal> {
        let clients = &self.0;
        let mut known = clients.known();
        if let Some(line) = known.lines.get(account).and_then(|lines| lines.get(region)) {
            return Ok(line.clone());
        }
        let way = way(account, known.reaches.as_ref(), &known.connections).map_err(refusal)?;
        let line = clients.line_of(&mut known, way, region)?;
        known.lines.entry(account.to_owned()).or_default().insert(region.to_owned(), line.clone());
        Ok(line)
    }

    /// The longest one request may take.
    pub(super) fn operation_timeout(&self) -> Duration {
        self.0.settings.operation_timeout
    }
}

impl Clients {
    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes what ways depend on, and drops what lies on none any more. Requests under way keep what they have.
    fn change(&self, change: impl FnOnce(&mut Known) -> bool) {
        let mut known = self.known();
        if !change(&mut known) {
            return;
        }
        let known = &mut *known;
        known.lines.clear();
        let Some(reaches) = &known.reaches else { return };
        let ways: Vec<Way> =
            reaches.accounts().filter_map(|account| way(account, Some(reaches), &known.connections).ok()).collect();
        known.by_way.retain(|(way, _), _| ways.contains(way));
        known.sources.retain(|(begun, _), _| ways.iter().any(|way| begun.leads_to(way)));
    }

    fn line_of(&self, known: &mut Known, way: Way, region: &str) -> Result<Line, Refusal> {
        if let Some(line) = known.by_way.get(&(way.clone(), region.to_owned())) {
            return Ok(line.clone());
        }
        let caller = self.caller(region)?;
        let source = self.source(known, &way, region);
        let line = Line { caller, source, operation_timeout: self.settings.operation_timeout };
        known.by_way.insert((way, region.to_owned()), line.clone());
        Ok(line)
    }

    fn source(&self, known: &mut Known, way: &Way, region: &str) -> Arc<Source> {
        let key = (way.clone(), (!way.roles.is_empty()).then(|| region.to_owned()));
        if let Some(source) = known.sources.get(&key) {
            return source.clone();
        }
        let origin = match way.roles.split_last() {
            Some((role, before)) => {
                let base = self.source(known, &Way { roles: before.to_vec(), ..way.clone() }, region);
                let sts = self.sts(region, &base);
                Origin::Role { base, sts, role: role.clone(), session_name: self.settings.session_name.clone() }
            }
            None => match &way.means {
                Means::Chain => Origin::Chain(self.chain.clone()),
                Means::Profile(name) => {
                    let region = Region::new(self.settings.region.clone());
                    let config = ProviderConfig::without_region().with_region(Some(region));
                    Origin::Profile { name: name.clone(), config: Box::new(config) }
                }
                Means::Keys { access_key_id, secret_access_key, session_token } => Origin::Keys {
                    access_key_id: access_key_id.clone(),
                    secret_access_key: secret_access_key.clone(),
                    session_token: session_token.clone(),
                },
            },
        };
        let by = match way.connection.as_str() {
            "" => String::new(),
            name => format!(" by the connection {name:?}"),
        };
        let source = Source::new(origin, by, self.clock);
        known.sources.insert(key, source.clone());
        source
    }

    fn caller(&self, region: &str) -> Result<Caller, Refusal> {
        let endpoint = Params::builder()
            .region(region)
            .set_use_fips(self.shared.use_fips())
            .set_use_dual_stack(self.shared.use_dual_stack())
            .set_endpoint(self.settings.endpoint.as_deref().or(self.shared.endpoint_url()).map(str::to_owned));
        Caller::new(self.transport.clone(), endpoint).map_err(|why| Refusal {
            code: "EndpointError".to_owned(),
            text: format!("KMS has no endpoint in the Region {region:?}: {why}"),
            status: 0,
        })
    }

    /// With the SDK's own HTTP client and retries: asking for credentials twice changes nothing, and no permit is asked.
    fn sts(&self, region: &str, base: &Arc<Source>) -> aws_sdk_sts::Client {
        let timeouts =
            TimeoutConfig::builder().connect_timeout(STS_CONNECT).operation_attempt_timeout(STS_ATTEMPT).build();
        let mut config = aws_sdk_sts::config::Builder::from(&self.shared)
            .credentials_provider(Handout(base.clone()))
            .region(Region::new(region.to_owned()))
            .retry_config(RetryConfig::standard().with_initial_backoff(STS_PAUSE))
            .timeout_config(timeouts);
        if let Some(endpoint) = &self.settings.sts_endpoint {
            config = config.endpoint_url(endpoint);
        }
        aws_sdk_sts::Client::from_conf(config.build())
    }
}

#[cfg(test)]
mod tests {
    use keyfleet_proto::workers::v1 as wire;
    use service_kit::clock;

    use super::*;

    fn kms() -> Kms {
        let settings = KmsSettings {
            endpoint: Some("http://127.0.0.1:1".to_owned()),
            sts_endpoint: Some("http://127.0.0.1:1".to_owned()),
            region: "us-east-1".to_owned(),
            operation_timeout: Duration::from_secs(5),
            session_name: "keyfleet-test".to_owned(),
        };
        Kms::with_credentials(settings, "AKID", &Secret::new("secret".to_owned()), clock::boottime)
    }

    fn reaches(accounts: &[(&str, &str, &str)]) -> Reaches {
        let reach = |(account, connection, role): &(&str, &str, &str)| wire::Reach {
            account: (*account).to_owned(),
            connection: (*connection).to_owned(),
            role_arn: (*role).to_owned(),
            external_id: String::new(),
            tenant: "kylo:kylo".to_owned(),
        };
        wire::Reaches { accounts: accounts.iter().map(reach).collect() }.into()
    }

    fn source(kms: &Kms, account: &str, region: &str) -> Arc<Source> {
        kms.line(account, region).unwrap().source
    }

    const ONE: &str = "111122223333";
    const TWO: &str = "222233334444";
    const ROLE: &str = "arn:aws:iam::222233334444:role/two";

    #[test]
    fn credentials_are_shared_by_all_who_go_the_same_way() {
        let kms = kms();
        kms.reach(reaches(&[(ONE, "", ""), (TWO, "", ROLE), ("3", "", "")]));
        assert!(Arc::ptr_eq(&source(&kms, ONE, "us-east-1"), &source(&kms, ONE, "eu-west-1")));
        assert!(Arc::ptr_eq(&source(&kms, ONE, "us-east-1"), &source(&kms, "3", "us-east-1")));
        let role = source(&kms, TWO, "us-east-1");
        assert!(Arc::ptr_eq(&role, &source(&kms, TWO, "us-east-1")));
        assert!(!Arc::ptr_eq(&role, &source(&kms, TWO, "eu-west-1")), "each Region asks its own STS");
        assert!(!Arc::ptr_eq(&role, &source(&kms, ONE, "us-east-1")));
    }

    #[test]
    fn what_is_no_longer_reached_is_dropped_and_the_rest_stays() {
        let kms = kms();
        assert!(kms.line("9", "us-east-1").is_ok(), "no leader has said anything yet");
        let all = reaches(&[(ONE, "", ""), (TWO, "", ROLE)]);
        kms.reach(all.clone());
        let (one, two) = (source(&kms, ONE, "us-east-1"), source(&kms, TWO, "us-east-1"));
        kms.reach(all);
        assert!(Arc::ptr_eq(&two, &source(&kms, TWO, "us-east-1")), "nothing new was said");
        let known = || {
            let known = kms.0.known();
            (known.by_way.len(), known.sources.len())
        };
        assert_eq!(known(), (2, 2));
        kms.reach(reaches(&[(ONE, "", "")]));
        assert_eq!(known(), (1, 1));
        assert!(Arc::ptr_eq(&one, &source(&kms, ONE, "us-east-1")));
        let refusal = kms.line(TWO, "us-east-1").unwrap_err();
        assert_eq!((refusal.code.as_str(), refusal.status), ("CredentialsError", 0));
        assert!(refusal.text.contains(TWO), "{refusal:?}");
        kms.reach(Reaches::default());
        assert_eq!(known(), (0, 0));
    }

    #[test]
    fn a_connection_that_changes_is_another_way() {
        let kms = kms();
        kms.reach(reaches(&[(ONE, "a", ""), (TWO, "b", "")]));
        assert!(kms.line(ONE, "us-east-1").unwrap_err().text.contains("\"a\""));
        kms.connect_by(&r#"{"a": {"profile": "x"}, "b": {}}"#.parse().unwrap());
        let (one, two) = (source(&kms, ONE, "us-east-1"), source(&kms, TWO, "us-east-1"));
        kms.connect_by(&r#"{"a": {"profile": "y"}, "b": {}}"#.parse().unwrap());
        assert!(!Arc::ptr_eq(&one, &source(&kms, ONE, "us-east-1")));
        assert!(Arc::ptr_eq(&two, &source(&kms, TWO, "us-east-1")));
    }
}
