//! `api`: requests a second of get and list, while a job runs at full speed and while nothing does, and the list's time with many
//! jobs there.

use std::{sync::Arc, time::Duration};

use anyhow::{Context, Result};
use end_to_end::{Keyfleet, caller::BULKJOB};
use reqwest::Method;
use serde_json::{Value, json};
use service_kit::clock;
use tokio::task::JoinSet;

use crate::{
    bench::settings,
    report::{Report, bars},
    scenario::Extent,
    statistics::{count, percentile},
    times::ms,
};

/// Clients that ask at the same time.
const CLIENTS: usize = 16;
/// Jobs that are created at the same time.
const CREATORS: usize = 16;

struct Plan {
    keys: usize,
    span: Duration,
    jobs: usize,
}

impl Plan {
    const fn of(extent: Extent) -> Self {
        let (keys, s, jobs) = match extent {
            Extent::Tiny => (2_000, 1, 20),
            Extent::Brief => (100_000, 4, 1_000),
            Extent::Short => (200_000, 10, 10_000),
            Extent::Full => (1_000_000, 30, 10_000),
        };
        Self { keys, span: Duration::from_secs(s), jobs }
    }
}

pub(super) async fn run(extent: Extent) -> Result<Report> {
    let plan = Plan::of(extent);
    let stack = Keyfleet::start(settings(1, "off").with_env("job-scheduler", "MAX_RUNNING_JOBS", "100000")).await?;
    let mut rows = Vec::new();
    let keys = stack.sim.make_keys(plan.keys, "Disabled").await?;
    let job = stack.create("enablekey", &keys).await?;
    let whats = [("get", job.path("?detail=false")), ("list", BULKJOB.to_owned())];
    for (what, path) in &whats {
        rows.push(ask(&stack, what, path, "a job at full speed", 1, plan.span).await?);
    }
    stack.admin.call(Method::POST, &job.path("/cancel")).send().await?.expect(200)?;
    for (what, path) in &whats {
        rows.push(ask(&stack, what, path, "nothing", 1, plan.span).await?);
    }
    many_jobs(&stack, plan.jobs).await?;
    rows.push(ask(&stack, "list", BULKJOB, "nothing", plan.jobs + 1, plan.span).await?);
    let deep = format!("{BULKJOB}?skip={}", plan.jobs / 2);
    rows.push(ask(&stack, "list from the middle", &deep, "nothing", plan.jobs + 1, plan.span).await?);
    let alone = one_by_one(&stack, BULKJOB, 100).await?;
    let columns = ["request", "meanwhile", "jobs", "clients", "per_s", "ms_p50", "ms_p99"];
    let headline = json!({
        "get_per_s": rows[0]["per_s"], "list_per_s": rows[1]["per_s"],
        "list_ms": percentile(&alone, 50.0), "list_jobs": plan.jobs + 1,
    });
    let plot =
        bars("requests a second, 16 clients: meanwhile, jobs there", &rows, &["request", "meanwhile", "jobs"], "per_s");
    Ok(Report::new(headline, &columns, rows, plot))
}

/// Clients that ask for the same without a pause.
async fn ask(stack: &Keyfleet, what: &str, path: &str, meanwhile: &str, jobs: usize, span: Duration) -> Result<Value> {
    let path: Arc<str> = path.into();
    let from = clock::boottime();
    let mut clients = JoinSet::new();
    for _ in 0..CLIENTS {
        let (caller, path) = (stack.admin.clone(), path.clone());
        clients.spawn(async move {
            let mut times = Vec::new();
            while clock::boottime().since(from) < span {
                let asked = clock::boottime();
                caller.get(&path).await?.expect(200)?;
                times.push(ms(clock::boottime().since(asked)));
            }
            anyhow::Ok(times)
        });
    }
    let mut times = Vec::new();
    while let Some(client) = clients.join_next().await {
        times.extend(client.context("a client panicked")??);
    }
    let seconds = clock::boottime().since(from).as_secs_f64();
    Ok(json!({
        "request": what, "meanwhile": meanwhile, "jobs": jobs, "clients": CLIENTS, "per_s": count(times.len()) / seconds,
        "ms_p50": percentile(&times, 50.0), "ms_p99": percentile(&times, 99.0),
    }))
}

/// Times of so many requests, one after the other, in milliseconds.
async fn one_by_one(stack: &Keyfleet, path: &str, requests: usize) -> Result<Vec<f64>> {
    let mut times = Vec::new();
    for _ in 0..requests {
        let asked = clock::boottime();
        stack.admin.get(path).await?.expect(200)?;
        times.push(ms(clock::boottime().since(asked)));
    }
    Ok(times)
}

/// Creates jobs of one key each.
async fn many_jobs(stack: &Keyfleet, jobs: usize) -> Result<()> {
    let keys: Arc<[String]> = stack.sim.make_keys(jobs, "Disabled").await?.into();
    let mut creators = JoinSet::new();
    for first in 0..CREATORS {
        let (caller, keys) = (stack.admin.clone(), keys.clone());
        creators.spawn(async move {
            for key in keys.iter().skip(first).step_by(CREATORS) {
                caller.create("enablekey", std::slice::from_ref(key)).await?;
            }
            anyhow::Ok(())
        });
    }
    while let Some(creator) = creators.join_next().await {
        creator.context("a creator panicked")??;
    }
    Ok(())
}
