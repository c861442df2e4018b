//! What a stack is to be like: how many of each service, at which pace, and what is used of what exists.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};

use crate::servers::{Durability, Given, Wire};

/// What bare key ids belong to unless told otherwise.
pub(crate) const DEFAULT_ACCOUNT: &str = "111122223333";
/// The Region of bare key ids unless told otherwise.
pub(crate) const DEFAULT_REGION: &str = "us-east-1";

/// What every KMS client of the stack finds in its environment when the caller set nothing.
const DEVELOPMENT_AWS: [(&str, &str); 4] = [
    ("AWS_ACCOUNT_ID", DEFAULT_ACCOUNT),
    ("AWS_REGION", DEFAULT_REGION),
    ("AWS_ACCESS_KEY_ID", "AKIADEVELOPMENTONLY0"),
    ("AWS_SECRET_ACCESS_KEY", "development-only"),
];

/// Any of these says that the caller has credentials of some other kind in mind.
const OTHER_CREDENTIALS: [&str; 4] = [
    "AWS_PROFILE",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
];

/// Files that the caller may have for services of a kind.
const FILES: [(&str, &str); 2] = [("kms-worker", "CONNECTIONS_FILE"), ("job-scheduler", "KEYFLEET_QUOTAS_FILE")];

/// Where a stack's Postgres and RabbitMQ come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ServersFrom {
    /// A pair of its own: 5 s to start, may be killed and frozen like everything else.
    Own,
    /// Those of `with-servers`, with a database and a virtual host of its own: started in 50 ms.
    Shared,
}

/// The settings of one stack. [`StackSettings::default`] is what tests start from,
/// [`StackSettings::from_env`] what `make up` goes by.
#[derive(Debug, Clone)]
pub struct StackSettings {
    /// `kms-worker-1` …: at least 1.
    pub workers: usize,
    /// `job-scheduler-1` …: one leads, the others stand by; at least 1.
    pub schedulers: usize,
    /// `api-gateway`, `api-gateway-2` …: at least 1.
    pub gateways: usize,
    /// `aws`, `off`, or JSON such as `{"EnableKey": 500}`: for the schedulers and the KMS end alike.
    pub quota: String,
    /// Further environment, by service name or by its kind (`kms-worker`, `job-scheduler`, `api-gateway`,
    /// `kms-sim`); a name's own wins over its kind's.
    pub env: BTreeMap<String, BTreeMap<String, String>>,
    /// Relays, by the service that calls and the part that is called (`postgres`, `rabbitmq`, `kms-sim`,
    /// `job-scheduler-1`): it calls this address instead.
    pub routes: BTreeMap<(String, String), SocketAddr>,
    /// Postgres and RabbitMQ of a test's stack.
    pub servers: ServersFrom,
    /// Whether an own Postgres writes to the disk before it answers.
    pub durability: Durability,
    /// How an own Postgres and RabbitMQ are spoken to.
    pub to_servers: Wire,
    /// How the schedulers are spoken to.
    pub to_schedulers: Wire,
    /// Servers that are there already, and ports asked for.
    pub given: Given,
    /// A KMS end to use instead of an own `kms-sim`.
    pub kms_endpoint: Option<String>,
    /// AWS settings and credentials of the workers and of whoever reads `stack.env`.
    pub aws: BTreeMap<String, String>,
    /// The folder of the services' executables.
    pub bin_dir: PathBuf,
}

impl Default for StackSettings {
    fn default() -> Self {
        Self {
            workers: 2,
            schedulers: 2,
            gateways: 1,
            quota: "aws".to_owned(),
            env: BTreeMap::new(),
            routes: BTreeMap::new(),
            servers: ServersFrom::Shared,
            durability: Durability::Fast,
            to_servers: Wire::Plain,
            to_schedulers: Wire::Tls,
            given: Given::default(),
            kms_endpoint: None,
            aws: aws(&BTreeMap::new()),
            bin_dir: own_bin_dir(),
        }
    }
}

impl StackSettings {
    /// What the environment asks for: `WORKERS`, `SCHEDULERS`, `GATEWAYS`, `KEYFLEET_QUOTA`, `AWS_*`,
    /// `AWS_ENDPOINT_URL_KMS`, `DATABASE_URL`, `AMQP_URL`, `CONNECTIONS_FILE`, `KEYFLEET_QUOTAS_FILE`, and `<NAME>_PORT` for ports that are not to
    /// be free ones (`API_GATEWAY_PORT`, `POSTGRES_PORT`, `RABBITMQ_PORT`, `KMS_SIM_PORT`, …). An empty
    /// value counts as unset.
    ///
    /// # Errors
    /// Names the setting that is wrong.
    pub fn from_env(env: &BTreeMap<String, String>) -> Result<Self> {
        let text = |key: &str| env.get(key).filter(|value| !value.is_empty()).cloned();
        let count = |key: &str, default: usize| match text(key) {
            None => Ok(default),
            Some(value) => match value.parse() {
                Ok(count) if (1..=64).contains(&count) => Ok(count),
                Ok(_) | Err(_) => bail!("{key} must be a number from 1 to 64, not {value:?}"),
            },
        };
        let mut ports = BTreeMap::new();
        for (key, value) in env.iter().filter(|(_, value)| !value.is_empty()) {
            if let Some(name) = port_of(key) {
                let port = value.parse().with_context(|| format!("{key} must be a port, not {value:?}"))?;
                ports.insert(name, port);
            }
        }
        let defaults = Self::default();
        let mut settings = Self {
            workers: count("WORKERS", defaults.workers)?,
            schedulers: count("SCHEDULERS", defaults.schedulers)?,
            gateways: count("GATEWAYS", defaults.gateways)?,
            quota: text("KEYFLEET_QUOTA").unwrap_or(defaults.quota),
            servers: ServersFrom::Own,
            durability: Durability::Durable,
            given: Given { database_url: text("DATABASE_URL"), amqp_url: text("AMQP_URL"), ports },
            kms_endpoint: text("AWS_ENDPOINT_URL_KMS"),
            aws: aws(env),
            ..defaults
        };
        for (kind, key) in FILES {
            if let Some(path) = text(key) {
                // The services run in another folder than their caller.
                let path = std::path::absolute(&path).with_context(|| format!("{key} must be a path, not {path:?}"))?;
                settings = settings.with_env(kind, key, &path.display().to_string());
            }
        }
        Ok(settings)
    }

    /// Sets a service's environment variable; see [`StackSettings::env`] for `service`.
    #[must_use]
    pub fn with_env(mut self, service: &str, key: &str, value: &str) -> Self {
        self.env.entry(service.to_owned()).or_default().insert(key.to_owned(), value.to_owned());
        self
    }
}

/// The caller's `AWS_*`, completed with development values.
fn aws(env: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    let mut aws: BTreeMap<String, String> = env
        .iter()
        .filter(|(key, value)| key.starts_with("AWS_") && !value.is_empty())
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect();
    let has_credentials =
        aws.contains_key("AWS_ACCESS_KEY_ID") || OTHER_CREDENTIALS.iter().any(|key| aws.contains_key(*key));
    for (key, value) in DEVELOPMENT_AWS {
        let credential = matches!(key, "AWS_ACCESS_KEY_ID" | "AWS_SECRET_ACCESS_KEY");
        if !(credential && has_credentials) {
            aws.entry(key.to_owned()).or_insert_with(|| value.to_owned());
        }
    }
    aws
}

/// `API_GATEWAY_PORT` → `api-gateway`, for the parts' names only: other programs use such names too.
fn port_of(key: &str) -> Option<String> {
    let name = key.strip_suffix("_PORT")?.to_ascii_lowercase().replace('_', "-");
    let kinds = ["postgres", "rabbitmq", "kms-sim", "job-scheduler", "kms-worker", "api-gateway"];
    let known = kinds.iter().any(|kind| {
        name.strip_prefix(kind).is_some_and(|rest| {
            rest.is_empty() || rest.strip_prefix('-').is_some_and(|number| number.parse::<u32>().is_ok())
        })
    });
    known.then_some(name)
}

/// The folder of this executable; a test's is in `deps` below it.
fn own_bin_dir() -> PathBuf {
    let own = std::env::current_exe().unwrap_or_default();
    let dir = own.parent().unwrap_or(&own);
    match dir.file_name() {
        Some(name) if name == "deps" => dir.parent().unwrap_or(dir).to_owned(),
        Some(_) | None => dir.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from(pairs: &[(&str, &str)]) -> Result<StackSettings> {
        StackSettings::from_env(&pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect())
    }

    #[test]
    fn counts_and_ports_are_read_and_wrong_ones_named() {
        let settings = from(&[("WORKERS", "4"), ("GATEWAYS", ""), ("API_GATEWAY_PORT", "8443"), ("SSH_PORT", "x")]);
        let settings = settings.unwrap();
        assert_eq!((settings.workers, settings.gateways, settings.schedulers), (4, 1, 2));
        assert_eq!(settings.given.ports, [("api-gateway".to_owned(), 8443)].into());
        for wrong in [("WORKERS", "none"), ("SCHEDULERS", "0"), ("KMS_WORKER_2_PORT", "70000")] {
            assert!(from(&[wrong]).unwrap_err().to_string().starts_with(wrong.0));
        }
    }

    #[test]
    fn the_caller_s_files_are_passed_on_by_their_whole_path() {
        let settings = from(&[("CONNECTIONS_FILE", "some/file"), ("KEYFLEET_QUOTAS_FILE", "/q")]).unwrap();
        let path = &settings.env["kms-worker"]["CONNECTIONS_FILE"];
        assert!(path.starts_with('/') && path.ends_with("/some/file"), "{path}");
        assert_eq!(settings.env["job-scheduler"]["KEYFLEET_QUOTAS_FILE"], "/q");
        assert!(from(&[("CONNECTIONS_FILE", "")]).unwrap().env.is_empty());
    }

    #[test]
    fn development_credentials_never_hide_the_callers() {
        let plain = from(&[]).unwrap().aws;
        assert_eq!((plain["AWS_REGION"].as_str(), plain["AWS_ACCOUNT_ID"].as_str()), ("us-east-1", "111122223333"));
        assert!(plain.contains_key("AWS_SECRET_ACCESS_KEY"));
        let profile = from(&[("AWS_PROFILE", "prod"), ("AWS_REGION", "eu-west-1")]).unwrap().aws;
        assert_eq!(profile["AWS_REGION"], "eu-west-1");
        assert!(!profile.contains_key("AWS_ACCESS_KEY_ID"));
        let own = from(&[("AWS_ACCESS_KEY_ID", "AKIA1"), ("AWS_SECRET_ACCESS_KEY", "s")]).unwrap().aws;
        assert_eq!(own["AWS_SECRET_ACCESS_KEY"], "s");
    }
}
