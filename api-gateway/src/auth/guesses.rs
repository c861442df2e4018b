//! Slows the guessing of passwords: only failed logins count, per user and address.
//!
//! After a few failures each further one blocks the pair for twice as long, up to a minute. While blocked, a right
//! password is refused as well: otherwise the answer would still tell which guess was right. Others are not touched:
//! the user can log in from elsewhere, and who shares the address can log in as themselves.

use std::{
    collections::HashMap,
    hash::{BuildHasher, RandomState},
    net::{IpAddr, Ipv6Addr},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use job_model::Moment;

/// Failures that cost nothing yet: people mistype.
const FREE: u32 = 5;
/// The first block; each further failure doubles it.
const FIRST_BLOCK: Duration = Duration::from_secs(1);
/// The longest block.
const LONGEST_BLOCK: Duration = Duration::from_secs(60);
/// Without a failure for this long, all is forgotten.
const MEMORY: Duration = Duration::from_secs(15 * 60);
/// The most pairs remembered, some 5 MB. Each costs the attacker one hash to enter, and the hashes are few a second.
const MOST: usize = 100_000;

/// Who has failed how often.
#[derive(Default)]
pub(super) struct Guesses {
    failed: Mutex<HashMap<Pair, Failed>>,
    hasher: RandomState,
}

/// A user's name, hashed (it may be of any length), and an address.
type Pair = (u64, IpAddr);

struct Failed {
    times: u32,
    last: Moment,
    blocked_until: Moment,
}

impl Guesses {
    /// How long this pair must still wait; `None` when it may try.
    pub(super) fn blocked(&self, username: &str, address: IpAddr, now: Moment) -> Option<Duration> {
        let wait = self.lock().get(&self.pair(username, address))?.blocked_until.since(now);
        (!wait.is_zero()).then_some(wait)
    }

    /// A login failed.
    pub(super) fn failed(&self, username: &str, address: IpAddr, now: Moment) {
        let pair = self.pair(username, address);
        let mut all = self.lock();
        if all.len() >= MOST && !all.contains_key(&pair) {
            all.retain(|_, failed| now.since(failed.last) < MEMORY && failed.times > FREE);
        }
        let failed = all.entry(pair).or_insert(Failed { times: 0, last: now, blocked_until: now });
        failed.times = if now.since(failed.last) >= MEMORY { 1 } else { failed.times.saturating_add(1) };
        failed.last = now;
        if let Some(beyond) = failed.times.checked_sub(FREE + 1) {
            let block = FIRST_BLOCK.saturating_mul(1 << beyond.min(16));
            failed.blocked_until = now + block.min(LONGEST_BLOCK);
        }
    }

    /// A login succeeded: the failures before were mistypings.
    pub(super) fn succeeded(&self, username: &str, address: IpAddr) {
        self.lock().remove(&self.pair(username, address));
    }

    /// Forgets what no longer matters.
    pub(super) fn forget_old(&self, now: Moment) {
        self.lock().retain(|_, failed| now.since(failed.last) < MEMORY);
    }

    fn pair(&self, username: &str, address: IpAddr) -> Pair {
        (self.hasher.hash_one(username), network(address))
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Pair, Failed>> {
        self.failed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One subscriber of IPv6 has a whole /64.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => IpAddr::V4(address),
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));
    const THERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 2));

    fn at(seconds: u64) -> Moment {
        Moment::from_nanos(0) + Duration::from_secs(seconds)
    }

    #[test]
    fn blocks_grow_and_are_capped() {
        let guesses = Guesses::default();
        let mut blocks = Vec::new();
        for _ in 0..15 {
            guesses.failed("a", HERE, at(100));
            blocks.push(guesses.blocked("a", HERE, at(100)).map_or(0, |wait| wait.as_secs()));
        }
        assert_eq!(blocks, [0, 0, 0, 0, 0, 1, 2, 4, 8, 16, 32, 60, 60, 60, 60]);
        assert!(guesses.blocked("a", HERE, at(159)).is_some());
        assert!(guesses.blocked("a", HERE, at(160)).is_none());
    }

    #[test]
    fn others_are_not_touched() {
        let guesses = Guesses::default();
        for _ in 0..10 {
            guesses.failed("a", HERE, at(0));
        }
        assert!(guesses.blocked("a", HERE, at(0)).is_some());
        assert!(guesses.blocked("a", THERE, at(0)).is_none());
        assert!(guesses.blocked("b", HERE, at(0)).is_none());
    }

    #[test]
    fn a_success_or_a_quarter_of_an_hour_forgives() {
        let guesses = Guesses::default();
        for _ in 0..8 {
            guesses.failed("a", HERE, at(0));
        }
        guesses.succeeded("a", HERE);
        assert!(guesses.blocked("a", HERE, at(0)).is_none());
        for _ in 0..8 {
            guesses.failed("a", HERE, at(10));
        }
        guesses.failed("a", HERE, at(10 + 15 * 60));
        assert!(guesses.blocked("a", HERE, at(10 + 15 * 60)).is_none());
        guesses.forget_old(at(10 + 30 * 60));
        assert!(guesses.lock().is_empty());
    }

    #[test]
    fn a_whole_ipv6_network_is_one_guesser() {
        let guesses = Guesses::default();
        for last in 0..10 {
            guesses.failed("a", format!("2001:db8::{last}").parse().unwrap(), at(0));
        }
        assert!(guesses.blocked("a", "2001:db8::ffff".parse().unwrap(), at(0)).is_some());
        assert!(guesses.blocked("a", "2001:db8:0:1::1".parse().unwrap(), at(0)).is_none());
    }
}
