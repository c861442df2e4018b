//! Jobs that run to their end, and what they leave behind at the KMS end.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Result, ensure};
use end_to_end::caller::TEMPLATES;
use end_to_end::kms_end::{REGION, arn};
use end_to_end::{Counts, Keyfleet, StackSettings, scenarios, verdict};
use serde_json::json;

#[tokio::test(flavor = "multi_thread")]
async fn jobs_run() {
    let settings = StackSettings { quota: "off".to_owned(), ..StackSettings::default() };
    let stack = Keyfleet::start(settings).await.unwrap();
    scenarios!(stack;
        a_thousand_keys_are_enabled_through_two_workers_and_then_cost_nothing,
        each_operation_ends_in_the_state_that_aws_s_table_says,
        a_deletion_at_the_asked_date_is_there_already_and_at_another_is_refused,
        a_policy_template_is_applied,
        keys_are_named_by_id_or_arn_and_what_nobody_knows_fails_alone,
        the_same_text_twice_is_one_task_and_id_and_arn_are_two,
        force_acts_whatever_is_read,
        a_job_with_a_pace_of_its_own_holds_up_no_other,
        a_dry_run_foretells_the_run_and_changes_nothing,
        an_idempotency_key_makes_create_safe_to_repeat,
    );
}

async fn a_thousand_keys_are_enabled_through_two_workers_and_then_cost_nothing(stack: &Keyfleet) -> Result<()> {
    let keys = stack.sim.make_keys(1_000, "Disabled").await?;
    let job = stack.create("enablekey", &keys).await?.wait_until_ended().await?;
    verdict::all_succeeded(&stack.sim, &job, "Enabled").await?;
    assert_eq!(job.counts, Counts { total: 1_000, succeeded: 1_000, ..Counts::default() });
    assert_eq!(job.keys, keys, "keys are echoed in the caller's order");

    let log = stack.sim.log_of(&keys).await?;
    assert_eq!(log.len(), 1_000, "one mutating call per key");
    assert!(log.iter().all(|row| row.op == "EnableKey" && row.status == 200));
    let enabled: BTreeSet<_> = log.iter().filter_map(|row| row.key.as_deref()).collect();
    assert_eq!(enabled.len(), 1_000);
    for worker in stack.workers() {
        let tries = stack.metric(&worker, "keyfleet_worker_tries_total").await?;
        ensure!(tries > 0.0, "{worker} took no part");
    }

    let again = stack.create("enablekey", &keys).await?.wait_until_ended().await?;
    verdict::all_succeeded(&stack.sim, &again, "Enabled").await?;
    assert_eq!(again.counts, Counts { total: 1_000, succeeded: 1_000, already: 1_000, ..Counts::default() });
    assert_eq!(stack.sim.log_of(&keys).await?.len(), 1_000, "no further mutating call");
    Ok(())
}

/// What becomes of a key in a state: its status (an error code stands for `Failed: <code>: …`) and its state afterwards.
type Row = (&'static str, &'static str, &'static str);

async fn each_operation_ends_in_the_state_that_aws_s_table_says(stack: &Keyfleet) -> Result<()> {
    const REFUSED: &str = "KMSInvalidStateException";
    let enable: [Row; 4] = [
        ("Enabled", "Success", "Enabled"),
        ("Disabled", "Success", "Enabled"),
        ("PendingDeletion", REFUSED, "PendingDeletion"),
        ("PendingImport", REFUSED, "PendingImport"),
    ];
    let disable: [Row; 4] = [
        ("Enabled", "Success", "Disabled"),
        ("Disabled", "Success", "Disabled"),
        ("PendingDeletion", REFUSED, "PendingDeletion"),
        ("PendingImport", REFUSED, "PendingImport"),
    ];
    let schedule: [Row; 4] = [
        ("Enabled", "Success", "PendingDeletion"),
        ("Disabled", "Success", "PendingDeletion"),
        ("PendingImport", "Success", "PendingDeletion"),
        ("Unavailable", "Success", "PendingDeletion"),
    ];
    // On a key that was never pending there is nothing to cancel: it is there already.
    let cancel: [Row; 4] = [
        ("PendingDeletion", "Success", "Disabled"),
        ("Enabled", "Success", "Enabled"),
        ("Disabled", "Success", "Disabled"),
        ("PendingImport", "Success", "PendingImport"),
    ];
    for (operation, table) in [
        ("enablekey", enable),
        ("disablekey", disable),
        ("schedulekeydeletion", schedule),
        ("cancelkeydeletion", cancel),
    ] {
        let mut expected = BTreeMap::new();
        for row in table {
            for key in stack.sim.make_keys(3, row.0).await? {
                expected.insert(key, row);
            }
        }
        let keys: Vec<String> = expected.keys().cloned().collect();
        let job = stack.create(operation, &keys).await?.wait_until_ended().await?;
        let states = stack.sim.states(&keys).await?;
        for (key, (before, status, after)) in expected {
            let found = job.status(&key)?;
            let as_expected = match status {
                "Success" => found == "Success",
                code => found.starts_with(&format!("Failed: {code}: ")),
            };
            ensure!(as_expected, "{operation} of a key that was {before}: {found}, not {status}");
            ensure!(states[&key] == after, "{operation} of a key that was {before}: {}, not {after}", states[&key]);
        }
        assert_eq!(job.overall_status, "completed", "some may fail, as long as not all do");
    }
    Ok(())
}

async fn a_deletion_at_the_asked_date_is_there_already_and_at_another_is_refused(stack: &Keyfleet) -> Result<()> {
    let pending = |days: u32| json!({"count": 1, "state": "PendingDeletion", "window_days": days});
    let same = stack.sim.make_keys_as(&pending(9)).await?.remove(0);
    let other = stack.sim.make_keys_as(&pending(20)).await?.remove(0);
    let fresh = stack.sim.make_keys(1, "Enabled").await?.remove(0);
    let keys = [same.clone(), other.clone(), fresh.clone()];
    let order = json!({"operation": "schedulekeydeletion", "days": 9, "keys": keys});
    let job = stack.admin.create_as(&order).await?;
    assert_eq!(job.created.days, Some(9), "days are echoed");
    let job = job.wait_until_ended().await?;
    assert_eq!((job.status(&same)?, job.status(&fresh)?), ("Success", "Success"));
    assert!(job.status(&other)?.starts_with("Failed: KMSInvalidStateException: "), "{}", job.status(&other)?);
    assert_eq!(job.counts.already, 1);
    let told = stack.sim.ask("DescribeKey", &fresh, REGION).await?;
    assert_eq!(told["KeyMetadata"]["KeyState"], "PendingDeletion");
    let span = told["KeyMetadata"]["DeletionDate"].as_f64().zip(told["KeyMetadata"]["CreationDate"].as_f64());
    let days = span.map(|(end, begin)| (end - begin) / 86_400.0);
    ensure!(days.is_some_and(|days| (8.9..9.1).contains(&days)), "deleted after {days:?} days");
    Ok(())
}

async fn a_policy_template_is_applied(stack: &Keyfleet) -> Result<()> {
    let policy = json!({
        "Version": "2012-10-17",
        "Statement": [{"Sid": "e2e", "Effect": "Allow", "Principal": {"AWS": "arn:aws:iam::111122223333:root"},
                       "Action": "kms:*", "Resource": "*"}],
    });
    let made = stack.admin.post(TEMPLATES, &json!({"name": "as an object", "policy": policy})).await?.expect(201)?;
    let as_text = json!({"name": "as a string", "policy": policy.to_string()});
    let made_from_text = stack.admin.post(TEMPLATES, &as_text).await?.expect(201)?;
    let listed = stack.admin.get(TEMPLATES).await?.expect(200)?.body;
    assert_eq!(listed["total"], 2);
    let strangers = stack.stranger.get(TEMPLATES).await?.expect(200)?.body;
    assert_eq!(strangers["total"], 0, "templates are a tenant's own");

    let keys = stack.sim.make_keys(20, "Enabled").await?;
    for (template, already) in [(made, 0), (made_from_text, 20)] {
        let id = template.body["id"].clone();
        let order = json!({"operation": "applypolicytemplate", "policy_template_id": id, "keys": keys});
        let job = stack.admin.create_as(&order).await?;
        assert_eq!(job.created.policy_template_id.as_deref(), id.as_str());
        let job = job.wait_until_ended().await?;
        assert_eq!(job.counts, Counts { total: 20, succeeded: 20, already, ..Counts::default() });
    }
    for key in &keys {
        let told = stack.sim.ask("GetKeyPolicy", key, REGION).await?;
        let found: serde_json::Value = serde_json::from_str(told["Policy"].as_str().unwrap_or_default())?;
        assert_eq!(found, policy);
    }
    Ok(())
}

async fn keys_are_named_by_id_or_arn_and_what_nobody_knows_fails_alone(stack: &Keyfleet) -> Result<()> {
    let mut ids = stack.sim.make_keys(2, "Disabled").await?;
    let (by_id, named_by_arn) = (ids.remove(0), ids.remove(0));
    let elsewhere = json!({"count": 1, "state": "Disabled", "region": "eu-west-1"});
    let elsewhere = stack.sim.make_keys_as(&elsewhere).await?.remove(0);
    let keys = [
        by_id.clone(),
        arn(REGION, &named_by_arn),
        arn("eu-west-1", &elsewhere),
        "e2e-nobody-knows-it".to_owned(),
        arn("eu-west-1", &by_id),
        "arn:aws:kms:us-east-1:999988887777:key/x".to_owned(),
        "alias/e2e".to_owned(),
    ];
    let job = stack.create("enablekey", &keys).await?.wait_until_ended().await?;
    for good in &keys[..3] {
        assert_eq!(job.status(good)?, "Success", "{good}");
    }
    for unknown in &keys[3..] {
        let status = job.status(unknown)?;
        ensure!(status.starts_with("Failed: NotFoundException: "), "{unknown}: {status}");
    }
    assert_eq!(job.status(&keys[5])?, "Failed: NotFoundException: no container for account 999988887777");
    assert_eq!((job.overall_status.as_str(), job.counts.failed), ("completed", 4));

    let states = stack.sim.states(&[by_id.clone(), named_by_arn.clone()]).await?;
    assert!(states.values().all(|state| state == "Enabled"), "{states:?}");
    let told = stack.sim.ask("DescribeKey", &elsewhere, "eu-west-1").await?;
    assert_eq!(told["KeyMetadata"]["KeyState"], "Enabled");
    let regions = stack.sim.log_of(&[by_id, named_by_arn, elsewhere]).await?;
    let mut regions: Vec<&str> = regions.iter().map(|row| row.region.as_str()).collect();
    regions.sort_unstable();
    // The id of the default Region is tried in the other one as well, because its ARN says so.
    regions.dedup();
    assert_eq!(regions, ["eu-west-1", REGION]);

    let hopeless = stack.create("enablekey", &["e2e-nobody".to_owned()]).await?.wait_until_ended().await?;
    assert_eq!(hopeless.overall_status, "error", "none succeeded and some failed");
    Ok(())
}

async fn the_same_text_twice_is_one_task_and_id_and_arn_are_two(stack: &Keyfleet) -> Result<()> {
    let ids = stack.sim.make_keys(2, "Disabled").await?;
    let (a, b) = (ids[0].clone(), ids[1].clone());
    let given = [a.clone(), b.clone(), a.clone(), arn(REGION, &a), b.clone()];
    let job = stack.create("enablekey", &given).await?.wait_until_ended().await?;
    assert_eq!(job.keys, [a.clone(), b, arn(REGION, &a)]);
    verdict::all_are_success(&job)?;
    assert_eq!(job.counts.total, 3);
    let of_a = stack.sim.log_of(&[a]).await?;
    ensure!(of_a.len() == 1, "the second name finds the key enabled: {of_a:?}");
    Ok(())
}

async fn force_acts_whatever_is_read(stack: &Keyfleet) -> Result<()> {
    let keys = stack.sim.make_keys(20, "Enabled").await?;
    let order = json!({"operation": "enablekey", "keys": keys, "force": true});
    let job = stack.admin.create_as(&order).await?.wait_until_ended().await?;
    verdict::all_succeeded(&stack.sim, &job, "Enabled").await?;
    assert_eq!((job.force, job.counts.already), (Some(true), 0));
    assert_eq!(stack.sim.log_of(&keys).await?.len(), 20);
    Ok(())
}

async fn a_job_with_a_pace_of_its_own_holds_up_no_other(stack: &Keyfleet) -> Result<()> {
    let slow_keys = stack.sim.make_keys(100, "Disabled").await?;
    let order = json!({"operation": "enablekey", "keys": slow_keys, "max_rate": 0.5});
    let slow = stack.admin.create_as(&order).await?;
    assert_eq!(slow.created.max_rate, Some(0.5), "it is echoed");
    // Created later, in the same lane, and over long before the other's 200 seconds.
    let keys = stack.sim.make_keys(50, "Disabled").await?;
    let job = stack.create("enablekey", &keys).await?.wait_until_ended().await?;
    verdict::all_succeeded(&stack.sim, &job, "Enabled").await?;
    let ended = slow.cancel().await?.expect(200)?.job()?;
    assert_eq!(ended.overall_status, "canceled");
    assert!(ended.counts.canceled > 0, "{:?}", ended.counts);
    Ok(())
}

async fn a_dry_run_foretells_the_run_and_changes_nothing(stack: &Keyfleet) -> Result<()> {
    const PENDING: &str = "Impossible: the key is pending deletion";
    let states = ["Enabled", "Disabled", "PendingDeletion"];
    let table = [
        ("enablekey", None, ["Already enabled", "Would enable the key", PENDING]),
        ("disablekey", None, ["Would disable the key", "Already disabled", PENDING]),
        (
            "schedulekeydeletion",
            Some(9),
            [
                "Would schedule the key's deletion in 9 days",
                "Would schedule the key's deletion in 9 days",
                "Impossible: the key is pending deletion at another date",
            ],
        ),
        (
            "cancelkeydeletion",
            None,
            ["Already not pending deletion", "Already not pending deletion", "Would cancel the key's deletion"],
        ),
    ];
    for (operation, days, statuses) in table {
        let mut keys = Vec::new();
        for state in states {
            keys.extend(stack.sim.make_keys(1, state).await?);
        }
        let before = stack.sim.states(&keys).await?;
        let mut named = keys.clone();
        named.extend(["e2e-unknown".to_owned(), "arn:aws:kms:us-east-1:999999999999:key/e2e".to_owned()]);
        let mut order = json!({"operation": operation, "keys": named, "dry_run": true});
        if let Some(days) = days {
            order["days"] = days.into();
        }
        let dry = stack.admin.create_as(&order).await?.wait_until_ended().await?;
        assert_eq!((dry.dry_run, dry.overall_status.as_str()), (Some(true), "completed"));
        for (key, status) in keys.iter().zip(statuses) {
            assert_eq!(dry.detailed_status[key], status, "{operation}");
        }
        for unknown in &named[keys.len()..] {
            let status = &dry.detailed_status[unknown];
            ensure!(status.starts_with("Impossible: NotFoundException: "), "{unknown}: {status}");
        }
        ensure!(stack.sim.log_of(&keys).await?.is_empty(), "{operation}: a dry run has changed a key");
        assert_eq!(stack.sim.states(&keys).await?, before);

        order["dry_run"] = false.into();
        let run = stack.admin.create_as(&order).await?.wait_until_ended().await?;
        assert_eq!(run.dry_run, None);
        assert_eq!(run.counts, dry.counts, "{operation}: it came as foretold");
        for (key, foretold) in &dry.detailed_status {
            let came = &run.detailed_status[key];
            let agrees =
                if foretold.starts_with("Impossible: ") { came.starts_with("Failed: ") } else { came == "Success" };
            ensure!(agrees, "{operation}: {foretold}, and then {came}");
        }
    }
    Ok(())
}

async fn an_idempotency_key_makes_create_safe_to_repeat(stack: &Keyfleet) -> Result<()> {
    let keys = stack.sim.make_keys(5, "Disabled").await?;
    let create = async |keys: &[String], idempotency_key: &str| {
        let body = json!({"operation": "enablekey", "keys": keys});
        let call = stack.admin.call(reqwest::Method::POST, end_to_end::caller::BULKJOB);
        call.header("Idempotency-Key", idempotency_key).json(&body).send().await
    };
    let before = stack.admin.total().await?;
    let first = create(&keys, "e2e-1").await?.expect(201)?.job()?;
    // Several at once, as an impatient client's retries come.
    let (second, third, fourth) = tokio::join!(create(&keys, "e2e-1"), create(&keys, "e2e-1"), create(&keys, "e2e-1"));
    for repeat in [second?, third?, fourth?] {
        assert_eq!(repeat.expect(201)?.job()?.id, first.id);
    }
    create(&keys[..4], "e2e-1").await?.refuses(409, 9, "Idempotency-Key")?;
    assert_eq!(stack.admin.total().await?, before + 1);
    let (one, other) = tokio::join!(create(&keys, "e2e-2"), create(&keys, "e2e-2"));
    assert_eq!(one?.expect(201)?.job()?.id, other?.expect(201)?.job()?.id, "both at once make one job");
    assert_eq!(stack.admin.total().await?, before + 2);
    // The key is a user's own.
    let body = json!({"operation": "enablekey", "keys": keys});
    let call = stack.stranger.call(reqwest::Method::POST, end_to_end::caller::BULKJOB);
    let strangers = call.header("Idempotency-Key", "e2e-1").json(&body).send().await?.expect(201)?.job()?;
    assert_ne!(strangers.id, first.id);
    Ok(())
}
