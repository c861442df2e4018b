//! Schedulers and gateways that are lost midway.

use anyhow::{Context, Result, ensure};
use end_to_end::caller::BULKJOB;
use end_to_end::patience::until;
use end_to_end::{Keyfleet, ServersFrom, Signal, StackSettings, scenarios, verdict};
use reqwest::Method;
use serde_json::json;

#[tokio::test(flavor = "multi_thread")]
async fn schedulers_and_gateways_are_lost() {
    let settings = StackSettings { servers: ServersFrom::Shared, ..crate::breakable() };
    let stack = Keyfleet::start(settings).await.unwrap();
    scenarios!(stack;
        the_standby_leads_when_the_leader_is_killed_midway,
        a_job_is_canceled_over_a_change_of_the_leader,
        a_killed_standby_is_not_missed,
        a_frozen_leader_leads_no_more_when_it_thaws,
        a_leader_that_is_told_to_end_hands_over,
        a_killed_gateway_costs_nothing_and_a_create_can_be_repeated,
    );
}

async fn the_standby_leads_when_the_leader_is_killed_midway(stack: &Keyfleet) -> Result<()> {
    let job = crate::job_midway(stack).await?;
    let (leader, standby) = (stack.leader().await?, stack.standby().await?);
    stack.signal(&leader, Signal::KILL)?;
    let ended = job.wait_until_ended().await?;
    verdict::all_succeeded(&stack.sim, &ended, "Enabled").await?;
    assert_eq!(stack.leader().await?, standby);
    stack.parts.restart(&leader).await
}

async fn a_job_is_canceled_over_a_change_of_the_leader(stack: &Keyfleet) -> Result<()> {
    let job = crate::job_midway(stack).await?;
    let leader = stack.leader().await?;
    stack.sim.hold("EnableKey").await?;
    stack.sim.wait_until_held(1).await?;
    let kill = async {
        job.wait_until_aborted().await?;
        stack.signal(&leader, Signal::KILL)?;
        stack.sim.release().await
    };
    let (answer, killed) = tokio::join!(job.cancel(), kill);
    killed?;
    // A 503 may still take effect, a 202 says that it does, and a repeated cancel changes nothing.
    let answer = answer?;
    ensure!([200, 202, 503].contains(&answer.status), "cancel answered {}: {}", answer.status, answer.text);
    let ended = job.wait_until_ended().await?;
    ensure!(ended.abort && ended.overall_status == "canceled", "{}", ended.overall_status);
    let last_arrived = stack.sim.mark(0).await?;
    verdict::statuses_are_true(&stack.sim, &ended, "Disabled", "Enabled").await?;
    stack.parts.restart(&leader).await?;
    job.cancel().await?.expect(200)?;
    let late = stack.sim.log_after(last_arrived).await?;
    ensure!(late.iter().all(|row| !row.is_mutating()), "requests of a finished job");
    Ok(())
}

async fn a_killed_standby_is_not_missed(stack: &Keyfleet) -> Result<()> {
    let job = crate::job_midway(stack).await?;
    let (leader, standby) = (stack.leader().await?, stack.standby().await?);
    stack.signal(&standby, Signal::KILL)?;
    let ended = job.wait_until_ended().await?;
    verdict::all_succeeded(&stack.sim, &ended, "Enabled").await?;
    assert_eq!(stack.leader().await?, leader);
    stack.parts.restart(&standby).await
}

async fn a_frozen_leader_leads_no_more_when_it_thaws(stack: &Keyfleet) -> Result<()> {
    let job = crate::job_midway(stack).await?;
    let (leader, standby) = (stack.leader().await?, stack.standby().await?);
    stack.signal(&leader, Signal::STOP)?;
    until("the standby to lead", async || Ok((stack.metric(&standby, "keyfleet_leading").await? == 1.0).then_some(())))
        .await?;
    stack.signal(&leader, Signal::CONT)?;
    let ended = job.wait_until_ended().await?;
    verdict::all_succeeded(&stack.sim, &ended, "Enabled").await?;
    until("the thawed one to stand by", async || {
        Ok((stack.metric(&leader, "keyfleet_leading").await? == 0.0).then_some(()))
    })
    .await
}

async fn a_leader_that_is_told_to_end_hands_over(stack: &Keyfleet) -> Result<()> {
    let job = crate::job_midway(stack).await?;
    let leader = stack.leader().await?;
    stack.parts.restart(&leader).await?;
    let ended = job.wait_until_ended().await?;
    verdict::all_succeeded(&stack.sim, &ended, "Enabled").await
}

async fn a_killed_gateway_costs_nothing_and_a_create_can_be_repeated(stack: &Keyfleet) -> Result<()> {
    let keys = stack.sim.make_keys(300, "Disabled").await?;
    let body = json!({"operation": "enablekey", "keys": keys});
    let create = async || {
        stack.admin.call(Method::POST, BULKJOB).header("Idempotency-Key", "e2e-gateway").json(&body).send().await
    };
    stack.sim.hold("EnableKey").await?;
    let job = end_to_end::Job::of(stack.admin.clone(), create().await?)?;
    stack.sim.wait_until_held(16).await?;
    stack.signal("api-gateway", Signal::KILL)?;
    stack.sim.release().await?;
    ensure!(create().await.is_err(), "a killed gateway has answered");
    stack.parts.restart("api-gateway").await?;
    let repeated = create().await?.expect(201)?.job().context("the repeated create")?;
    assert_eq!(repeated.id, job.id);
    let ended = job.wait_until_ended().await?;
    verdict::all_succeeded(&stack.sim, &ended, "Enabled").await?;
    Ok(())
}
