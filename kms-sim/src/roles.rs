//! What STS knows of single roles: who may assume them, for how long their credentials are valid, and how often they
//! were asked for. A role without a rule may be assumed by anyone.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Mutex, PoisonError, RwLock},
};

use serde::Deserialize;

/// The rule of one role.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(default, deny_unknown_fields)]
pub struct Role {
    /// What its trust policy requires as `sts:ExternalId`.
    pub external_id: Option<String>,
    /// Its credentials are valid for so many seconds, whatever was asked for: STS itself gives 900 at the least, which no
    /// test waits for.
    pub valid_s: Option<u32>,
    /// The error code that every request is refused with, `AccessDenied` or `Throttling` say.
    pub refuse: Option<String>,
}

/// All of them, by ARN.
#[derive(Debug, Default)]
pub(crate) struct Roles {
    rules: RwLock<HashMap<String, Role>>,
    asked: Mutex<BTreeMap<String, u64>>,
    /// Access key ids of a rule's `valid_s`, and when they end by the wall clock. The others outlive the simulator.
    ends: RwLock<HashMap<String, u64>>,
}

impl Roles {
    /// Sets rules, beside those of other roles.
    pub(crate) fn set(&self, rules: HashMap<String, Role>) {
        self.rules.write().unwrap_or_else(PoisonError::into_inner).extend(rules);
    }

    /// Its rule. Counts the question.
    pub(crate) fn ask(&self, arn: &str) -> Role {
        *self.asked.lock().unwrap_or_else(PoisonError::into_inner).entry(arn.to_owned()).or_default() += 1;
        self.rules.read().unwrap_or_else(PoisonError::into_inner).get(arn).cloned().unwrap_or_default()
    }

    /// How often each was asked for.
    pub(crate) fn asked(&self) -> BTreeMap<String, u64> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn ends(&self, access_key_id: String, at_ns: u64) {
        self.ends.write().unwrap_or_else(PoisonError::into_inner).insert(access_key_id, at_ns);
    }

    /// Whether credentials of a role have ended.
    pub(crate) fn has_ended(&self, access_key_id: &str, now_ns: u64) -> bool {
        let ends = self.ends.read().unwrap_or_else(PoisonError::into_inner);
        ends.get(access_key_id).is_some_and(|end| *end <= now_ns)
    }

    pub(crate) fn reset(&self) {
        self.rules.write().unwrap_or_else(PoisonError::into_inner).clear();
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).clear();
        self.ends.write().unwrap_or_else(PoisonError::into_inner).clear();
    }
}
