//! Whether the service can do its work, part by part: what `/readyz` tells.
//!
//! A part is what the service waits for: its database, its broker, a leading scheduler. Services start in any order, so
//! a part that is missing is a state that is told, not an error that ends the process. Parts report levels, not
//! events; the last word counts.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// All parts of one service. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct Readiness(Arc<Mutex<BTreeMap<String, Option<String>>>>);

impl Readiness {
    /// Adds a part, not ready yet. The same name again is the same part.
    pub fn part(&self, name: impl Into<String>) -> Part {
        let name = name.into();
        self.lock().entry(name.clone()).or_insert_with(|| Some("not connected yet".to_owned()));
        Part { name, readiness: self.clone() }
    }

    /// What is missing, by part, each with the reason; empty when all is there. A service that has not come to adding
    /// its parts is starting, not ready.
    pub fn missing(&self) -> BTreeMap<String, String> {
        let parts = self.lock();
        if parts.is_empty() {
            return BTreeMap::from([("service".to_owned(), "starting".to_owned())]);
        }
        parts.iter().filter_map(|(name, why)| Some((name.clone(), why.clone()?))).collect()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Option<String>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One part. Clones speak for the same one.
#[derive(Clone, Debug)]
pub struct Part {
    name: String,
    readiness: Readiness,
}

impl Part {
    /// What it is called.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The part does its work.
    pub fn ready(&self) {
        if self.set(None) {
            tracing::info!(part = self.name, "A part of the service is ready.");
        }
    }

    /// The part is missing; `why` is told by `/readyz` and must hold no secret.
    pub fn not_ready(&self, why: impl Into<String>) {
        let why = why.into();
        if self.set(Some(why.clone())) {
            tracing::warn!(part = self.name, why, "A part of the service is not ready.");
        }
    }

    /// Whether its last word was ready.
    pub fn is_ready(&self) -> bool {
        matches!(self.readiness.lock().get(&self.name), Some(None))
    }

    /// Whether it went from ready to not ready or back.
    fn set(&self, why: Option<String>) -> bool {
        let ready = why.is_none();
        let before = self.readiness.lock().insert(self.name.clone(), why);
        before.is_none_or(|before| before.is_none() != ready)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_must_be_ready() {
        let readiness = Readiness::default();
        assert_eq!(readiness.missing()["service"], "starting");
        let postgres = readiness.part("postgres");
        let rabbitmq = readiness.part("rabbitmq");
        postgres.ready();
        assert_eq!(readiness.missing().keys().collect::<Vec<_>>(), ["rabbitmq"]);
        rabbitmq.ready();
        assert!(readiness.missing().is_empty());
        rabbitmq.not_ready("connection refused");
        assert_eq!(readiness.missing()["rabbitmq"], "connection refused");
        assert!(!rabbitmq.is_ready() && postgres.is_ready());
    }

    #[test]
    fn the_same_name_is_the_same_part() {
        let readiness = Readiness::default();
        readiness.part("postgres").ready();
        assert!(readiness.part("postgres").is_ready());
    }

    #[test]
    fn only_changes_are_told_in_the_log() {
        let part = Readiness::default().part("x");
        assert!(!part.set(Some("still".into())));
        assert!(part.set(None));
        assert!(!part.set(None));
        assert!(part.set(Some("lost".into())));
    }
}
