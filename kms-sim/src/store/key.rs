//! One key: what it is now, and what it was a moment ago.
//!
//! KMS is eventually consistent: a read may tell an older state than the last confirmed write. So every change keeps
//! the version it replaced for a while, and a read asks for the version of a moment in the past.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use job_model::Moment;

use super::KeyState;

/// How far back reads can lag; older versions are dropped.
pub(crate) const HISTORY: Duration = Duration::from_secs(60);

/// Versions kept of one key at most, so that hammering a single one stays within bounds.
const MOST_VERSIONS: usize = 256;

/// A policy's text, shared by all keys that have it.
pub(crate) type Policy = Arc<str>;

/// What of a key can change.
#[derive(Clone, Debug)]
pub(crate) struct Version {
    /// Since when it is so.
    since: Moment,
    pub(crate) state: KeyState,
    /// Whether an `Unavailable` key is enabled once it is available again.
    pub(crate) enabled_when_available: bool,
    /// When a key that is pending deletion is deleted: wall clock, nanoseconds since 1970.
    pub(crate) deletion_ns: Option<u64>,
    /// The waiting period it was scheduled with.
    pub(crate) window_days: Option<u32>,
    pub(crate) rotation: bool,
    /// `None` is AWS's default policy.
    pub(crate) policy: Option<Policy>,
    pub(crate) description: Option<Arc<str>>,
    /// Sorted by their keys, which is also the order they are listed in.
    pub(crate) tags: Option<Arc<BTreeMap<String, String>>>,
}

impl Version {
    pub(crate) fn new(state: KeyState) -> Self {
        Self {
            since: Moment::default(),
            state,
            enabled_when_available: true,
            deletion_ns: None,
            window_days: None,
            rotation: false,
            policy: None,
            description: None,
            tags: None,
        }
    }
}

/// A key.
#[derive(Debug)]
pub(crate) struct Key {
    /// Wall clock, nanoseconds since 1970.
    pub(crate) created_ns: u64,
    pub(crate) multi_region: bool,
    /// Whether its key material is imported.
    pub(crate) external: bool,
    /// Older versions, oldest first.
    past: Vec<Version>,
    now: Version,
}

impl Key {
    /// A key that is known since `since`: reads that lag behind that moment do not find it.
    pub(crate) fn new(version: Version, created_ns: u64, since: Moment) -> Self {
        let external = version.state == KeyState::PendingImport;
        Self { created_ns, multi_region: false, external, past: Vec::new(), now: Version { since, ..version } }
    }

    /// What it is now.
    pub(crate) fn now(&self) -> &Version {
        &self.now
    }

    /// What it was at a moment; `None` if it was not yet known then.
    pub(crate) fn at(&self, moment: Moment) -> Option<&Version> {
        if self.now.since <= moment {
            return Some(&self.now);
        }
        self.past.iter().rev().find(|version| version.since <= moment)
    }

    /// Changes it at this moment.
    pub(crate) fn change(&mut self, now: Moment, change: impl FnOnce(&mut Version)) {
        let mut next = self.now.clone();
        change(&mut next);
        next.since = now;
        let old = std::mem::replace(&mut self.now, next);
        self.past.push(old);
        // Of the versions before the horizon the last one still answers for it.
        let horizon = now - HISTORY;
        let outlived = self.past.iter().skip(1).take_while(|version| version.since <= horizon).count();
        let too_many = self.past.len().saturating_sub(MOST_VERSIONS);
        self.past.drain(..outlived.max(too_many));
    }

    /// Whether its waiting period is over: then it is gone, for everyone.
    pub(crate) fn is_deleted(&self, wall_ns: u64) -> bool {
        self.now.deletion_ns.is_some_and(|date| date <= wall_ns)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_moment_in_the_past_has_the_version_of_then() {
        let start = Moment::from_nanos(0) + 1000 * SECOND;
        let mut key = Key::new(Version::new(KeyState::Enabled), 0, start);
        key.change(start + 10 * SECOND, |version| version.state = KeyState::Disabled);
        key.change(start + 20 * SECOND, |version| version.state = KeyState::PendingDeletion);
        let state = |at| key.at(at).map(|version| version.state);
        assert_eq!(state(start - SECOND), None);
        assert_eq!(state(start), Some(KeyState::Enabled));
        assert_eq!(state(start + 19 * SECOND), Some(KeyState::Disabled));
        assert_eq!(state(start + 20 * SECOND), Some(KeyState::PendingDeletion));
    }

    #[test]
    fn history_stays_within_bounds_and_still_answers_for_its_whole_span() {
        let start = Moment::from_nanos(0) + 1000 * SECOND;
        let mut key = Key::new(Version::new(KeyState::Enabled), 0, Moment::default());
        for second in 0..500 {
            key.change(start + second * SECOND, |version| version.rotation = second % 2 == 0);
        }
        assert!(key.past.len() <= 62, "{}", key.past.len());
        let last = start + 499 * SECOND;
        assert_eq!(key.at(last - HISTORY).map(|version| version.rotation), Some((499 - 60) % 2 == 0));
        for _ in 0..1000 {
            key.change(last, |version| version.rotation = true);
        }
        assert!(key.past.len() <= MOST_VERSIONS, "{}", key.past.len());
    }
}
