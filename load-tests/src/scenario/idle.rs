//! `idle`: what a stack as `make up` starts it (two workers, two schedulers, a gateway) takes of memory and CPU with nothing to do.
//!
//! Memory is what is resident (`VmRSS`), of the largest replica; Postgres is many processes that share pages, so there each page
//! is counted once (`Pss`). CPU is the sum over the replicas, in percent of one core.

use std::{collections::BTreeMap, time::Duration};

use anyhow::Result;
use dev_stack::Stack;
use end_to_end::{Keyfleet, StackSettings};
use serde_json::json;

use crate::{
    bench::{reading, settings},
    meter::kind,
    processes::{Snapshot, shared_once_kb, status_kb},
    report::{Report, bars},
    scenario::Extent,
    statistics::count,
};

/// The start's own work has ended by then.
const SETTLE: Duration = Duration::from_secs(10);

pub(super) async fn run(extent: Extent) -> Result<Report> {
    let (settle, span) = match extent {
        Extent::Tiny => (Duration::ZERO, Duration::from_secs(1)),
        Extent::Brief => (SETTLE, Duration::from_secs(15)),
        Extent::Short => (SETTLE, Duration::from_secs(40)),
        Extent::Full => (SETTLE, Duration::from_secs(300)),
    };
    let stack = Keyfleet::start(StackSettings { schedulers: 2, ..settings(2, "aws") }).await?;
    tokio::time::sleep(settle).await;
    let before = reading(&stack)?;
    tokio::time::sleep(span).await;
    let used = before.until(&reading(&stack)?);
    let memory = memory_mb(&stack.parts)?;
    let percent: BTreeMap<&str, f64> =
        used.cpu_s.iter().map(|(name, s)| (name.as_str(), s * 100.0 / used.seconds)).collect();
    let rows = memory.iter().map(|(name, mb)| {
        let replicas = measured(&stack.parts).filter(|part| kind(part) == name).count();
        json!({
            "service": name, "replicas": replicas, "mb": mb, "cpu_percent": percent.get(name.as_str()),
            "seconds": used.seconds, "others_share": used.others_share,
        })
    });
    let rows: Vec<_> = rows.collect();
    let columns = ["service", "replicas", "mb", "cpu_percent", "seconds", "others_share"];
    let plot = bars("resident memory with nothing to do, MB", &rows, &["service"], "mb");
    Ok(Report::new(json!({"mb": memory, "cpu_percent": percent}), &columns, rows, plot))
}

/// The memory of the largest replica of each kind.
fn memory_mb(stack: &Stack) -> Result<BTreeMap<String, f64>> {
    let snapshot = Snapshot::now()?;
    let mut by_kind: BTreeMap<String, f64> = BTreeMap::new();
    for name in measured(stack) {
        let pid = stack.pid(name);
        let kb = match name {
            "postgres" => snapshot.tree(pid).filter_map(shared_once_kb).sum(),
            _ => status_kb(pid, "VmRSS").unwrap_or_default(),
        };
        let mb = count(usize::try_from(kb)?) / 1024.0;
        let largest = by_kind.entry(kind(name).to_owned()).or_default();
        *largest = largest.max(mb);
    }
    Ok(by_kind)
}

/// The parts but RabbitMQ's port mapper, which is no replica of anything.
fn measured(stack: &Stack) -> impl Iterator<Item = &str> {
    stack.names().filter(|name| *name != "epmd")
}
