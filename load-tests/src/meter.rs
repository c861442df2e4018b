//! What each part of a stack used between two readings, and what the rest of the machine used meanwhile.

use std::{collections::BTreeMap, time::Duration};

use anyhow::Result;
use dev_stack::Stack;
use job_model::Moment;
use serde::Serialize;
use service_kit::clock;

use crate::processes::{Snapshot, machine_cpu};

/// The KMS end's name as a part: what Keyfleet uses is all but this.
pub const KMS_END: &str = "kms-sim";

/// A reading of all parts.
#[derive(Debug, Clone)]
pub struct Reading {
    at: Moment,
    by_part: BTreeMap<String, Duration>,
    own: Duration,
    machine: Duration,
}

/// CPU time between two readings.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Used {
    /// Seconds of CPU by kind of part; replicas are added up.
    pub cpu_s: BTreeMap<String, f64>,
    /// Seconds of CPU of all parts but the KMS end.
    pub keyfleet_s: f64,
    /// Seconds of CPU of this program, which is the client.
    pub client_s: f64,
    /// The share of all cores that neither the parts nor this program used, but somebody else: 0 on a quiet machine.
    pub others_share: f64,
    /// Seconds between the readings.
    pub seconds: f64,
}

impl Reading {
    /// Reads the parts of a stack now.
    ///
    /// # Errors
    /// When `/proc` cannot be read.
    pub fn of(stack: &Stack) -> Result<Self> {
        let snapshot = Snapshot::now()?;
        let mut by_part = BTreeMap::new();
        for name in stack.names() {
            *by_part.entry(kind(name).to_owned()).or_default() += snapshot.cpu(stack.pid(name));
        }
        // The parts are this program's children: only itself and what has ended (a contender's process) is its own.
        let own = snapshot.cpu_alone(std::process::id());
        Ok(Self { at: clock::boottime(), by_part, own, machine: machine_cpu()? })
    }

    /// What was used from `self` to `later`.
    #[must_use]
    pub fn until(&self, later: &Self) -> Used {
        let used = |name: &String, now: &Duration| {
            let before = self.by_part.get(name).copied().unwrap_or_default();
            (name.clone(), now.saturating_sub(before).as_secs_f64())
        };
        let cpu_s: BTreeMap<String, f64> = later.by_part.iter().map(|(name, now)| used(name, now)).collect();
        let keyfleet_s = cpu_s.iter().filter(|(name, _)| *name != KMS_END).map(|(_, s)| s).sum();
        let client_s = later.own.saturating_sub(self.own).as_secs_f64();
        let seconds = later.at.since(self.at).as_secs_f64();
        let all = later.machine.saturating_sub(self.machine).as_secs_f64();
        let ours = client_s + cpu_s.values().sum::<f64>();
        let capacity = seconds * crate::statistics::count(crate::machine::cores());
        let others_share = if capacity > 0.0 { ((all - ours) / capacity).max(0.0) } else { 0.0 };
        Used { cpu_s, keyfleet_s, client_s, others_share, seconds }
    }
}

impl Used {
    /// Seconds of Keyfleet's CPU for 1,000 keys, when so many were done.
    #[must_use]
    pub fn per_1000(&self, keys: usize) -> f64 {
        self.keyfleet_s * 1_000.0 / crate::statistics::count(keys)
    }

    /// Microseconds of CPU a key, by part.
    #[must_use]
    pub fn us_per_key(&self, keys: usize) -> BTreeMap<String, f64> {
        let per_key = |s: &f64| s * 1_000_000.0 / crate::statistics::count(keys);
        self.cpu_s.iter().map(|(name, s)| (name.clone(), per_key(s))).collect()
    }
}

/// A part's kind: its name without the replica's number; the port mapper is RabbitMQ's.
#[must_use]
pub fn kind(name: &str) -> &str {
    if name == "epmd" {
        return "rabbitmq";
    }
    match name.rsplit_once('-') {
        Some((kind, number)) if number.bytes().all(|byte| byte.is_ascii_digit()) => kind,
        Some(_) | None => name,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reading(at_s: u64, parts: &[(&str, u64)], own: u64, machine: u64) -> Reading {
        let s = Duration::from_secs;
        Reading {
            at: Moment::from_nanos(at_s * 1_000_000_000),
            by_part: parts.iter().map(|(name, used)| ((*name).to_owned(), s(*used))).collect(),
            own: s(own),
            machine: s(machine),
        }
    }

    #[test]
    fn replicas_are_one_kind() {
        assert_eq!(
            (kind("kms-worker-12"), kind("api-gateway"), kind("api-gateway-2")),
            ("kms-worker", "api-gateway", "api-gateway")
        );
        assert_eq!((kind("kms-sim"), kind("epmd"), kind("postgres")), ("kms-sim", "rabbitmq", "postgres"));
    }

    #[test]
    fn the_kms_end_is_apart_and_strangers_are_the_rest() {
        let before = reading(0, &[("kms-sim", 1), ("kms-worker", 10)], 5, 100);
        let after = reading(10, &[("kms-sim", 4), ("kms-worker", 13), ("postgres", 1)], 6, 108 + 3);
        let used = before.until(&after);
        assert_eq!(
            used.cpu_s,
            [("kms-sim", 3.0), ("kms-worker", 3.0), ("postgres", 1.0)].map(|(n, s)| (n.to_owned(), s)).into()
        );
        assert_eq!((used.keyfleet_s, used.client_s, used.seconds), (4.0, 1.0, 10.0));
        let cores = crate::statistics::count(crate::machine::cores());
        assert!((used.others_share - 3.0 / (10.0 * cores)).abs() < 1e-9);
        assert!((used.per_1000(2_000) - 2.0).abs() < 1e-9);
        assert!((used.us_per_key(2_000)["kms-worker"] - 1_500.0).abs() < 1e-9);
    }
}
