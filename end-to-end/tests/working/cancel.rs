//! Jobs that are stopped: before, during and after; by whom; and that `200` means stopped.

use std::collections::HashMap;

use anyhow::{Result, ensure};
use end_to_end::patience::until;
use end_to_end::{Answer, Job, JobView, Keyfleet, scenarios, verdict};
use rand::{Rng as _, SeedableRng as _, rngs::StdRng};
use reqwest::Method;
use serde_json::json;

#[tokio::test(flavor = "multi_thread")]
async fn jobs_are_stopped() {
    let stack = Keyfleet::start(crate::patient()).await.unwrap();
    scenarios!(stack;
        while_keys_are_read,
        while_requests_are_under_way,
        after_its_end,
        twice_at_once_and_again,
        with_any_body,
        not_by_a_stranger_and_not_without_the_permission,
        at_random_moments,
    );
}

/// Cancels and releases what is held as soon as the job reads that it was told to stop.
async fn cancel_while_held(stack: &Keyfleet, job: &Job) -> Result<Answer> {
    let release = async {
        job.wait_until_aborted().await?;
        stack.sim.release().await
    };
    let (answer, released) = tokio::join!(job.cancel(), release);
    released?;
    answer
}

async fn while_keys_are_read(stack: &Keyfleet) -> Result<()> {
    let keys = stack.sim.make_keys(500, "Disabled").await?;
    stack.sim.hold("DescribeKey").await?;
    let job = stack.create("enablekey", &keys).await?;
    stack.sim.wait_until_held(1).await?;
    let answer = cancel_while_held(stack, &job).await?.expect(200)?.job()?;
    assert_eq!((answer.overall_status.as_str(), answer.abort), ("canceled", true));
    verdict::statuses_are_true(&stack.sim, &answer, "Disabled", "Enabled").await?;
    // A worker that had not heard of the abort yet may have gone on; whatever it sent arrived before the answer.
    assert_eq!(answer.counts.succeeded, stack.sim.log_of(&keys).await?.len());
    // Two workers read at most 128 keys each; the others were never begun.
    ensure!(answer.counts.canceled >= 500 - 2 * 128, "{:?}", answer.counts);
    Ok(())
}

async fn while_requests_are_under_way(stack: &Keyfleet) -> Result<()> {
    let keys = stack.sim.make_keys(800, "Disabled").await?;
    stack.sim.hold("EnableKey").await?;
    let job = stack.create("enablekey", &keys).await?;
    stack.sim.wait_until_held(20).await?;
    let answer = cancel_while_held(stack, &job).await?.expect(200)?.job()?;
    verdict::statuses_are_true(&stack.sim, &answer, "Disabled", "Enabled").await?;
    let sent = stack.sim.log_of(&keys).await?.len();
    ensure!(answer.counts.succeeded >= 20, "what was under way has ended, and is told: {:?}", answer.counts);
    assert_eq!(answer.counts.succeeded, sent);
    ensure!(answer.counts.canceled > 0, "{:?}", answer.counts);
    assert_eq!(answer.overall_status, "canceled");
    Ok(())
}

async fn after_its_end(stack: &Keyfleet) -> Result<()> {
    let keys = stack.sim.make_keys(10, "Disabled").await?;
    let job = stack.create("enablekey", &keys).await?;
    let ended = job.wait_until_ended().await?;
    let answer = job.cancel().await?.expect(200)?.job()?;
    assert!(answer.abort);
    let unchanged = |view: JobView| JobView { abort: false, updated_at: String::new(), ..view };
    assert_eq!(unchanged(answer), unchanged(ended), "nothing else has changed");
    assert!(job.now().await?.abort);
    Ok(())
}

async fn twice_at_once_and_again(stack: &Keyfleet) -> Result<()> {
    let keys = stack.sim.make_keys(500, "Disabled").await?;
    stack.sim.hold("EnableKey").await?;
    let job = stack.create("enablekey", &keys).await?;
    stack.sim.wait_until_held(1).await?;
    let (one, other) = tokio::join!(cancel_while_held(stack, &job), job.cancel());
    let (one, other) = (one?.expect(200)?.job()?, other?.expect(200)?.job()?);
    let again = job.cancel().await?.expect(200)?.job()?;
    assert_eq!(one.detailed_status, other.detailed_status);
    assert_eq!(again, job.now().await?);
    assert_eq!(again.detailed_status, one.detailed_status);
    verdict::statuses_are_true(&stack.sim, &again, "Disabled", "Enabled").await
}

async fn with_any_body(stack: &Keyfleet) -> Result<()> {
    const JSON: Option<&str> = Some("application/json");
    for (content_type, body) in [
        (None, ""),
        (JSON, ""),
        (JSON, "{}"),
        (JSON, "no JSON"),
        (JSON, r#"{"reason": ["any"]}"#),
        (Some("text/plain"), "please stop"),
        (Some("application/octet-stream"), "\u{0}\u{1}"),
    ] {
        let keys = stack.sim.make_keys(200, "Disabled").await?;
        let job = stack.create("enablekey", &keys).await?;
        let mut call = stack.admin.call(Method::POST, &job.path("/cancel")).body(body);
        if let Some(content_type) = content_type {
            call = call.header("Content-Type", content_type);
        }
        if body.is_empty() {
            call = call.header("Content-Length", "0");
        }
        let answer = call.send().await?.expect(200)?.job()?;
        assert!(answer.abort, "{content_type:?} {body:?}");
        verdict::statuses_are_true(&stack.sim, &answer, "Disabled", "Enabled").await?;
    }
    Ok(())
}

async fn not_by_a_stranger_and_not_without_the_permission(stack: &Keyfleet) -> Result<()> {
    let keys = stack.sim.make_keys(20, "Disabled").await?;
    stack.sim.hold("EnableKey").await?;
    let job = stack.create("enablekey", &keys).await?;
    stack.sim.wait_until_held(20).await?;
    job.seen_by(&stack.stranger).cancel().await?.refuses(404, 16, "")?;
    job.seen_by(&stack.nobody).cancel().await?.refuses(403, 6, "keybulkoperation")?;
    assert!(!job.now().await?.abort, "nobody was told to stop");
    stack.sim.release().await?;
    let ended = job.wait_until_ended().await?;
    verdict::all_succeeded(&stack.sim, &ended, "Enabled").await?;
    job.seen_by(&stack.stranger).cancel().await?.refuses(404, 16, "")?;
    assert!(!job.now().await?.abort);
    Ok(())
}

/// A job that was canceled, and what was so when the answer came.
struct Canceled {
    keys: Vec<String>,
    /// The last request that had arrived.
    last_arrived: u64,
    /// Wall clock, nanoseconds since 1970.
    answered_at_ns: u64,
}

/// Short form; `CANCELS=200` is the long one.
const CANCELS: u32 = 10;

async fn at_random_moments(stack: &Keyfleet) -> Result<()> {
    let cancels = std::env::var("CANCELS").ok().map_or(Ok(CANCELS), |text| text.parse())?;
    let seed: u64 = std::env::var("SEED").ok().map_or_else(|| Ok(rand::random()), |text| text.parse())?;
    println!("    {cancels} cancels (CANCELS=), SEED={seed}");
    let mut chance = StdRng::seed_from_u64(seed);
    let mut canceled = Vec::new();
    let mut midway = 0;
    let mut last_arrived = stack.sim.mark(0).await?;
    for _ in 0..cancels {
        let keys = stack.sim.make_keys(2_000, "Disabled").await?;
        stack.sim.configure(&json!({"latency_ms": {"mean": 20, "p99": 60}})).await?;
        let job = stack.create("enablekey", &keys).await?;
        wait_until_sent(stack, last_arrived, chance.random_range(0..2_000)).await?;
        let answer = job.cancel().await?;
        let answered_at_ns = u64::try_from(service_kit::clock::wall().unix_timestamp_nanos())?;
        answer.expect(200)?;
        last_arrived = stack.sim.mark(last_arrived).await?;
        canceled.push(Canceled { keys, last_arrived, answered_at_ns });

        let job = job.now().await?;
        verdict::statuses_are_true(&stack.sim, &job, "Disabled", "Enabled").await?;
        midway += u32::from(job.counts.canceled > 0 && job.counts.succeeded > 0);
    }
    println!("    {midway} of {cancels} found the job midway");
    ensure!(midway * 2 > cancels, "only {midway} of {cancels} cancels found the job midway");

    let jobs: HashMap<&str, &Canceled> =
        canceled.iter().flat_map(|job| job.keys.iter().map(move |key| (key.as_str(), job))).collect();
    let mut late = 0;
    for row in stack.sim.log_after(0).await?.iter().filter(|row| row.is_mutating()) {
        let job = row.key.as_deref().and_then(|key| jobs.get(key));
        late += usize::from(job.is_some_and(|job| row.n > job.last_arrived || row.at_ns > job.answered_at_ns));
    }
    assert_eq!(late, 0, "mutating requests that arrived after their job's cancel was answered");
    Ok(())
}

/// Waits until so many mutating requests have arrived after the one of this number.
async fn wait_until_sent(stack: &Keyfleet, after: u64, requests: usize) -> Result<()> {
    let (mut seen, mut sent) = (after, 0);
    until("a random moment of a job", async || {
        for row in stack.sim.log_after(seen).await? {
            seen = row.n;
            sent += usize::from(row.is_mutating());
        }
        Ok((sent >= requests).then_some(()))
    })
    .await
}
