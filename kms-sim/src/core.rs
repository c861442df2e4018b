//! Everything a simulator holds, without the wire.

use std::{collections::HashMap, sync::Arc};

use crate::{
    clock::Clock,
    config::{Config, ConfigError, ConfigStore},
    credentials::Accounts,
    hold::Holds,
    log::RequestLog,
    roles::Roles,
    stats::Stats,
    store::{PolicyPool, Scopes},
};

/// One simulator.
pub(crate) struct Core {
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) accounts: Accounts,
    pub(crate) roles: Roles,
    pub(crate) default_region: String,
    pub(crate) scopes: Scopes,
    pub(crate) policies: PolicyPool,
    pub(crate) config: ConfigStore,
    pub(crate) holds: Holds,
    pub(crate) log: RequestLog,
    pub(crate) stats: Stats,
}

impl Core {
    pub(crate) fn new(
        clock: Arc<dyn Clock>,
        account: String,
        region: String,
        log_rows: usize,
        start: Config,
    ) -> Result<Self, ConfigError> {
        Ok(Self {
            clock,
            accounts: Accounts::new(account),
            roles: Roles::default(),
            default_region: region,
            scopes: Scopes::default(),
            policies: PolicyPool::new(),
            config: ConfigStore::new(start)?,
            holds: Holds::new(),
            log: RequestLog::new(log_rows),
            stats: Stats::new(),
        })
    }

    /// Maps access key ids to accounts, beside those already mapped.
    pub(crate) fn add_accounts(&self, accounts: HashMap<String, String>) {
        self.accounts.add(accounts);
    }

    /// Forgets everything but the start configuration. Held requests are let go first, but find an empty store.
    pub(crate) fn reset(&self) {
        self.config.reset();
        self.holds.release(None);
        self.scopes.reset();
        self.accounts.reset();
        self.roles.reset();
        self.log.reset();
        self.stats.reset();
    }
}
