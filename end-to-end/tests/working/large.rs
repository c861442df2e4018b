//! A job of 100,000 keys: created, read whole, stopped, in bounded memory.

use std::fs;

use anyhow::{Context, Result, ensure};
use end_to_end::caller::BULKJOB;
use end_to_end::{Keyfleet, StackSettings, scenarios, verdict};
use serde_json::json;

const KEYS: usize = 100_000;

/// What no service may exceed, in kB.
const MOST_MEMORY_KB: u64 = 150 * 1024;

#[tokio::test(flavor = "multi_thread")]
async fn large_jobs_are_jobs() {
    let settings = StackSettings { quota: "off".to_owned(), ..StackSettings::default() };
    let stack = Keyfleet::start(settings).await.unwrap();
    scenarios!(stack; a_hundred_thousand_keys_are_created_read_and_stopped, no_service_has_grown_beyond_its_bound);
}

async fn a_hundred_thousand_keys_are_created_read_and_stopped(stack: &Keyfleet) -> Result<()> {
    let keys = stack.sim.make_keys(KEYS, "Disabled").await?;
    let created = stack.admin.post(BULKJOB, &json!({"operation": "enablekey", "keys": keys})).await?.expect(201)?;
    ensure!(created.body.get("keys").is_none(), "create leaves the keys of a large job out");
    ensure!(created.body.get("detailed_status").is_none(), "likewise the statuses");
    let job = end_to_end::Job::of(stack.admin.clone(), created)?;
    assert_eq!(job.created.counts.total, KEYS);
    job.wait_until_done(1_000).await?;

    let listed = stack.admin.list(&format!("?id={}", job.id)).await?;
    ensure!(listed["resources"][0].get("keys").is_none(), "so does the list");
    let running = job.now().await?;
    assert_eq!(running.keys, keys, "the whole job has all keys in the caller's order");
    assert_eq!(running.detailed_status.len(), KEYS);

    let answer = job.cancel().await?.expect(200)?;
    ensure!(answer.body.get("keys").is_none(), "and cancel");
    let last_arrived = stack.sim.mark(0).await?;
    let ended = job.now().await?;
    ended.check()?;
    assert_eq!(ended.keys, keys);
    assert_eq!(ended.counts, answer.job()?.counts);
    assert_eq!(ended.overall_status, "canceled");
    ensure!(ended.counts.succeeded >= 1_000 && ended.counts.canceled > 0, "{:?}", ended.counts);

    let page = job.keys(&format!("?skip={}&limit=2000", KEYS - 10)).await?;
    assert_eq!((page.total, page.resources.len()), (KEYS, 10));
    let canceled = job.keys("?status=canceled&limit=2000&skip=1").await?;
    assert_eq!(
        (canceled.total, canceled.resources.len()),
        (ended.counts.canceled, 2_000.min(ended.counts.canceled - 1))
    );

    verdict::successes_were_granted(&stack.sim, &ended).await?;
    let late = stack.sim.log_after(last_arrived).await?;
    ensure!(late.iter().all(|row| !row.is_mutating()), "requests arrived after the answer");
    Ok(())
}

async fn no_service_has_grown_beyond_its_bound(stack: &Keyfleet) -> Result<()> {
    for part in stack.parts.names().filter(|name| *name != "kms-sim") {
        let peak = peak_memory_kb(stack.parts.pid(part))?;
        println!("    {part}: {} MB at its peak", peak / 1024);
        ensure!(peak < MOST_MEMORY_KB, "{part} took {peak} kB");
    }
    Ok(())
}

/// The most resident memory the process ever had (`VmHWM` of proc(5)), in kB.
fn peak_memory_kb(pid: u32) -> Result<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).context("the process's status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).context("VmHWM")?;
    line.trim().trim_end_matches(" kB").parse().context("VmHWM")
}
