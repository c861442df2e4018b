//! `fair`: how long a job of ten keys takes behind a huge one, against what it would take alone at its share of the quota.
//!
//! Two jobs in a lane share it in turns, so the small one's share is half the quota; in a lane of its own, behind a job over many
//! other lanes, it has all of it.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use end_to_end::{Job, Keyfleet, kms_end::arn};
use reqwest::Method;
use serde_json::{Value, json};
use service_kit::clock;

use crate::{
    bench::settings,
    ending::{all_succeeded, ended},
    report::{Report, bars},
    scenario::{
        Extent,
        pace::{make_keys, region},
    },
    statistics::{count, median},
};

/// AWS's default quota of EnableKey, requests a second.
const QUOTA: f64 = 5.0;
/// Keys of the small job.
const SMALL: usize = 10;
/// Until the big job has got going.
const SETTLE: Duration = Duration::from_secs(4);
/// A lane that was used has its tokens back after a second.
const REST: Duration = Duration::from_secs(2);

/// What stands before the small job.
#[derive(Debug, Clone, Copy)]
struct Case {
    name: &'static str,
    big: usize,
    lanes: usize,
    /// The small job's share of its lane.
    share: f64,
    /// The small job's lane.
    lane: usize,
    rounds: usize,
}

fn cases(extent: Extent) -> Vec<Case> {
    let (big, lanes, rounds) = match extent {
        Extent::Tiny => (200, 3, 1),
        Extent::Brief => (100_000, 200, 2),
        Extent::Short => (1_000_000, 200, 5),
        Extent::Full => (1_000_000, 200, 20),
    };
    // In each lane more than its quota lets through while the small jobs run.
    let in_lanes = lanes * 60 * (rounds + 1);
    let mut all = vec![
        Case { name: "alone", big: 0, lanes: 0, share: 1.0, lane: 0, rounds },
        Case { name: "behind a big job in its lane", big, lanes: 1, share: 0.5, lane: 0, rounds },
        Case {
            name: "behind a job over many lanes, one of them its own",
            big: in_lanes,
            lanes,
            share: 0.5,
            lane: 0,
            rounds,
        },
        Case { name: "behind a job over many other lanes", big: in_lanes, lanes, share: 1.0, lane: lanes, rounds },
    ];
    if extent == Extent::Tiny {
        all.truncate(2);
    }
    all
}

pub(super) async fn run(extent: Extent) -> Result<Report> {
    let stack = Keyfleet::start(settings(2, "aws")).await?;
    let mut rows = Vec::new();
    for case in cases(extent) {
        rows.push(measure(&stack, case).await.with_context(|| case.name.to_owned())?);
    }
    let extra: Vec<f64> = rows.iter().skip(1).filter_map(|row| row["extra_s"].as_f64()).collect();
    let worst = extra.into_iter().reduce(f64::max).context("nothing was measured")?;
    let columns =
        ["case", "big_job_keys", "lanes", "rounds", "seconds_p50", "seconds_max", "alone_at_its_share_s", "extra_s"];
    let plot = bars("ten keys: seconds from POST to completed", &rows, &["case"], "seconds_p50");
    Ok(Report::new(json!({"extra_s": worst}), &columns, rows, plot))
}

async fn measure(stack: &Keyfleet, case: Case) -> Result<Value> {
    let big = match case.big {
        0 => None,
        keys => {
            let job = big_job(stack, keys, case.lanes).await?;
            tokio::time::sleep(SETTLE).await;
            Some(job)
        }
    };
    let mut seconds = Vec::new();
    for _ in 0..case.rounds {
        seconds.push(small_job(stack, case.lane).await?);
        tokio::time::sleep(REST).await;
    }
    if let Some(job) = &big {
        ensure!(job.now_without_keys().await?.overall_status == "in_progress", "the big job has ended");
        stack.admin.call(Method::POST, &job.path("/cancel")).send().await?.expect(200)?;
    }
    // Ten keys need ten tokens.
    let expected = count(SMALL) / (QUOTA * case.share);
    let p50 = median(&seconds).context("no rounds")?;
    Ok(json!({
        "case": case.name, "big_job_keys": case.big, "lanes": case.lanes, "rounds": case.rounds,
        "seconds_p50": p50, "seconds_max": seconds.iter().copied().fold(0.0, f64::max),
        "alone_at_its_share_s": expected, "extra_s": p50 - expected, "seconds": seconds,
    }))
}

async fn big_job(stack: &Keyfleet, keys: usize, lanes: usize) -> Result<Job> {
    let mut arns = Vec::new();
    for lane in 0..lanes {
        let ids = make_keys(stack, keys / lanes, &region(lane), "Disabled").await?;
        arns.extend(ids.iter().map(|id| arn(&region(lane), id)));
    }
    stack.create("enablekey", &arns).await
}

/// Seconds from the POST of ten keys until they are done.
async fn small_job(stack: &Keyfleet, lane: usize) -> Result<f64> {
    let ids = make_keys(stack, SMALL, &region(lane), "Disabled").await?;
    let arns: Vec<String> = ids.iter().map(|id| arn(&region(lane), id)).collect();
    let from = clock::boottime();
    let job = stack.create("enablekey", &arns).await?;
    let ending = ended(&stack.admin, &job).await?;
    all_succeeded(&ending.job)?;
    Ok(ending.at.since(from).as_secs_f64())
}
