//! Workers that are lost, frozen and thawed.

use std::collections::BTreeSet;

use anyhow::{Result, ensure};
use end_to_end::patience::until;
use end_to_end::{Counts, Job, Keyfleet, ServersFrom, Signal, StackSettings, scenarios, verdict};

#[tokio::test(flavor = "multi_thread")]
async fn workers_are_lost() {
    // The second gateway waits for a job's stop much shorter than a lost worker is waited for.
    let settings = StackSettings { servers: ServersFrom::Shared, gateways: 2, ..crate::breakable() }.with_env(
        "api-gateway-2",
        "CANCEL_WAIT",
        "200ms",
    );
    let stack = Keyfleet::start(settings).await.unwrap();
    scenarios!(stack;
        a_worker_killed_midway_costs_no_key,
        a_job_with_a_worker_killed_midway_can_be_canceled,
        all_workers_killed_midway_and_restarted_cost_no_key,
        a_job_that_no_worker_has_begun_is_canceled_whole,
        a_worker_that_is_told_to_end_gives_its_work_back,
        a_worker_frozen_between_reading_and_writing_sends_nothing_when_it_thaws,
        a_worker_frozen_with_requests_under_way_leaves_no_doubt_behind,
        a_frozen_worker_does_not_keep_a_job_from_its_end,
    );
}

const FROZEN: &str = "kms-worker-1";

async fn ends_with_all_keys_enabled(stack: &Keyfleet, job: &Job) -> Result<()> {
    let job = job.wait_until_ended().await?;
    verdict::all_succeeded(&stack.sim, &job, "Enabled").await
}

async fn a_worker_killed_midway_costs_no_key(stack: &Keyfleet) -> Result<()> {
    let job = crate::job_midway(stack).await?;
    stack.signal("kms-worker-1", Signal::KILL)?;
    ends_with_all_keys_enabled(stack, &job).await?;
    stack.parts.restart("kms-worker-1").await
}

async fn a_job_with_a_worker_killed_midway_can_be_canceled(stack: &Keyfleet) -> Result<()> {
    let job = crate::job_midway(stack).await?;
    stack.signal("kms-worker-2", Signal::KILL)?;
    job.cancel().await?.expect(200)?;
    let last_arrived = stack.sim.mark(0).await?;
    let ended = job.now().await?;
    verdict::statuses_are_true(&stack.sim, &ended, "Disabled", "Enabled").await?;
    stack.parts.restart("kms-worker-2").await?;
    work_through(stack, "kms-worker-2").await?;
    sends_nothing_after(stack, &ended.keys, last_arrived).await
}

async fn all_workers_killed_midway_and_restarted_cost_no_key(stack: &Keyfleet) -> Result<()> {
    let job = crate::job_midway(stack).await?;
    for worker in stack.workers() {
        stack.signal(&worker, Signal::KILL)?;
    }
    assert_eq!(job.now().await?.overall_status, "in_progress", "nobody is left to look");
    for worker in stack.workers() {
        stack.parts.restart(&worker).await?;
    }
    ends_with_all_keys_enabled(stack, &job).await
}

async fn a_job_that_no_worker_has_begun_is_canceled_whole(stack: &Keyfleet) -> Result<()> {
    for worker in stack.workers() {
        stack.signal(&worker, Signal::KILL)?;
    }
    let keys = stack.sim.make_keys(200, "Disabled").await?;
    let job = stack.create("enablekey", &keys).await?;
    let canceled = job.cancel().await?.expect(200)?.job()?;
    assert_eq!(canceled.counts, Counts { total: 200, canceled: 200, ..Counts::default() });
    for worker in stack.workers() {
        stack.parts.restart(&worker).await?;
        work_through(stack, &worker).await?;
    }
    verdict::statuses_are_true(&stack.sim, &job.now().await?, "Disabled", "Enabled").await?;
    assert_eq!(stack.sim.log_of(&keys).await?, [], "nothing was ever sent");
    Ok(())
}

async fn a_worker_that_is_told_to_end_gives_its_work_back(stack: &Keyfleet) -> Result<()> {
    let job = crate::job_midway(stack).await?;
    // Ends it with a TERM, waits for that, and starts it again.
    stack.parts.restart("kms-worker-1").await?;
    let ended = job.wait_until_ended().await?;
    verdict::all_succeeded(&stack.sim, &ended, "Enabled").await?;
    // What it had begun it finished: no key was left in doubt and written twice.
    assert_eq!(ended.counts, Counts { total: 1_000, succeeded: 1_000, ..Counts::default() });
    assert_eq!(stack.sim.log_of(&ended.keys).await?.len(), 1_000);
    Ok(())
}

/// Cancels a job of which a worker is frozen, and lets the KMS end go on once the abort is known. Gives the job's end.
async fn cancel_with_a_frozen_worker(stack: &Keyfleet, job: &Job) -> Result<end_to_end::JobView> {
    let begun = stack.metric(FROZEN, "keyfleet_worker_open_gos").await?;
    ensure!(begun > 0.0, "the worker to freeze has nothing under way");
    stack.signal(FROZEN, Signal::STOP)?;
    let release = async {
        job.wait_until_aborted().await?;
        stack.sim.release().await
    };
    let impatient = job.seen_by(&stack.admin.at(&stack.parts.urls()[1]));
    let (answer, released) = tokio::join!(impatient.cancel(), release);
    released?;
    // The frozen one may still have something under way: nobody says yet that the job has stopped.
    let stopping = answer?.expect(202)?.job()?;
    assert_eq!((stopping.overall_status.as_str(), stopping.abort), ("in_progress", true));
    let ended = job.cancel().await?.expect(200)?.job()?;
    assert_eq!(ended, job.now().await?);
    verdict::statuses_are_true(&stack.sim, &ended, "Disabled", "Enabled").await?;
    Ok(ended)
}

/// Thaws the worker and has it run other work; of these keys it must not send anything.
async fn thaws_without_sending(stack: &Keyfleet, keys: &[String]) -> Result<()> {
    let last_arrived = stack.sim.mark(0).await?;
    stack.signal(FROZEN, Signal::CONT)?;
    work_through(stack, FROZEN).await?;
    sends_nothing_after(stack, keys, last_arrived).await
}

/// Runs jobs until the worker has taken part in one: whatever it still had from before is behind it then.
async fn work_through(stack: &Keyfleet, worker: &str) -> Result<()> {
    const SUCCEEDED: &str = "keyfleet_worker_tries_total{outcome=\"succeeded\"}";
    let before = stack.metric(worker, SUCCEEDED).await?;
    until(&format!("{worker} to work again"), async || {
        let keys = stack.sim.make_keys(100, "Disabled").await?;
        stack.create("enablekey", &keys).await?.wait_until_ended().await?;
        Ok((stack.metric(worker, SUCCEEDED).await? > before).then_some(()))
    })
    .await
}

async fn sends_nothing_after(stack: &Keyfleet, keys: &[String], last_arrived: u64) -> Result<()> {
    let mut late = stack.sim.log_of(keys).await?;
    late.retain(|row| row.n > last_arrived);
    ensure!(late.is_empty(), "requests of a finished job: {late:?}");
    Ok(())
}

async fn a_worker_frozen_between_reading_and_writing_sends_nothing_when_it_thaws(stack: &Keyfleet) -> Result<()> {
    let keys = stack.sim.make_keys(400, "Disabled").await?;
    stack.sim.hold("DescribeKey").await?;
    let job = stack.create("enablekey", &keys).await?;
    // Both workers read as many keys as they can at once.
    stack.sim.wait_until_held(32).await?;
    // The answers to the frozen one's reading wait in its sockets.
    let ended = cancel_with_a_frozen_worker(stack, &job).await?;
    // The other one may not have heard of the abort yet when it went on with the 16 it had.
    ensure!(ended.counts.canceled >= 400 - 16, "{:?}", ended.counts);
    assert_eq!(stack.sim.log_of(&keys).await?.len(), ended.counts.succeeded);
    thaws_without_sending(stack, &keys).await
}

async fn a_worker_frozen_with_requests_under_way_leaves_no_doubt_behind(stack: &Keyfleet) -> Result<()> {
    let keys = stack.sim.make_keys(400, "Disabled").await?;
    stack.sim.hold("EnableKey").await?;
    let job = stack.create("enablekey", &keys).await?;
    stack.sim.wait_until_held(32).await?;
    // What the frozen one has sent takes effect, and nobody hears of it.
    let ended = cancel_with_a_frozen_worker(stack, &job).await?;
    let sent: BTreeSet<_> = stack.sim.log_of(&keys).await?.into_iter().filter_map(|row| row.key).collect();
    assert_eq!(
        ended.counts,
        Counts { total: 400, succeeded: sent.len(), canceled: 400 - sent.len(), ..Counts::default() }
    );
    ensure!(sent.len() < 400, "too late to freeze anything");
    thaws_without_sending(stack, &keys).await
}

async fn a_frozen_worker_does_not_keep_a_job_from_its_end(stack: &Keyfleet) -> Result<()> {
    let job = crate::job_midway(stack).await?;
    stack.signal(FROZEN, Signal::STOP)?;
    ends_with_all_keys_enabled(stack, &job).await?;
    thaws_without_sending(stack, &job.created.keys).await
}
