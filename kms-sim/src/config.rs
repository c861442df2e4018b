//! What can be changed while the simulator runs.

use std::{
    sync::{
        Arc, Mutex, PoisonError, RwLock,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use job_model::quota::Quotas;
use rand::Rng;
use serde::{Deserialize, Serialize};

use crate::{
    faults::{Fault, FaultTable, Faults, NextFault},
    latency::{Latency, Spread},
    operation::Operation,
    store::HISTORY,
};

/// All of it, as `/_sim/config` tells it.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Config {
    /// Requests per second for each account, Region and operation.
    pub quota: Quotas,
    /// How long every answer takes: half of it passes before the work is done, half after.
    pub latency_ms: Latency,
    /// Fractions of requests that meet a fault.
    pub faults: Faults,
    /// Faults for single requests, each used once; this tells the ones still waiting.
    pub next: Vec<NextFault>,
    /// Reads answer the state as it was this many milliseconds ago; at most 60,000.
    pub read_lag_ms: u64,
}

/// A change: what it names is replaced whole, what it leaves out stays.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "the fields of Config")]
pub struct ConfigChange {
    pub quota: Option<Quotas>,
    pub latency_ms: Option<Latency>,
    pub faults: Option<Faults>,
    pub next: Option<Vec<NextFault>>,
    pub read_lag_ms: Option<u64>,
}

/// A configuration that cannot be.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct ConfigError(String);

/// The configuration in the form requests use.
#[derive(Debug)]
pub(crate) struct Live {
    /// Without `next`, which is consumed.
    config: Config,
    pub(crate) rates: [Option<f64>; Operation::COUNT],
    pub(crate) latency: Option<Spread>,
    pub(crate) faults: FaultTable,
    pub(crate) read_lag: Duration,
}

impl Live {
    fn new(config: Config) -> Result<Self, ConfigError> {
        let read_lag = Duration::from_millis(config.read_lag_ms);
        if read_lag > HISTORY {
            return Err(ConfigError(format!("read_lag_ms: at most {}", HISTORY.as_millis())));
        }
        Ok(Self {
            rates: Operation::ALL.map(|op| config.quota.per_second(op.name())),
            latency: config.latency_ms.spread().map_err(ConfigError)?,
            faults: config.faults.table().map_err(ConfigError)?,
            read_lag,
            config: Config { next: Vec::new(), ..config },
        })
    }
}

/// The one configuration of a simulator.
#[derive(Debug)]
pub(crate) struct ConfigStore {
    start: Arc<Live>,
    start_next: Vec<NextFault>,
    live: RwLock<Arc<Live>>,
    next: Mutex<Vec<NextFault>>,
    /// Whether `next` holds anything, so that most requests need not lock it.
    any_next: AtomicBool,
}

impl ConfigStore {
    pub(crate) fn new(start: Config) -> Result<Self, ConfigError> {
        let start_next = start.next.clone();
        let start = Arc::new(Live::new(start)?);
        let any_next = AtomicBool::new(!start_next.is_empty());
        Ok(Self { live: RwLock::new(start.clone()), next: Mutex::new(start_next.clone()), start, start_next, any_next })
    }

    pub(crate) fn live(&self) -> Arc<Live> {
        self.live.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn config(&self) -> Config {
        let next = self.next.lock().unwrap_or_else(PoisonError::into_inner).clone();
        Config { next, ..self.live().config.clone() }
    }

    pub(crate) fn change(&self, change: ConfigChange) -> Result<(), ConfigError> {
        // Held throughout, so that two changes at once leave both their marks.
        let mut live = self.live.write().unwrap_or_else(PoisonError::into_inner);
        let now = live.config.clone();
        *live = Arc::new(Live::new(Config {
            quota: change.quota.unwrap_or(now.quota),
            latency_ms: change.latency_ms.unwrap_or(now.latency_ms),
            faults: change.faults.unwrap_or(now.faults),
            read_lag_ms: change.read_lag_ms.unwrap_or(now.read_lag_ms),
            next: Vec::new(),
        })?);
        if let Some(next) = change.next {
            self.set_next(next);
        }
        Ok(())
    }

    /// Back to the start values.
    pub(crate) fn reset(&self) {
        *self.live.write().unwrap_or_else(PoisonError::into_inner) = self.start.clone();
        self.set_next(self.start_next.clone());
    }

    /// The fault of this request, if it is to have one: the first that waits for it, or else by chance.
    pub(crate) fn fault(&self, live: &Live, op: Operation, key: Option<&str>, rng: &mut impl Rng) -> Option<Fault> {
        if self.any_next.load(Ordering::Acquire) {
            let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
            let matches = |fault: &NextFault| fault.op == op && (fault.key.is_none() || fault.key.as_deref() == key);
            if let Some(at) = next.iter().position(matches) {
                let fault = next.remove(at).fault;
                self.any_next.store(!next.is_empty(), Ordering::Release);
                return Some(fault);
            }
        }
        live.faults.draw(op, rng)
    }

    fn set_next(&self, faults: Vec<NextFault>) {
        let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        self.any_next.store(!faults.is_empty(), Ordering::Release);
        *next = faults;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(json: &str) -> ConfigChange {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn a_partial_change_leaves_the_rest() {
        let store = ConfigStore::new(Config::default()).unwrap();
        store.change(change(r#"{"quota": {"EnableKey": 50}, "read_lag_ms": 2000}"#)).unwrap();
        store.change(change(r#"{"latency_ms": {"mean": 20, "p99": 100}}"#)).unwrap();
        let json = serde_json::to_string(&store.config()).unwrap();
        assert_eq!(
            json,
            r#"{"quota":{"EnableKey":50.0},"latency_ms":{"mean":20.0,"p99":100.0},"faults":{},"next":[],"read_lag_ms":2000}"#
        );
        store.reset();
        assert_eq!(store.config(), Config::default());
    }

    #[test]
    fn a_wrong_change_changes_nothing() {
        let store = ConfigStore::new(Config::default()).unwrap();
        assert!(store.change(change(r#"{"quota": "off", "read_lag_ms": 60001}"#)).is_err());
        assert_eq!(store.config(), Config::default());
        assert!(serde_json::from_str::<ConfigChange>(r#"{"latency": {"mean": 1}}"#).is_err());
    }

    #[test]
    fn next_faults_are_used_once_and_in_order() {
        let store = ConfigStore::new(Config::default()).unwrap();
        store
            .change(change(
                r#"{"next": [{"op": "EnableKey", "key": "b", "fault": "timeout_after"},
                             {"op": "EnableKey", "fault": "KMSInternalException"}]}"#,
            ))
            .unwrap();
        let live = store.live();
        let draw = |op, key| store.fault(&live, op, Some(key), &mut rand::rng()).map(Fault::name);
        assert_eq!(draw(Operation::DisableKey, "b"), None);
        assert_eq!(draw(Operation::EnableKey, "a"), Some("KMSInternalException"));
        assert_eq!(draw(Operation::EnableKey, "a"), None);
        assert_eq!(draw(Operation::EnableKey, "b"), Some("timeout_after"));
        assert_eq!(draw(Operation::EnableKey, "b"), None);
        assert!(store.config().next.is_empty());
    }
}
