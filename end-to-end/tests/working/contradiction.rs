//! Jobs that contradict each other, and messages that come again after their time.

use anyhow::{Result, ensure};
use end_to_end::{Counts, Keyfleet, offers, scenarios, verdict};
use serde_json::json;

#[tokio::test(flavor = "multi_thread")]
async fn the_last_word_counts() {
    let stack = Keyfleet::start(crate::patient()).await.unwrap();
    scenarios!(stack;
        of_two_contradicting_jobs_the_second_wins_although_reads_lag,
        of_two_contradicting_policies_the_second_wins_although_reads_lag,
        an_old_task_that_is_delivered_again_after_the_opposite_was_done_does_nothing,
        a_running_task_that_is_delivered_again_does_not_run_twice,
    );
}

async fn of_two_contradicting_jobs_the_second_wins_although_reads_lag(stack: &Keyfleet) -> Result<()> {
    let keys = stack.sim.make_keys(200, "Enabled").await?;
    stack.sim.configure(&json!({"read_lag_ms": 2000})).await?;
    let first = stack.create("disablekey", &keys).await?.wait_until_ended().await?;
    // At once: the KMS end still reads Enabled.
    let second = stack.create("enablekey", &keys).await?.wait_until_ended().await?;
    verdict::all_are_success(&first)?;
    verdict::all_succeeded(&stack.sim, &second, "Enabled").await?;
    let log = stack.sim.log_of(&keys).await?;
    let count = |op: &str| log.iter().filter(|row| row.op == op && row.status == 200).count();
    assert_eq!((count("DisableKey"), count("EnableKey")), (200, 200));
    Ok(())
}

async fn of_two_contradicting_policies_the_second_wins_although_reads_lag(stack: &Keyfleet) -> Result<()> {
    let keys = stack.sim.make_keys(20, "Enabled").await?;
    let policy = |sid: &str| {
        json!({"Version": "2012-10-17", "Statement": [{"Sid": sid, "Effect": "Allow",
            "Principal": {"AWS": "arn:aws:iam::111122223333:root"}, "Action": "kms:*", "Resource": "*"}]})
    };
    stack.sim.configure(&json!({"read_lag_ms": 2000})).await?;
    let mut templates = Vec::new();
    for sid in ["one", "two"] {
        let made = json!({"name": sid, "policy": policy(sid)});
        templates.push(stack.admin.post(end_to_end::caller::TEMPLATES, &made).await?.expect(201)?.body["id"].clone());
    }
    // There and back: the third is what reads tell before the second is seen.
    for template in [0, 1, 0].map(|n| &templates[n]) {
        let order = json!({"operation": "applypolicytemplate", "policy_template_id": template, "keys": keys});
        verdict::all_are_success(&stack.admin.create_as(&order).await?.wait_until_ended().await?)?;
    }
    stack.sim.calm().await?;
    for key in &keys {
        let told = stack.sim.ask("GetKeyPolicy", key, end_to_end::kms_end::REGION).await?;
        ensure!(told["Policy"].as_str().unwrap_or_default().contains("\"one\""), "{told}");
    }
    Ok(())
}

async fn an_old_task_that_is_delivered_again_after_the_opposite_was_done_does_nothing(stack: &Keyfleet) -> Result<()> {
    let keys = stack.sim.make_keys(50, "Enabled").await?;
    let old = stack.create("disablekey", &keys).await?;
    let told = old.wait_until_ended().await?;
    let new = stack.create("enablekey", &keys).await?.wait_until_ended().await?;
    let log = stack.sim.log_of(&keys).await?;

    offers::deliver_again_and_settle(stack, &old).await?;

    assert_eq!(stack.sim.log_of(&keys).await?, log, "nothing more is sent");
    verdict::all_succeeded(&stack.sim, &new, "Enabled").await?;
    assert_eq!(old.now().await?, told, "the finished job has not changed");
    Ok(())
}

async fn a_running_task_that_is_delivered_again_does_not_run_twice(stack: &Keyfleet) -> Result<()> {
    let keys = stack.sim.make_keys(40, "Disabled").await?;
    stack.sim.hold("EnableKey").await?;
    let job = stack.create("enablekey", &keys).await?;
    stack.sim.wait_until_held(40).await?;
    offers::deliver_again(stack, &job).await?;
    stack.sim.release().await?;
    let job = job.wait_until_ended().await?;
    verdict::all_succeeded(&stack.sim, &job, "Enabled").await?;
    assert_eq!(job.counts, Counts { total: 40, succeeded: 40, ..Counts::default() });
    assert_eq!(stack.sim.log_of(&keys).await?.len(), 40, "each key was written once");
    Ok(())
}
