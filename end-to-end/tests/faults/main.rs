//! Parts that die, freeze and come back, requests that go unanswered, quotas that are lower than thought.

mod schedulers;
mod servers;
mod settings;
mod start;
mod unanswered;
mod workers;

use anyhow::Result;
use end_to_end::{Job, Keyfleet, ServersFrom, StackSettings};
use serde_json::json;

/// A stack that may be broken: servers of its own, and leases short enough that a lost part is missed soon.
fn breakable() -> StackSettings {
    StackSettings { quota: "off".to_owned(), servers: ServersFrom::Own, ..StackSettings::default() }
        .with_env("job-scheduler", "LEASE", "1s")
        .with_env("job-scheduler", "OPERATION_TIMEOUT", "1s")
        .with_env("job-scheduler", "TERM_OF_LEADERSHIP", "1500ms")
        .with_env("kms-worker", "OPERATION_TIMEOUT", "1s")
        // Few at once, so that much of a job is always still to do.
        .with_env("kms-worker", "CONCURRENCY", "16")
}

/// A job over 1,000 disabled keys that is midway: some are enabled, most are not.
async fn job_midway(stack: &Keyfleet) -> Result<Job> {
    let keys = stack.sim.make_keys(1_000, "Disabled").await?;
    stack.sim.configure(&json!({"latency_ms": {"mean": 50}})).await?;
    let job = stack.create("enablekey", &keys).await?;
    let midway = job.wait_until_done(50).await?;
    anyhow::ensure!(midway.counts.in_progress > 100, "too late to break anything: {:?}", midway.counts);
    Ok(job)
}
