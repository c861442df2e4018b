//! One account in one Region: its keys, its aliases, its quotas.
//!
//! Requests to different keys touch no common lock for long: the map of keys is read-locked, each key has a lock of its
//! own.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, PoisonError, RwLock},
};

use job_model::Moment;

use super::{Key, partition};
use crate::{bucket::Bucket, operation::Operation};

/// An account's share of a Region.
#[derive(Debug)]
pub(crate) struct Scope {
    /// Its number, for the log.
    pub(crate) id: u32,
    pub(crate) account: String,
    pub(crate) region: String,
    /// By id, in the order they are listed in.
    pub(crate) keys: RwLock<BTreeMap<Box<str>, Mutex<Key>>>,
    /// By name (`alias/…`), in the order they are listed in.
    pub(crate) aliases: RwLock<BTreeMap<String, Alias>>,
    buckets: [Mutex<Bucket>; Operation::COUNT],
}

/// Another name for a key.
#[derive(Clone, Debug)]
pub(crate) struct Alias {
    /// The bare id of the key.
    pub(crate) target: String,
    /// Wall clock, nanoseconds since 1970.
    pub(crate) created_ns: u64,
    /// Reads that lag behind this moment do not find it.
    pub(crate) since: Moment,
}

impl Scope {
    fn new(id: u32, account: &str, region: &str) -> Self {
        Self {
            id,
            account: account.to_owned(),
            region: region.to_owned(),
            keys: RwLock::default(),
            aliases: RwLock::default(),
            buckets: Default::default(),
        }
    }

    /// The ARN of a resource of this scope (`key/…`, `alias/…`).
    pub(crate) fn arn(&self, resource: &str) -> String {
        format!("arn:{}:kms:{}:{}:{resource}", partition(&self.region), self.region, self.account)
    }

    /// The ARN of a key.
    pub(crate) fn key_arn(&self, id: &str) -> String {
        format!("arn:{}:kms:{}:{}:key/{id}", partition(&self.region), self.region, self.account)
    }

    /// Takes a request's token from the quota of `rate` requests per second.
    pub(crate) fn take_token(&self, op: Operation, rate: f64, now: Moment) -> bool {
        self.buckets[op.index()].lock().unwrap_or_else(PoisonError::into_inner).take(rate, now)
    }

    fn reset(&self) {
        self.keys.write().unwrap_or_else(PoisonError::into_inner).clear();
        self.aliases.write().unwrap_or_else(PoisonError::into_inner).clear();
        for bucket in &self.buckets {
            *bucket.lock().unwrap_or_else(PoisonError::into_inner) = Bucket::default();
        }
    }
}

/// All of them, made when they are first named.
#[derive(Debug, Default)]
pub(crate) struct Scopes {
    index: RwLock<Index>,
}

#[derive(Debug, Default)]
struct Index {
    /// By account, then Region: a look-up needs no key of its own.
    by_name: HashMap<String, HashMap<String, Arc<Scope>>>,
    by_id: Vec<Arc<Scope>>,
}

impl Scopes {
    pub(crate) fn get(&self, account: &str, region: &str) -> Arc<Scope> {
        let find = |index: &Index| index.by_name.get(account)?.get(region).cloned();
        if let Some(scope) = find(&self.index.read().unwrap_or_else(PoisonError::into_inner)) {
            return scope;
        }
        let mut index = self.index.write().unwrap_or_else(PoisonError::into_inner);
        // Somebody else may have made it in between.
        if let Some(scope) = find(&index) {
            return scope;
        }
        let id = u32::try_from(index.by_id.len()).expect("fewer than 2^32 accounts and Regions");
        let scope = Arc::new(Scope::new(id, account, region));
        index.by_id.push(scope.clone());
        index.by_name.entry(account.to_owned()).or_default().insert(region.to_owned(), scope.clone());
        scope
    }

    /// The account and Region of a scope's number.
    pub(crate) fn names(&self, id: u32) -> (String, String) {
        let index = self.index.read().unwrap_or_else(PoisonError::into_inner);
        let scope = usize::try_from(id).ok().and_then(|id| index.by_id.get(id));
        scope.map(|scope| (scope.account.clone(), scope.region.clone())).unwrap_or_default()
    }

    /// Empties them; their numbers stay, because requests under way hold them.
    pub(crate) fn reset(&self) {
        for scope in &self.index.read().unwrap_or_else(PoisonError::into_inner).by_id {
            scope.reset();
        }
    }
}
