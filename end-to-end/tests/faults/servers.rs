//! Postgres and RabbitMQ that are killed midway, and everything killed at once.

use anyhow::{Result, ensure};
use end_to_end::caller::BULKJOB;
use end_to_end::{Keyfleet, Signal, scenarios, verdict};
use serde_json::json;

#[tokio::test(flavor = "multi_thread")]
async fn servers_are_lost() {
    let stack = Keyfleet::start(crate::breakable()).await.unwrap();
    scenarios!(stack;
        postgres_killed_midway_and_restarted_costs_no_key,
        rabbitmq_killed_midway_and_restarted_costs_no_key,
        jobs_are_read_and_stopped_without_rabbitmq,
        everything_killed_at_once_costs_no_key,
    );
}

async fn postgres_killed_midway_and_restarted_costs_no_key(stack: &Keyfleet) -> Result<()> {
    let job = crate::job_midway(stack).await?;
    stack.signal("postgres", Signal::KILL)?;
    let order = json!({"operation": "enablekey", "keys": ["a"]});
    let refused = stack.admin.post(BULKJOB, &order).await?;
    refused.refuses(503, 8, "")?;
    ensure!(refused.header("retry-after").parse::<u32>().is_ok(), "Retry-After");
    stack.parts.restart("postgres").await?;
    let ended = job.wait_until_ended().await?;
    verdict::all_succeeded(&stack.sim, &ended, "Enabled").await
}

async fn rabbitmq_killed_midway_and_restarted_costs_no_key(stack: &Keyfleet) -> Result<()> {
    let job = crate::job_midway(stack).await?;
    stack.signal("rabbitmq", Signal::KILL)?;
    // A job that is created now waits for its messages.
    let keys = stack.sim.make_keys(10, "Disabled").await?;
    let waiting = stack.create("enablekey", &keys).await?;
    stack.parts.restart("rabbitmq").await?;
    for job in [job, waiting] {
        let ended = job.wait_until_ended().await?;
        verdict::all_succeeded(&stack.sim, &ended, "Enabled").await?;
    }
    Ok(())
}

async fn jobs_are_read_and_stopped_without_rabbitmq(stack: &Keyfleet) -> Result<()> {
    let job = crate::job_midway(stack).await?;
    stack.signal("rabbitmq", Signal::KILL)?;
    assert_eq!(job.now().await?.detailed_status.len(), 1_000);
    let answer = job.cancel().await?.expect(200)?;
    assert!(answer.job()?.abort);
    let ended = job.now().await?;
    let last_arrived = stack.sim.mark(0).await?;
    verdict::statuses_are_true(&stack.sim, &ended, "Disabled", "Enabled").await?;
    ensure!(ended.counts.canceled > 0, "{:?}", ended.counts);
    stack.parts.restart("rabbitmq").await?;

    // What the broker still had of the job comes back, and is not run.
    let keys = stack.sim.make_keys(100, "Disabled").await?;
    let next = stack.create("enablekey", &keys).await?.wait_until_ended().await?;
    verdict::all_succeeded(&stack.sim, &next, "Enabled").await?;
    let mut late = stack.sim.log_of(&ended.keys).await?;
    late.retain(|row| row.n > last_arrived);
    ensure!(late.is_empty(), "requests of a finished job: {late:?}");
    Ok(())
}

async fn everything_killed_at_once_costs_no_key(stack: &Keyfleet) -> Result<()> {
    let job = crate::job_midway(stack).await?;
    // All but the KMS end, which is not ours.
    let parts: Vec<String> =
        stack.parts.names().filter(|name| !["kms-sim", "epmd"].contains(name)).map(str::to_owned).collect();
    for part in &parts {
        stack.signal(part, Signal::KILL)?;
    }
    for server in ["postgres", "rabbitmq"] {
        stack.parts.restart(server).await?;
    }
    let services = || parts.iter().filter(|name| !["postgres", "rabbitmq"].contains(&name.as_str()));
    for service in services() {
        stack.parts.start_again(service)?;
    }
    for service in services() {
        stack.parts.await_ready(service).await?;
    }
    let ended = job.wait_until_ended().await?;
    verdict::all_succeeded(&stack.sim, &ended, "Enabled").await
}
