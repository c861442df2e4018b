//! One copy of each policy text, however many keys have it.
//!
//! A job that gives a 32 KB policy to 100,000 keys would take 3 GB otherwise.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex, PoisonError},
};

use super::Policy;

/// The policies in use.
#[derive(Debug)]
pub(crate) struct PolicyPool {
    pool: Mutex<Pool>,
}

#[derive(Debug)]
struct Pool {
    texts: HashSet<Policy>,
    /// Unused texts are dropped when the pool has grown to this.
    sweep_at: usize,
}

impl PolicyPool {
    const FIRST_SWEEP: usize = 64;

    pub(crate) fn new() -> Self {
        Self { pool: Mutex::new(Pool { texts: HashSet::new(), sweep_at: Self::FIRST_SWEEP }) }
    }

    /// The shared copy of this text.
    pub(crate) fn share(&self, text: &str) -> Policy {
        let mut pool = self.pool.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(policy) = pool.texts.get(text) {
            return policy.clone();
        }
        if pool.texts.len() >= pool.sweep_at {
            pool.texts.retain(|policy| Arc::strong_count(policy) > 1);
            pool.sweep_at = (2 * pool.texts.len()).max(Self::FIRST_SWEEP);
        }
        let policy: Policy = text.into();
        pool.texts.insert(policy.clone());
        policy
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_texts_are_one_and_unused_ones_go() {
        let pool = PolicyPool::new();
        let first = pool.share("a policy");
        assert!(Arc::ptr_eq(&first, &pool.share("a policy")));
        for n in 0..1000 {
            drop(pool.share(&n.to_string()));
        }
        assert!(pool.pool.lock().unwrap().texts.len() <= PolicyPool::FIRST_SWEEP);
        assert!(Arc::ptr_eq(&first, &pool.share("a policy")));
    }
}
