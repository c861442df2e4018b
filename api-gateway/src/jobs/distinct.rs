//! Tells the first time a key is named from later times, for a million keys within some 21 MB.
//!
//! The keys themselves are gone to the scheduler by then, so only a hash of each is kept: 128 bits, by two keyed hashes
//! that nobody outside can aim at. Among a million keys two share one with a chance of one in 10^26. The set is split
//! into shards, because a hash table doubles by holding the old and the new one at once.

use std::{
    collections::HashSet,
    hash::{BuildHasher, Hasher, RandomState},
};

/// A table of 32,768 places of 17 bytes takes 28,672 entries before it doubles. A million keys spread over this many
/// shards make 27,027 in each, ten standard deviations below that: 21 MB in all, where 32 shards would take 36.
const SHARDS: usize = 37;
/// The entries of one such table.
const TABLE: usize = 28_672;

/// The keys named so far.
pub(super) struct Distinct {
    hashers: [RandomState; 2],
    shards: Vec<HashSet<u128, Ready>>,
    len: usize,
}

impl Default for Distinct {
    fn default() -> Self {
        Self {
            hashers: [RandomState::new(), RandomState::new()],
            shards: (0..SHARDS).map(|_| HashSet::default()).collect(),
            len: 0,
        }
    }
}

impl Distinct {
    /// Whether the key is named for the first time.
    pub(super) fn insert(&mut self, key: &str) -> bool {
        let [high, low] = &self.hashers;
        let high = high.hash_one(key);
        let low = low.hash_one(key);
        // `high` chooses the shard; within it `low` spreads.
        let shard = usize::try_from(high % SHARDS as u64).unwrap_or(0);
        let new = self.shards[shard].insert((u128::from(high) << 64) | u128::from(low));
        self.len += usize::from(new);
        new
    }

    /// Many more will come: makes room for a million at once, because tables that grow step by step leave as much behind
    /// in the allocator as they take.
    pub(super) fn expect_many(&mut self) {
        for shard in &mut self.shards {
            shard.reserve(TABLE - shard.len().min(TABLE));
        }
    }

    /// How many different keys there were.
    pub(super) const fn len(&self) -> usize {
        self.len
    }
}

/// Takes the low half of what is a hash already.
#[derive(Clone, Copy, Default)]
struct Ready(u64);

impl BuildHasher for Ready {
    type Hasher = Self;
    fn build_hasher(&self) -> Self {
        *self
    }
}

impl Hasher for Ready {
    fn finish(&self) -> u64 {
        self.0
    }
    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            self.0 = chunk.iter().fold(self.0, |value, byte| value.rotate_left(8) ^ u64::from(*byte));
        }
    }
    #[expect(clippy::cast_possible_truncation, reason = "the low half is what is wanted")]
    fn write_u128(&mut self, value: u128) {
        self.0 = value as u64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_key_is_new_once() {
        let mut keys = Distinct::default();
        let names: Vec<String> = (0..20_000).map(|number| format!("key-{number}")).collect();
        assert!(names.iter().all(|name| keys.insert(name)));
        assert!(!names.iter().any(|name| keys.insert(name)));
        assert_eq!(keys.len(), 20_000);
    }

    #[test]
    fn a_million_keys_fit_without_another_doubling() {
        let mut keys = Distinct::default();
        for number in 0..1_000_000_u32 {
            if keys.len() == 100_000 {
                keys.expect_many();
                assert!(keys.shards.iter().all(|shard| shard.capacity() == TABLE));
            }
            keys.insert(&number.to_string());
        }
        assert!(keys.shards.iter().all(|shard| shard.capacity() == TABLE));
    }
}
