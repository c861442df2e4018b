//! Requests that KMS does not answer, or refuses for their pace.

use anyhow::{Result, ensure};
use end_to_end::patience::until;
use end_to_end::{Counts, Keyfleet, ServersFrom, StackSettings, scenarios, verdict};
use serde_json::json;

#[tokio::test(flavor = "multi_thread")]
async fn kms_does_not_answer() {
    let settings = StackSettings { servers: ServersFrom::Shared, ..crate::breakable() };
    let stack = Keyfleet::start(settings).await.unwrap();
    scenarios!(stack;
        an_unanswered_try_that_took_effect_is_told_as_success_by_a_cancel,
        an_unanswered_try_that_took_no_effect_is_told_as_canceled_by_a_cancel,
        unanswered_tries_are_tried_again,
        faults_that_pass_are_tried_again,
        throttling_slows_a_job_and_fails_no_key,
        refusals_are_told_in_the_kms_end_s_own_words,
    );
}

/// Cancels a job of which one request is under way and will never be answered; gives that key's status.
async fn cancel_with_an_unanswered_try(stack: &Keyfleet, fault: &str) -> Result<String> {
    let keys = stack.sim.make_keys(1, "Disabled").await?;
    stack.sim.configure(&json!({"next": [{"op": "EnableKey", "key": keys[0], "fault": fault}]})).await?;
    let job = stack.create("enablekey", &keys).await?;
    until("the request that is not answered", async || Ok(stack.sim.log_of(&keys).await?.first().cloned())).await?;
    let answer = job.cancel().await?.expect(200)?.job()?;
    verdict::statuses_are_true(&stack.sim, &answer, "Disabled", "Enabled").await?;
    let log = stack.sim.log_of(&keys).await?;
    assert_eq!(log.len(), 1, "a doubtful key is looked at, not written again: {log:?}");
    assert!(answer.abort);
    Ok(answer.status(&keys[0])?.to_owned())
}

async fn an_unanswered_try_that_took_effect_is_told_as_success_by_a_cancel(stack: &Keyfleet) -> Result<()> {
    assert_eq!(cancel_with_an_unanswered_try(stack, "timeout_after").await?, "Success");
    Ok(())
}

async fn an_unanswered_try_that_took_no_effect_is_told_as_canceled_by_a_cancel(stack: &Keyfleet) -> Result<()> {
    assert_eq!(cancel_with_an_unanswered_try(stack, "timeout_before").await?, "Canceled");
    Ok(())
}

/// What a job does about faults of single requests that pass.
async fn passes(stack: &Keyfleet, operation: &str, op: &str, asked: &str, faults: &[&str]) -> Result<()> {
    let keys = stack.sim.make_keys(20, "Enabled").await?;
    let next: Vec<_> =
        faults.iter().zip(&keys).map(|(fault, key)| json!({"op": op, "key": key, "fault": fault})).collect();
    stack.sim.configure(&json!({"next": next})).await?;
    let job = stack.create(operation, &keys).await?.wait_until_ended().await?;
    verdict::all_succeeded(&stack.sim, &job, asked).await?;
    assert_eq!(job.counts, Counts { total: 20, succeeded: 20, ..Counts::default() });
    let log = stack.sim.log_of(&keys).await?;
    ensure!(log.iter().filter(|row| row.error.is_some()).count() == faults.len(), "the faults came to pass: {log:?}");
    Ok(())
}

async fn unanswered_tries_are_tried_again(stack: &Keyfleet) -> Result<()> {
    let faults = ["timeout_before", "timeout_after", "disconnect_before", "disconnect_after"];
    passes(stack, "disablekey", "DisableKey", "Disabled", &faults).await?;
    // The second try of a deletion that took effect is refused, and is a success all the same.
    passes(stack, "schedulekeydeletion", "ScheduleKeyDeletion", "PendingDeletion", &faults).await
}

async fn faults_that_pass_are_tried_again(stack: &Keyfleet) -> Result<()> {
    let faults = [
        "ThrottlingException",
        "DependencyTimeoutException",
        "KMSInternalException",
        "KeyUnavailableException",
        "ThrottlingException",
    ];
    passes(stack, "disablekey", "DisableKey", "Disabled", &faults).await
}

async fn throttling_slows_a_job_and_fails_no_key(stack: &Keyfleet) -> Result<()> {
    let keys = stack.sim.make_keys(150, "Disabled").await?;
    // The scheduler knows of no quota.
    stack.sim.configure(&json!({"quota": {"EnableKey": 50}})).await?;
    let job = stack.create("enablekey", &keys).await?.wait_until_ended().await?;
    let log = stack.sim.log_of(&keys).await?;
    let throttled = log.iter().filter(|row| row.error.as_deref() == Some("ThrottlingException")).count();
    ensure!(throttled > 0, "the quota was not met");
    assert_eq!(log.iter().filter(|row| row.status == 200).count(), 150);
    stack.sim.calm().await?;
    verdict::all_succeeded(&stack.sim, &job, "Enabled").await
}

async fn refusals_are_told_in_the_kms_end_s_own_words(stack: &Keyfleet) -> Result<()> {
    let keys = stack.sim.make_keys(3, "Disabled").await?;
    let refusals = ["AccessDeniedException", "LimitExceededException", "UnsupportedOperationException"];
    let next: Vec<_> =
        refusals.iter().zip(&keys).map(|(fault, key)| json!({"op": "EnableKey", "key": key, "fault": fault})).collect();
    stack.sim.configure(&json!({"next": next})).await?;
    let job = stack.create("enablekey", &keys).await?.wait_until_ended().await?;
    for (key, code) in keys.iter().zip(refusals) {
        let status = job.status(key)?;
        ensure!(status.starts_with(&format!("Failed: {code}: ")), "{status}");
    }
    assert_eq!((job.overall_status.as_str(), job.counts.failed), ("error", 3));
    assert_eq!(stack.sim.log_of(&keys).await?.len(), 3, "what is final is not tried again");
    Ok(())
}
