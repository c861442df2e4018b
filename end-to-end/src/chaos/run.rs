//! One run: a whole stack, clients, faults, and the judgement over what they left.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result};
use serde_json::json;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};

use super::checker::{Promise, Violation, check};
use super::clients::Clients;
use super::clocks::Clocks;
use super::collect::collect;
use super::evidence::Evidence;
use super::links::Links;
use super::record::Book;
use super::report::{Figures, Outcome};
use super::schedule::{SERVICES, Schedule};
use super::strike::{all_live, strike};
use crate::stack::Keyfleet;
use dev_stack::{ServersFrom, StackSettings};

/// Requests a second for each operation that changes keys: so few that jobs are under way when a fault strikes.
const PACE: &str = r#"{"EnableKey": 60, "DisableKey": 60, "ScheduleKeyDeletion": 60, "CancelKeyDeletion": 60}"#;

/// The longest that one KMS request may take: short, so that what is unanswered is soon known to be.
const OPERATION_TIMEOUT: Duration = Duration::from_secs(1);

/// How long everything may take to end once nothing is broken any more. A task of which no worker was told is offered again
/// after 60 s; all else is quicker by far. Nothing takes this long unless it hangs.
const REST: Duration = Duration::from_secs(150);

/// How much is broken.
#[derive(Clone, Copy, Debug)]
pub struct Extent {
    /// How many faults.
    pub faults: usize,
    /// Within which time they begin.
    pub span: Duration,
}

/// Runs a seed over a stack of its own. When a promise is broken, the logs of all parts and the evidence are left in `keep`.
///
/// # Errors
/// When the run could not be carried through, which says nothing about the promises.
pub async fn run(seed: u64, extent: Extent, keep: &Path) -> Result<Outcome> {
    let schedule = Schedule::of(seed, extent.faults, extent.span);
    let mut settings = settings();
    let links = Links::lay(&mut settings, OPERATION_TIMEOUT).await?;
    let clocks = Clocks::give(&mut settings)?;
    let stack = Keyfleet::start(settings).await?;
    let (lose, lost) = watch::channel(0);
    let faults = strike(&stack, &links, &clocks, &lose, &schedule);
    let carried = carry(&stack, faults, lost, &schedule, keep, |_| Vec::new()).await;
    if carried.is_err() {
        leave_logs(&stack, &keep.join(format!("seed-{seed}")))?;
    }
    carried.with_context(|| format!("{schedule}"))
}

/// Has clients work while `faults` go on, waits until all is at rest, and judges what they left; `further` judges besides.
/// `lost` counts the workers that the faults lose.
pub(super) async fn carry(
    stack: &Keyfleet,
    faults: impl Future<Output = Result<()>>,
    lost: watch::Receiver<u32>,
    schedule: &Schedule,
    keep: &Path,
    further: impl FnOnce(&Evidence) -> Vec<Violation>,
) -> Result<Outcome> {
    stack.sim.configure(&json!({"latency_ms": {"mean": 60, "p99": 200}})).await?;
    let (book, over) = (Book::default(), AtomicBool::new(false));
    let clients = Clients::of(stack, &book, &over, lost, schedule.seed);
    let faults = async {
        let struck = faults.await;
        over.store(true, Ordering::Relaxed);
        struck.map(|()| Instant::now())
    };
    let (ended, worked) = tokio::join!(faults, clients.work());
    let ended = ended?;
    worked?;
    stack.sim.calm().await?;
    let lived = all_live(stack);
    let rested = timeout(REST, come_to_rest(stack)).await;
    let rest = ended.elapsed();

    let evidence = collect(stack, &book).await?;
    let mut violations = check(&evidence);
    violations.extend(further(&evidence));
    if let Err(dead) = lived {
        violations.push(Violation { promise: Promise::Lives, what: dead.to_string() });
    }
    if rested.is_err() {
        violations.push(Violation { promise: Promise::Ends, what: format!("not at rest after {REST:?}") });
    }
    if !violations.is_empty() {
        let folder = keep.join(format!("seed-{}", schedule.seed));
        leave_logs(stack, &folder)?;
        std::fs::write(folder.join("evidence.txt"), format!("{schedule}\n{evidence:#?}"))?;
        let told: Vec<String> = violations.iter().map(ToString::to_string).collect();
        std::fs::write(folder.join("violations.txt"), told.join("\n"))?;
    }
    let figures = Figures::of(schedule, &evidence);
    Ok(Outcome { schedule: schedule.clone(), rest, figures, violations })
}

/// Waits until every part is ready and no job of either tenant is unfinished.
async fn come_to_rest(stack: &Keyfleet) {
    for part in SERVICES {
        while stack.missing(part).await != json!({}) {
            sleep(Duration::from_millis(200)).await;
        }
    }
    for caller in [&stack.admin, &stack.stranger] {
        loop {
            let unfinished = caller.list("?limit=0&overall_status=in_progress").await;
            if unfinished.is_ok_and(|page| page["total"] == 0) {
                break;
            }
            sleep(Duration::from_millis(200)).await;
        }
    }
}

fn leave_logs(stack: &Keyfleet, folder: &Path) -> Result<()> {
    std::fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    for part in stack.parts.names() {
        std::fs::write(folder.join(format!("{part}.log")), stack.parts.log(part))?;
    }
    Ok(())
}

/// Two schedulers, three workers, two gateways, servers of their own; leases so short that a lost part is missed soon.
pub(super) fn settings() -> StackSettings {
    let (schedulers, workers, gateways) = (2, 3, 2);
    let operation_timeout = format!("{}s", OPERATION_TIMEOUT.as_secs());
    StackSettings {
        schedulers,
        workers,
        gateways,
        quota: PACE.to_owned(),
        servers: ServersFrom::Own,
        ..StackSettings::default()
    }
    .with_env("job-scheduler", "LEASE", "1s")
    .with_env("job-scheduler", "OPERATION_TIMEOUT", &operation_timeout)
    .with_env("job-scheduler", "TERM_OF_LEADERSHIP", "1500ms")
    .with_env("kms-worker", "OPERATION_TIMEOUT", &operation_timeout)
    .with_env("kms-worker", "CONCURRENCY", "16")
    .with_env("api-gateway", "CANCEL_WAIT", "4s")
}
