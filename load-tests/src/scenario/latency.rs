//! `latency`: how long a job of two keys takes, from its POST until it reads `completed`, with a KMS end that answers at once.
//!
//! The end is seen by asking for the job every millisecond. `inside_ms`, from the job's own `createdAt` to `completed_at`, leaves
//! the way there and back and the asking out.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use end_to_end::Keyfleet;
use serde_json::{Value, json};
use service_kit::clock;

use crate::{
    bench::settings,
    ending::all_succeeded,
    plot::{Plot, distribution},
    report::{Report, sample},
    scenario::Extent,
    statistics::percentile,
    times::span_ms,
};

/// The keys of each job.
const KEYS: usize = 2;
/// Jobs that are not counted: connections and caches.
const WARM_UP: usize = 5;
/// Between two looks.
const LOOK: Duration = Duration::from_millis(1);

pub(super) async fn run(extent: Extent) -> Result<Report> {
    let (workers, jobs): (&[usize], usize) = match extent {
        Extent::Tiny => (&[1], 3),
        Extent::Brief => (&[1], 100),
        Extent::Short => (&[1], 300),
        Extent::Full => (&[1, 4, 16], 1_000),
    };
    let mut rows = Vec::new();
    for workers in workers {
        let stack = Keyfleet::start(settings(*workers, "off")).await?;
        let (mut seen, mut inside, mut create) = (Vec::new(), Vec::new(), Vec::new());
        for number in 0..WARM_UP + jobs {
            let times = one(&stack).await?;
            if number >= WARM_UP {
                seen.push(times[0]);
                create.push(times[1]);
                inside.push(times[2]);
            }
        }
        rows.push(json!({
            "workers": workers, "jobs": jobs,
            "create_ms_p50": percentile(&create, 50.0), "inside_ms_p50": percentile(&inside, 50.0),
            "ms_p50": percentile(&seen, 50.0), "ms_p90": percentile(&seen, 90.0), "ms_p99": percentile(&seen, 99.0),
            "ms": seen,
        }));
    }
    let columns = ["workers", "jobs", "create_ms_p50", "inside_ms_p50", "ms_p50", "ms_p90", "ms_p99"];
    let headline = headline(&rows)?;
    let line = |row: &Value| (format!("{} workers", row["workers"]), distribution(&sample(row, "ms")));
    let plot = Plot::lines(
        "a job of two keys: milliseconds from POST to completed",
        "percent of the jobs",
        rows.iter().map(line).collect(),
    );
    Ok(Report::new(headline, &columns, rows, plot))
}

/// With one worker.
fn headline(rows: &[Value]) -> Result<Value> {
    let row = rows.iter().find(|row| row["workers"] == 1).context("no row of one worker")?;
    Ok(json!({"ms_p50": row["ms_p50"], "ms_p99": row["ms_p99"]}))
}

/// Milliseconds until the end was seen, until the answer to the POST, and between the job's own times.
async fn one(stack: &Keyfleet) -> Result<[f64; 3]> {
    let keys = stack.sim.make_keys(KEYS, "Disabled").await?;
    let from = clock::boottime();
    let since = || clock::boottime().since(from).as_secs_f64() * 1_000.0;
    let job = stack.create("enablekey", &keys).await?;
    let created = since();
    let path = job.path("?detail=false");
    loop {
        let view = stack.admin.get(&path).await?.expect(200)?.job()?;
        if view.overall_status != "in_progress" {
            let seen = since();
            all_succeeded(&view)?;
            ensure!(view.overall_status == "completed", "job {} is {}", view.id, view.overall_status);
            let inside = span_ms(&view.created_at, view.completed_at.as_deref().unwrap_or_default())?;
            return Ok([seen, created, inside]);
        }
        ensure!(since() < 60_000.0, "job {} does not end", view.id);
        tokio::time::sleep(LOOK).await;
    }
}
