//! `scale`: whether a key of a large job costs what one of a small job costs: create, run, get, list and cancel by size.
//!
//! Small jobs are run many times over, because a process's CPU time is told in hundredths of a second. The largest ones of the
//! short form are stopped after a while: their cost of a key is that of creating one plus that of running one, each by the number of
//! keys that were. Peak memory is that of the whole case; the kernel is asked to forget earlier peaks.

use std::{collections::BTreeMap, time::Duration};

use anyhow::{Context, Result, ensure};
use end_to_end::{Job, Keyfleet, caller::BULKJOB};
use reqwest::Method;
use serde_json::{Value, json};
use service_kit::clock;

use crate::{
    bench::{reading, settings},
    ending::{all_succeeded, ended},
    meter::{Used, kind},
    processes::{forget_peak, status_kb},
    report::{Report, bars},
    scenario::Extent,
    statistics::count,
    times::ms,
};

/// What follows a job's end counts as its work.
const TAIL: Duration = Duration::from_secs(1);
/// Services whose memory is bounded: not the servers, not the KMS end.
const SERVICES: [&str; 3] = ["api-gateway", "job-scheduler", "kms-worker"];

/// Jobs of one size.
#[derive(Debug, Clone, Copy)]
struct Case {
    keys: usize,
    jobs: usize,
    /// How long the job may run before it is stopped; to its end if not given.
    stop_after: Option<Duration>,
}

fn cases(extent: Extent) -> Vec<Case> {
    let whole = |keys, jobs| Case { keys, jobs, stop_after: None };
    let cut = |keys, s| Case { keys, jobs: 1, stop_after: Some(Duration::from_secs(s)) };
    match extent {
        Extent::Tiny => vec![whole(100, 1), cut(2_000, 0)],
        Extent::Brief => vec![whole(100, 20), whole(1_000, 5), whole(10_000, 1), cut(100_000, 10), cut(1_000_000, 5)],
        Extent::Short => {
            vec![whole(100, 100), whole(1_000, 20), whole(10_000, 2), whole(100_000, 1), cut(1_000_000, 30)]
        }
        Extent::Full => {
            vec![whole(100, 300), whole(1_000, 50), whole(10_000, 5), whole(100_000, 2), whole(1_000_000, 1)]
        }
    }
}

pub(super) async fn run(extent: Extent) -> Result<Report> {
    let stack = Keyfleet::start(settings(1, "off")).await?;
    // Connections, caches, prepared statements.
    run_one(&stack, Case { keys: 100, jobs: 1, stop_after: None }).await?;
    let mut rows = Vec::new();
    for case in cases(extent) {
        rows.push(measure(&stack, case).await.with_context(|| format!("{case:?}"))?);
    }
    let columns = [
        "keys",
        "jobs",
        "keys_run",
        "create_s",
        "keys_per_s",
        "cpu_us_per_key",
        "get_keys_per_s",
        "list_ms",
        "cancel_ms",
        "peak_mb.api-gateway",
        "peak_mb.job-scheduler",
        "peak_mb.kms-worker",
        "others_share",
    ];
    let plot = bars("CPU a key by the size of the job, microseconds", &rows, &["keys"], "cpu_us_per_key");
    Ok(Report::new(headline(&rows), &columns, rows, plot))
}

/// The dearest key against one of 1,000, and the most memory of any service at any size.
fn headline(rows: &[Value]) -> Value {
    let of = |keys: u64| rows.iter().find(|row| row["keys"] == keys).and_then(|row| row["cpu_us_per_key"].as_f64());
    let largest = rows.last().and_then(|row| row["cpu_us_per_key"].as_f64());
    let peaks = rows.iter().filter_map(|row| row["peak_mb"].as_object()).flat_map(|peaks| peaks.values());
    json!({
        "cpu_of_largest_to_1000": largest.zip(of(1_000)).map(|(largest, thousand)| largest / thousand),
        "peak_mb": peaks.filter_map(Value::as_f64).fold(0.0, f64::max),
        "create_s_of_largest": rows.last().map(|row| row["create_s"].clone()),
    })
}

async fn measure(stack: &Keyfleet, case: Case) -> Result<Value> {
    let pids = |stack: &Keyfleet| -> Vec<(String, u32)> {
        let services = stack.parts.names().filter(|name| SERVICES.contains(&kind(name)));
        services.map(|name| (kind(name).to_owned(), stack.parts.pid(name))).collect()
    };
    let forgotten = pids(stack).iter().all(|(_, pid)| forget_peak(*pid));
    let (mut create_s, mut run_s, mut keys_run, mut cpu_us, mut others) = (0.0, 0.0, 0, 0.0, 0.0_f64);
    let mut last = None;
    for _ in 0..case.jobs {
        let one = run_one(stack, case).await?;
        create_s += one.create_s;
        run_s += one.run_s;
        keys_run += one.keys_run;
        cpu_us += one.cpu_us_per_key();
        others = others.max(one.run.others_share);
        last = Some(one);
    }
    let last = last.context("no jobs")?;
    let get_keys_per_s = get_whole(stack, &last.job, case.keys).await?;
    let list_ms = list(stack).await?;
    let peak_mb: BTreeMap<String, f64> = pids(stack).into_iter().fold(BTreeMap::new(), |mut peaks, (name, pid)| {
        let mb = status_kb(pid, "VmHWM").map_or(0.0, |kb| count(usize::try_from(kb).unwrap_or(usize::MAX)) / 1024.0);
        let peak = peaks.entry(name).or_insert(0.0_f64);
        *peak = peak.max(mb);
        peaks
    });
    let jobs = count(case.jobs);
    Ok(json!({
        "keys": case.keys, "jobs": case.jobs, "keys_run": keys_run,
        "create_s": create_s / jobs, "keys_per_s": count(keys_run) / run_s, "cpu_us_per_key": cpu_us / jobs,
        "us_per_key_run": last.run.us_per_key(last.keys_run),
        "get_keys_per_s": get_keys_per_s, "list_ms": list_ms, "cancel_ms": last.cancel_ms,
        "peak_mb": peak_mb, "peak_is_of_this_size": forgotten, "others_share": others,
    }))
}

/// One job.
struct One {
    job: Job,
    keys: usize,
    keys_run: usize,
    create_s: f64,
    run_s: f64,
    create: Used,
    run: Used,
    cancel_ms: Option<f64>,
}

impl One {
    /// Creating a key plus running one.
    fn cpu_us_per_key(&self) -> f64 {
        (self.create.keyfleet_s / count(self.keys) + self.run.keyfleet_s / count(self.keys_run)) * 1_000_000.0
    }
}

async fn run_one(stack: &Keyfleet, case: Case) -> Result<One> {
    let ids = stack.sim.make_keys(case.keys, "Disabled").await?;
    let body = json!({"operation": "enablekey", "keys": ids});
    drop(ids);
    let before = reading(stack)?;
    let from = clock::boottime();
    let job = stack.admin.create_as(&body).await?;
    let created = clock::boottime();
    let between = reading(stack)?;
    let mut cancel_ms = None;
    let (ended_at, done) = match case.stop_after {
        None => {
            let ending = ended(&stack.admin, &job).await?;
            all_succeeded(&ending.job)?;
            (ending.at, case.keys)
        }
        Some(span) => {
            tokio::time::sleep(span).await;
            let sent = clock::boottime();
            let answer = stack.admin.call(Method::POST, &job.path("/cancel")).send().await?.expect(200)?.job()?;
            let at = clock::boottime();
            cancel_ms = Some(ms(at.since(sent)));
            (at, answer.counts.succeeded)
        }
    };
    ensure!(done > 0 || case.stop_after.is_some_and(|span| span.is_zero()), "nothing was done");
    // Of a hundred jobs' tails nine tenths would be waiting.
    tokio::time::sleep(TAIL / u32::try_from(case.jobs.min(20))?).await;
    let run = between.until(&reading(stack)?);
    Ok(One {
        job,
        keys: case.keys,
        keys_run: done.max(1),
        create_s: created.since(from).as_secs_f64(),
        run_s: ended_at.since(from).as_secs_f64(),
        create: before.until(&between),
        run,
        cancel_ms,
    })
}

/// Reads a finished job whole, as a stream, and gives the keys a second.
async fn get_whole(stack: &Keyfleet, job: &Job, keys: usize) -> Result<f64> {
    let from = clock::boottime();
    let bytes = stack.admin.call(Method::GET, &job.path("")).count_bytes().await?;
    ensure!(bytes > keys * 36 * 2, "{bytes} bytes are no job of {keys} keys");
    Ok(count(keys) / clock::boottime().since(from).as_secs_f64())
}

/// The time of the list's first page, in milliseconds.
async fn list(stack: &Keyfleet) -> Result<f64> {
    let from = clock::boottime();
    stack.admin.get(BULKJOB).await?.expect(200)?;
    Ok(ms(clock::boottime().since(from)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_headline_compares_the_largest_with_a_thousand() {
        let row = |keys: u64, cpu: f64, peak: f64| json!({"keys": keys, "cpu_us_per_key": cpu, "create_s": 1.5, "peak_mb": {"api-gateway": peak, "kms-worker": 9.0}});
        let found = headline(&[row(100, 999.0, 20.0), row(1_000, 400.0, 70.0), row(1_000_000, 420.0, 60.0)]);
        assert_eq!((found["cpu_of_largest_to_1000"].as_f64(), found["peak_mb"].as_f64()), (Some(1.05), Some(70.0)));
        assert_eq!(found["create_s_of_largest"].as_f64(), Some(1.5));
    }
}
