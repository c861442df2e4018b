//! A rolling restart from one version to the next, while clients work.
//!
//! Both versions run side by side for a while: an old leader with new workers is avoided by the order (schedulers first, as
//! `docs/OPERATIONS.md` says), all else is met. What the checker asks of a run under faults is asked here too, and one thing
//! more: no call may fail in a way that a client's ordinary retry does not cover.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result};
use dev_stack::Wire;
use tokio::sync::watch;
use tokio::time::sleep;

use super::checker::{Promise, Violation};
use super::evidence::{Answer, Call, Evidence};
use super::report::Outcome;
use super::run::{carry, settings};
use super::schedule::{SERVICES, Schedule};
use crate::stack::Keyfleet;
use dev_stack::StackSettings;

/// How long each replica has worked before the next one is replaced: long enough that jobs begin and end in between.
const BETWEEN: Duration = Duration::from_secs(2);
/// Statuses that clients retry.
const RETRIED: [u16; 4] = [429, 502, 503, 504];

/// Upgrades a stack of the programs in `old` to those in `new`, one replica after the other.
///
/// # Errors
/// When the run could not be carried through, which says nothing about the promises.
pub async fn upgrade(old: &Path, new: &Path, seed: u64, keep: &Path) -> Result<Outcome> {
    // Without TLS, which the older one may not know.
    let settings = StackSettings { bin_dir: old.to_owned(), to_schedulers: Wire::Plain, ..settings() };
    let stack = Keyfleet::start(settings).await?;
    let schedule = Schedule { seed, moments: Vec::new() };
    let replacing = async {
        let leader = stack.leader().await?;
        let mut order: Vec<&str> = SERVICES.to_vec();
        // The standby before the leader: whoever takes over then is a new one.
        order.sort_by_key(|service| *service == leader && service.starts_with("job-scheduler"));
        order.sort_by_key(|service| rank(service));
        for service in order {
            sleep(BETWEEN).await;
            stack.parts.replace(service, new).await.with_context(|| format!("{service} in the new version"))?;
        }
        sleep(BETWEEN).await;
        Ok(())
    };
    let (_none, lost) = watch::channel(0);
    carry(&stack, replacing, lost, &schedule, keep, uncovered).await
}

fn rank(service: &str) -> usize {
    ["job-scheduler", "kms-worker", "api-gateway"].iter().position(|kind| service.starts_with(kind)).unwrap_or_default()
}

/// Calls that failed for good, or in a way that no client retries.
fn uncovered(evidence: &Evidence) -> Vec<Violation> {
    let mut found = Vec::new();
    let mut broken = |what: String| found.push(Violation { promise: Promise::Answered, what });
    let mut created: BTreeMap<&str, bool> = BTreeMap::new();
    let mut canceled: BTreeMap<&str, bool> = BTreeMap::new();
    let owners: BTreeSet<(&str, &str)> =
        evidence.jobs.iter().map(|job| (job.tenant.as_str(), job.id.as_str())).collect();
    for event in &evidence.history {
        let own = |job: &str| owners.contains(&(event.caller.tenant.as_str(), job));
        let allowed = match &event.call {
            Call::Create { once, .. } => {
                if let Some(once) = once {
                    *created.entry(once).or_default() |= matches!(event.answer, Answer::Job(201, _));
                }
                true
            }
            Call::Cancel { job } if own(job) => {
                *canceled.entry(job).or_default() |= matches!(event.answer, Answer::Job(200, _));
                true
            }
            Call::Read { job } => own(job),
            Call::Cancel { .. } => false,
            Call::List => true,
        };
        if let Answer::Refused(status) = event.answer
            && allowed
            && !RETRIED.contains(&status)
        {
            broken(format!("{:?} was answered {status}", event.call));
        }
    }
    let failed = |(what, ended): (&&str, &bool)| (!ended).then(|| (*what).to_owned());
    for once in created.iter().filter_map(failed) {
        broken(format!("the create {once} was never accepted, however often it was repeated"));
    }
    for job in canceled.iter().filter_map(failed) {
        broken(format!("the cancel of {job} was never answered 200, however often it was repeated"));
    }
    found
}
