//! The writes of the last five minutes, confirmed or merely sent: what makes a reading doubtful.
//!
//! KMS reads may lag its writes, so a key that reads as asked may have been written to since by another job. Only
//! hashes are kept (40 bytes a key), and when even they would be too many, every reading is doubtful until the
//! memory has caught up: in doubt, act.

use std::{
    collections::{HashMap, hash_map::RandomState},
    hash::BuildHasher,
};

use job_model::{KeyAddress, Moment, Request, WRITE_MEMORY, operation::Aspect};

/// Keys remembered at the most: what a hash table of 2^20 places takes before it doubles, which makes about 43 MB, and 64 while it
/// grows into it.
const MOST: usize = 900_000;

#[derive(Clone, Copy, Debug)]
struct Write {
    /// Hash of the request last written.
    asked: u64,
    at: Moment,
    /// When something else than `asked` was last written.
    other_at: Option<Moment>,
}

/// What was written of late.
#[derive(Debug)]
pub(super) struct Writes {
    hash: RandomState,
    last: HashMap<u64, Write>,
    /// Writes before this moment may be missing.
    complete_from: Moment,
}

impl Writes {
    /// An empty memory that knows all writes: the caller adds those read from the store.
    pub(super) fn new() -> Self {
        Self { hash: RandomState::new(), last: HashMap::new(), complete_from: Moment::default() }
    }

    fn key(&self, key: &KeyAddress, aspect: Aspect) -> u64 {
        self.hash.hash_one((key, aspect))
    }

    /// A request was sent to the key, whether it was answered or not.
    pub(super) fn record(&mut self, key: &KeyAddress, request: &Request, at: Moment) {
        let asked = self.hash.hash_one(request);
        let slot = self.key(key, request.aspect());
        if self.last.len() >= MOST && !self.last.contains_key(&slot) {
            self.forget(at);
            if self.last.len() >= MOST {
                self.last.clear();
                self.complete_from = at;
            }
        }
        self.last
            .entry(slot)
            .and_modify(|write| {
                if write.asked != asked {
                    write.other_at = Some(write.at);
                }
                *write = Write { asked, at: at.max(write.at), ..*write };
            })
            .or_insert(Write { asked, at, other_at: None });
    }

    /// Whether no write of the last five minutes asked for something else.
    pub(super) fn trusts(&self, key: &KeyAddress, request: &Request, now: Moment) -> bool {
        let horizon = now - WRITE_MEMORY;
        if self.complete_from > horizon {
            return false;
        }
        self.last.get(&self.key(key, request.aspect())).is_none_or(|write| {
            let last_contradicts = write.at > horizon && write.asked != self.hash.hash_one(request);
            let other_contradicts = write.other_at.is_some_and(|at| at > horizon);
            !last_contradicts && !other_contradicts
        })
    }

    /// Drops what is too old to matter.
    pub(super) fn forget(&mut self, now: Moment) {
        let horizon = now - WRITE_MEMORY;
        self.last.retain(|_, write| write.at > horizon);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn key(id: &str) -> KeyAddress {
        KeyAddress { account: "111122223333".into(), region: "us-east-1".into(), id: id.into() }
    }

    #[test]
    fn a_reading_is_doubtful_for_five_minutes_after_a_contradicting_write() {
        let start = Moment::from_nanos(0) + Duration::from_secs(1000);
        let mut writes = Writes::new();
        assert!(writes.trusts(&key("a"), &Request::EnableKey, start));
        writes.record(&key("a"), &Request::DisableKey, start);
        assert!(!writes.trusts(&key("a"), &Request::EnableKey, start));
        assert!(writes.trusts(&key("a"), &Request::DisableKey, start));
        assert!(writes.trusts(&key("b"), &Request::EnableKey, start));
        assert!(writes.trusts(&key("a"), &Request::ApplyPolicy { policy: "{}".into() }, start));
        writes.record(&key("a"), &Request::EnableKey, start + Duration::from_secs(10));
        // Disabled, then enabled: neither reading can be trusted until the first is old.
        assert!(!writes.trusts(&key("a"), &Request::EnableKey, start + Duration::from_secs(20)));
        assert!(writes.trusts(&key("a"), &Request::EnableKey, start + WRITE_MEMORY + Duration::from_secs(1)));
    }

    #[test]
    fn too_many_writes_make_every_reading_doubtful_rather_than_wrong() {
        let start = Moment::from_nanos(0) + Duration::from_secs(1000);
        let mut writes = Writes::new();
        for n in 0..=MOST {
            writes.record(&key(&n.to_string()), &Request::EnableKey, start);
        }
        assert!(!writes.trusts(&key("never seen"), &Request::DisableKey, start));
        assert!(writes.trusts(&key("never seen"), &Request::DisableKey, start + WRITE_MEMORY));
    }
}
