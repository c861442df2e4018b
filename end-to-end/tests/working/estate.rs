//! Registered keys: synchronized, listed, named in jobs, and kept up to date by them.

use anyhow::{Context, Result, ensure};
use end_to_end::caller::{Answer, KEYS, SYNCHRONIZATIONS, TEMPLATES};
use end_to_end::kms_end::{ACCOUNT, REGION, arn};
use end_to_end::patience::until;
use end_to_end::{Keyfleet, StackSettings, scenarios, verdict};
use serde_json::{Value, json};

/// Another Region of the default container's account.
const ELSEWHERE: &str = "eu-west-1";

#[tokio::test(flavor = "multi_thread")]
async fn registered_keys_are_synchronized_and_used() {
    let settings = StackSettings { quota: "aws".to_owned(), ..StackSettings::default() };
    let stack = Keyfleet::start(settings).await.unwrap();
    scenarios!(stack;
        keys_of_two_regions_are_synchronized_although_kms_throttles,
        a_synchronization_goes_on_under_a_new_leader_and_is_one_at_a_time,
        a_job_by_resource_id_runs_and_the_cached_state_follows,
        a_job_by_selector_takes_what_matches,
        a_changed_template_is_pushed_to_the_keys_that_have_it,
        what_is_gone_in_kms_is_told_as_gone,
        strangers_see_no_keys);
}

async fn synchronize(stack: &Keyfleet, order: &Value) -> Result<Value> {
    let made = stack.admin.post(SYNCHRONIZATIONS, order).await?.expect(201)?.body;
    ended(stack, &made).await
}

async fn ended(stack: &Keyfleet, sync: &Value) -> Result<Value> {
    let path = format!("{SYNCHRONIZATIONS}/{}", sync["id"].as_str().context("an id")?);
    until("a synchronization ends", async || {
        let now = stack.admin.get(&path).await?.expect(200)?.body;
        Ok((now["overall_status"] != "in_progress").then_some(now))
    })
    .await
}

async fn keys(stack: &Keyfleet, query: &str) -> Result<(u64, Vec<Value>)> {
    let Answer { body, .. } = stack.admin.get(&format!("{KEYS}?{query}")).await?.expect(200)?;
    let rows = body["resources"].as_array().context("resources")?.clone();
    Ok((body["total"].as_u64().context("total")?, rows))
}

async fn total(stack: &Keyfleet, query: &str) -> Result<u64> {
    Ok(keys(stack, &format!("{query}&limit=0")).await?.0)
}

async fn keys_of_two_regions_are_synchronized_although_kms_throttles(stack: &Keyfleet) -> Result<()> {
    for region in [REGION, ELSEWHERE] {
        stack.sim.make_keys_as(&json!({"count": 2_000, "region": region, "state": "Enabled"})).await?;
    }
    let tagged =
        json!({"MultiRegion": true, "Description": "of payments", "Tags": [{"TagKey": "team", "TagValue": "pay"}]});
    let made = stack.sim.request("CreateKey", &tagged, ELSEWHERE).await?;
    let id = made["KeyMetadata"]["KeyId"].as_str().context("a key")?.to_owned();
    let alias = json!({"AliasName": "alias/pay", "TargetKeyId": id});
    stack.sim.request("CreateAlias", &alias, ELSEWHERE).await?;
    let throttled = json!({"ThrottlingException": 0.02});
    stack.sim.configure(&json!({"quota": "aws", "faults": {"DescribeKey": throttled, "ListKeys": throttled}})).await?;

    let done = synchronize(stack, &json!({"kms": ["default"], "regions": [REGION, ELSEWHERE]})).await?;
    assert_eq!((&done["overall_status"], &done["counts"]["keys"]), (&json!("completed"), &json!(4_001)), "{done}");
    assert_eq!(done["detailed_status"][format!("default/{ELSEWHERE}")], "completed");
    assert_eq!((total(stack, "").await?, total(stack, &format!("region={REGION}")).await?), (4_001, 2_000));

    for query in ["alias=pay", "alias=alias/pay", "tags=%7B%22team%22%3A%22pay%22%7D", &format!("keyid={id}")] {
        let (total, rows) = keys(stack, query).await?;
        assert_eq!((total, &rows[0]["aws_param"]["KeyID"]), (1, &json!(id)), "{query}");
        let told = &rows[0]["aws_param"];
        assert_eq!((&told["Description"], &told["KeyState"]), (&json!("of payments"), &json!("Enabled")));
        assert_eq!((&told["Alias"], &told["Arn"]), (&json!(["alias/pay"]), &json!(arn(ELSEWHERE, &id))));
        assert_eq!(told["Tags"], json!([{"TagKey": "team", "TagValue": "pay"}]));
        let by_id =
            stack.admin.get(&format!("{KEYS}/{}", rows[0]["id"].as_str().context("an id")?)).await?.expect(200)?;
        assert_eq!(by_id.body, rows[0]);
    }
    assert_eq!(
        total(stack, "kms=default&kms_id=default&enabled=true&keystate=Enabled&keystate=Disabled").await?,
        4_001
    );
    assert_eq!((total(stack, "enabled=false").await?, total(stack, "kms=other").await?), (0, 0));
    for (query, count) in [
        ("multi_region_key_type=PRIMARY", 1),
        ("multi_region=true", 1),
        (
            "multi_region=false&keyusage=ENCRYPT_DECRYPT&keymanager=CUSTOMER&CustomerMasterKeySpec=SYMMETRIC_DEFAULT",
            4_000,
        ),
        ("keyusage=SIGN_VERIFY", 0),
        ("multi_region_key_type=REPLICA", 0),
        ("cloud_name=aws&cloud_name=aws-cn", 4_001),
        ("cloud_name=aws-cn", 0),
        ("key_source=local", 0),
    ] {
        assert_eq!(total(stack, query).await?, count, "{query}");
    }
    Ok(())
}

async fn a_synchronization_goes_on_under_a_new_leader_and_is_one_at_a_time(stack: &Keyfleet) -> Result<()> {
    stack.sim.hold("ListKeys").await?;
    let order = json!({"kms": ["default"]});
    let first = stack.admin.post(SYNCHRONIZATIONS, &order).await?.expect(201)?.body;
    stack.admin.post(SYNCHRONIZATIONS, &order).await?.refuses(409, 9, "kms")?;
    stack.sim.wait_until_held(1).await?;
    let path = format!("{SYNCHRONIZATIONS}/{}", first["id"].as_str().context("an id")?);
    let canceled = stack.admin.post(&format!("{path}/cancel"), &json!({})).await?.expect(200)?.body;
    assert_eq!(canceled["overall_status"], "canceled");

    let second = stack.admin.post(SYNCHRONIZATIONS, &order).await?.expect(201)?.body;
    let leader = stack.leader().await?;
    stack.signal(&leader, end_to_end::Signal::KILL)?;
    stack.parts.start_again(&leader)?;
    stack.parts.await_ready(&leader).await?;
    stack.sim.release().await?;
    let done = ended(stack, &second).await?;
    assert_eq!((&done["overall_status"], &done["counts"]["keys"]), (&json!("completed"), &json!(2_000)), "{done}");
    for (order, field) in [
        (json!({}), "kms"),
        (json!({"kms": ["nowhere"]}), "kms"),
        (json!({"kms": ["default"], "regions": ["no region"]}), "regions"),
        (json!({"kms": ["default"], "synchronize_all": true}), "synchronize_all"),
    ] {
        stack.admin.post(SYNCHRONIZATIONS, &order).await?.refuses(400, 2, field)?;
    }
    Ok(())
}

async fn a_job_by_resource_id_runs_and_the_cached_state_follows(stack: &Keyfleet) -> Result<()> {
    let mut named = Vec::new();
    for region in [REGION, ELSEWHERE] {
        let (_, rows) = keys(stack, &format!("region={region}&limit=4&sort=id")).await?;
        named.extend(rows.iter().map(|row| row["id"].as_str().unwrap_or_default().to_owned()));
    }
    let job = stack.create("schedulekeydeletion", &named).await?.wait_until_ended().await?;
    verdict::all_are_success(&job)?;
    assert_eq!(job.keys, named, "told as they were named");
    for id in &named {
        let now = stack.admin.get(&format!("{KEYS}/{id}")).await?.expect(200)?.body;
        let told = &now["aws_param"];
        ensure!(told["KeyState"] == "PendingDeletion" && told["Enabled"] == false, "{now}");
        ensure!(now["deletion_date"].is_string() && told["DeletionDate"].is_string(), "{now}");
        let region = now["region"].as_str().context("a Region")?;
        let there = stack.sim.ask("DescribeKey", told["KeyID"].as_str().context("an id")?, region).await?;
        assert_eq!(there["KeyMetadata"]["KeyState"], "PendingDeletion");
    }
    assert_eq!(total(stack, "keystate=PendingDeletion").await?, 8);
    // The same keys by ARN.
    let (_, rows) = keys(stack, "keystate=PendingDeletion&limit=8").await?;
    let arns: Vec<String> =
        rows.iter().map(|row| row["aws_param"]["Arn"].as_str().unwrap_or_default().to_owned()).collect();
    verdict::all_are_success(&stack.create("cancelkeydeletion", &arns).await?.wait_until_ended().await?)?;
    assert_eq!((total(stack, "keystate=PendingDeletion").await?, total(stack, "keystate=Disabled").await?), (0, 8));
    Ok(())
}

async fn a_job_by_selector_takes_what_matches(stack: &Keyfleet) -> Result<()> {
    let selector = json!({"container": "default", "regions": [REGION, ELSEWHERE], "state": "Disabled"});
    let job = stack.admin.create_as(&json!({"operation": "enablekey", "selector": selector})).await?;
    assert_eq!(job.created.selector.as_ref(), Some(&selector));
    let done = job.wait_until_ended().await?;
    verdict::all_are_success(&done)?;
    assert_eq!((done.counts.total, total(stack, "keystate=Disabled").await?), (8, 0));
    for (selector, field) in [
        (selector, "no registered key"),
        (json!({"tags": {"team": "nobody"}}), "no registered key"),
        (json!({"container": "nowhere"}), "container"),
    ] {
        stack
            .admin
            .post(end_to_end::caller::BULKJOB, &json!({"operation": "enablekey", "selector": selector}))
            .await?
            .refuses(400, 2, field)?;
    }
    let tagged = json!({"operation": "disablekey", "selector": {"alias_prefix": "pa", "tags": {"team": "pay"}}});
    let one = stack.admin.create_as(&tagged).await?.wait_until_ended().await?;
    verdict::all_are_success(&one)?;
    assert_eq!(one.counts.total, 1);
    Ok(())
}

async fn a_changed_template_is_pushed_to_the_keys_that_have_it(stack: &Keyfleet) -> Result<()> {
    let lists = json!({"name": "pushed", "key_admins": ["alice"], "key_users_roles": ["app"]});
    let template = stack.admin.post(TEMPLATES, &lists).await?.expect(201)?.body;
    let id = template["id"].as_str().context("an id")?;
    assert_eq!((&template["account_id"], &template["is_verified"]), (&json!(ACCOUNT), &json!(false)));
    let change = async |body: Value| {
        let path = format!("{TEMPLATES}/pushed");
        stack.admin.call(reqwest::Method::PATCH, &path).json(&body).send().await?.expect(200)
    };
    let unused = change(json!({"auto_push": true})).await?.body;
    ensure!(unused.get("pushed_by").is_none(), "no key has it: {unused}");

    let made = stack.sim.make_keys(5, "Enabled").await?;
    let order = json!({"operation": "applypolicytemplate", "policy_template_id": id, "keys": made});
    verdict::all_are_success(&stack.admin.create_as(&order).await?.wait_until_ended().await?)?;
    let pushed = change(json!({"key_users": ["bob"], "auto_push": true})).await?.body;
    assert_eq!((&pushed["is_verified"], &pushed["key_users_roles"]), (&json!(true), &json!(["app"])));
    let job = pushed["pushed_by"].as_str().context("a job")?;
    let path = format!("{}/{job}", end_to_end::caller::BULKJOB);
    let told = until("the push ends", async || {
        let now = stack.admin.get(&path).await?.expect(200)?;
        Ok((now.body["overall_status"] != "in_progress").then_some(now))
    })
    .await?
    .job()?;
    verdict::all_are_success(&told)?;
    assert_eq!(told.counts.total, 5);
    for key in &made {
        let there = stack.sim.ask("GetKeyPolicy", key, REGION).await?;
        ensure!(there["Policy"].as_str().unwrap_or_default().contains(":user/bob"), "{there}");
    }
    let gone = stack.admin.call(reqwest::Method::DELETE, &format!("{TEMPLATES}/pushed")).send().await?;
    assert_eq!(gone.expect(204)?.text, "");
    stack.admin.get(&format!("{TEMPLATES}/pushed")).await?.refuses(404, 16, "")
}

async fn what_is_gone_in_kms_is_told_as_gone(stack: &Keyfleet) -> Result<()> {
    // A window of no days: deleted at once.
    let (_, rows) = keys(stack, &format!("region={REGION}&limit=2")).await?;
    let ids: Vec<&str> = rows.iter().filter_map(|row| row["aws_param"]["KeyID"].as_str()).collect();
    stack.sim.make_keys_as(&json!({"ids": ids, "state": "PendingDeletion", "window_days": 0})).await?;
    let done = synchronize(stack, &json!({"synchronize_all": true})).await?;
    assert_eq!(done["overall_status"], "completed");
    let (total, gone) = keys(stack, "gone=true").await?;
    assert_eq!(total, 2);
    ensure!(gone.iter().all(|row| ids.contains(&row["aws_param"]["KeyID"].as_str().unwrap_or_default())), "{gone:?}");
    Ok(())
}

async fn strangers_see_no_keys(stack: &Keyfleet) -> Result<()> {
    let (_, rows) = keys(stack, "limit=1").await?;
    let id = rows[0]["id"].as_str().context("an id")?;
    assert_eq!(stack.stranger.get(KEYS).await?.expect(200)?.body["total"], 0);
    stack.stranger.get(&format!("{KEYS}/{id}")).await?.refuses(404, 16, "")?;
    assert_eq!(stack.stranger.get(SYNCHRONIZATIONS).await?.expect(200)?.body["total"], 0);
    stack.stranger.post(SYNCHRONIZATIONS, &json!({"kms": ["default"]})).await?.refuses(400, 2, "kms")?;
    for path in [KEYS.to_owned(), format!("{KEYS}/{id}"), SYNCHRONIZATIONS.to_owned()] {
        stack.nobody.get(&path).await?.refuses(403, 6, "")?;
    }
    let job = stack.stranger.create("enablekey", &[id.to_owned()]).await?.wait_until_ended().await?;
    ensure!(job.status(id)?.starts_with("Failed: NotFoundException"), "{}", job.status(id)?);
    Ok(())
}
