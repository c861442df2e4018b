//! A simulator in this process: started, steered and stopped without a child process.

use std::{
    collections::{BTreeMap, HashMap},
    fmt, io,
    net::SocketAddr,
    sync::Arc,
};

use job_model::quota::Quotas;
use tokio::{net::TcpListener, task::JoinHandle};
use tokio_util::sync::CancellationToken;

use crate::{
    admin::{self, Held, InvalidKeys, NewKeys},
    clock::{Clock, SystemClock},
    config::{Config, ConfigChange, ConfigError},
    core::Core,
    hold::When,
    log::LogRow,
    operation::Operation,
    roles::Role,
    server,
};

/// How a simulator starts.
#[derive(Clone)]
pub struct Settings {
    /// Where it listens; port 0 takes a free one.
    pub listen: SocketAddr,
    /// The configuration at the start and after a reset.
    pub config: Config,
    /// The account of access key ids that are not mapped: 12 digits.
    pub account: String,
    /// The Region of keys made without one.
    pub region: String,
    /// How many rows the log keeps at least; 40 bytes each.
    pub log_rows: usize,
    /// The time it goes by.
    pub clock: Arc<dyn Clock>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            config: Config::default(),
            account: "111122223333".to_owned(),
            region: "us-east-1".to_owned(),
            log_rows: 3_000_000,
            clock: Arc::new(SystemClock),
        }
    }
}

impl Settings {
    /// The usual settings, with these quotas.
    pub fn with_quota(quota: Quotas) -> Self {
        Self { config: Config { quota, ..Config::default() }, ..Self::default() }
    }
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings").field("listen", &self.listen).field("config", &self.config).finish_non_exhaustive()
    }
}

/// Why a simulator did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The port is taken, or the address is not ours.
    #[error("cannot listen on {listen}")]
    Listen {
        /// Where.
        listen: SocketAddr,
        /// Why not.
        source: io::Error,
    },
    /// A configuration that cannot be.
    #[error(transparent)]
    Config(#[from] ConfigError),
}

/// A running simulator. Dropping it stops it.
pub struct Sim {
    core: Arc<Core>,
    addr: SocketAddr,
    stop: CancellationToken,
    server: Option<JoinHandle<()>>,
}

impl Sim {
    /// Starts one; it answers when this returns.
    ///
    /// # Errors
    /// When it cannot listen, or the configuration cannot be.
    pub async fn start(settings: Settings) -> Result<Self, StartError> {
        let Settings { listen, config, account, region, log_rows, clock } = settings;
        let core = Arc::new(Core::new(clock, account, region, log_rows, config)?);
        let failed = |source| StartError::Listen { listen, source };
        let listener = TcpListener::bind(listen).await.map_err(failed)?;
        let addr = listener.local_addr().map_err(failed)?;
        let stop = CancellationToken::new();
        let server = tokio::spawn(server::serve(core.clone(), listener, stop.clone()));
        Ok(Self { core, addr, stop, server: Some(server) })
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// The same as `http://…`: what `AWS_ENDPOINT_URL_KMS` is set to.
    pub fn url(&self) -> String {
        format!("http://{}", self.addr)
    }

    /// Stops it, giving connections a second to finish what they are at; held requests are let go.
    pub async fn shutdown(mut self) {
        self.stop.cancel();
        self.core.holds.release(None);
        if let Some(server) = self.server.take()
            && let Err(error) = server.await
        {
            tracing::error!(%error, "the simulator's server ended badly");
        }
    }

    /// The configuration of this moment.
    pub fn config(&self) -> Config {
        self.core.config.config()
    }

    /// Changes the configuration.
    ///
    /// # Errors
    /// When it cannot be so; then nothing is changed.
    pub fn configure(&self, change: ConfigChange) -> Result<(), ConfigError> {
        self.core.config.change(change)
    }

    /// Makes keys, or changes the state of those there are, and answers their ids.
    ///
    /// # Errors
    /// When there can be no such keys; then none is made.
    pub fn make_keys(&self, new: NewKeys) -> Result<Vec<String>, InvalidKeys> {
        admin::make_keys(&self.core, new)
    }

    /// Maps access key ids to accounts (12 digits), beside those already mapped.
    pub fn add_accounts(&self, accounts: HashMap<String, String>) {
        self.core.add_accounts(accounts);
    }

    /// Sets the rules of these roles (by ARN), beside those of others.
    pub fn set_roles(&self, rules: HashMap<String, Role>) {
        self.core.roles.set(rules);
    }

    /// How often each role (by ARN) was asked for, granted or not.
    pub fn roles_asked(&self) -> BTreeMap<String, u64> {
        self.core.roles.asked()
    }

    /// The log's rows after this number.
    pub fn log(&self, after: u64) -> Vec<LogRow> {
        self.core.log.read(&self.core.scopes, after, self.core.log.last(), usize::MAX)
    }

    /// How many requests of each operation ended how.
    pub fn stats(&self) -> BTreeMap<&'static str, BTreeMap<&'static str, u64>> {
        self.core.stats.read()
    }

    /// Makes requests of this operation (naming this key, if one is given) wait on this side of their work.
    pub fn hold(&self, op: Operation, when: When, key: Option<String>) {
        self.core.holds.hold(op, when, key);
    }

    /// Lets the held requests of this operation (of all, without one) go, and holds no more of them.
    pub fn release(&self, op: Option<Operation>) {
        self.core.holds.release(op);
    }

    /// Waits until at least so many requests are held, and tells how many are.
    pub async fn held(&self, at_least: u64) -> Held {
        admin::wait_held(&self.core, at_least).await
    }

    /// Forgets everything but the settings it started with.
    pub fn reset(&self) {
        self.core.reset();
    }
}

impl Drop for Sim {
    fn drop(&mut self) {
        self.stop.cancel();
        self.core.holds.release(None);
    }
}

impl fmt::Debug for Sim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sim").field("addr", &self.addr).finish_non_exhaustive()
    }
}
