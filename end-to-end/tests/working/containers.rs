//! Containers and who may do what with their keys: made, permitted, archived and deleted by the admin, and used by
//! somebody who may use some of them.

use anyhow::{Context, Result, ensure};
use end_to_end::caller::{BULKJOB, CONTAINERS, SYNCHRONIZATIONS};
use end_to_end::kms_end::{ACCOUNT, REGION, arn, arn_in};
use end_to_end::patience::until;
use end_to_end::{Answer, Keyfleet, scenarios, verdict};
use reqwest::Method;
use serde_json::{Value, json};

/// Another account, which nothing here calls.
const OTHER: &str = "222233334444";

#[tokio::test(flavor = "multi_thread")]
async fn containers_divide_the_keys_and_acls_permit_them() {
    let stack = Keyfleet::start(crate::patient()).await.unwrap();
    scenarios!(stack;
        two_are_made_and_each_name_and_account_is_one_of_a_kind,
        who_has_no_permission_sees_none_and_runs_nothing,
        a_refused_create_does_not_break_its_connection,
        who_may_use_one_runs_jobs_on_that_one_alone,
        jobs_on_others_are_neither_shown_nor_stopped,
        a_permission_that_is_taken_away_ends_at_once,
        other_tenants_find_nothing,
        an_archived_one_takes_no_new_jobs_until_it_is_recovered,
        one_is_deleted_when_nothing_of_it_runs,
    );
}

/// A call about one container.
async fn at(stack: &Keyfleet, method: Method, path: &str, body: &Value) -> Result<Answer> {
    stack.admin.call(method, &format!("{CONTAINERS}/{path}")).json(body).send().await
}

async fn named(stack: &Keyfleet) -> Result<Vec<String>> {
    let listed = stack.nobody.get(&format!("{CONTAINERS}?sort=name&limit=-1")).await?.expect(200)?.body;
    let rows = listed["resources"].as_array().context("resources")?;
    ensure!(listed["total"] == rows.len(), "{listed}");
    Ok(rows.iter().map(|row| row["name"].as_str().unwrap_or_default().to_owned()).collect())
}

/// The tokens' name of the user without any group.
async fn user_id(stack: &Keyfleet) -> Result<String> {
    let told = stack.nobody.get("/api/v1/auth/self/user").await?.expect(200)?.body;
    Ok(told["user_id"].as_str().context("a user's id")?.to_owned())
}

async fn permit(stack: &Keyfleet, container: &str, permit: bool, actions: &[&str]) -> Result<Value> {
    let change = json!({"acls": [{"user_id": user_id(stack).await?, "permit": permit, "actions": actions}]});
    Ok(at(stack, Method::POST, &format!("{container}/update-acls"), &change).await?.expect(200)?.body)
}

fn order(operation: &str, keys: &[String]) -> Value {
    json!({"operation": operation, "keys": keys})
}

/// Keys of the default account, by their ARNs: of `main` as long as there is one.
async fn of_main(stack: &Keyfleet, count: usize) -> Result<Vec<String>> {
    Ok(stack.sim.make_keys(count, "Disabled").await?.iter().map(|key| arn(REGION, key)).collect())
}

async fn two_are_made_and_each_name_and_account_is_one_of_a_kind(stack: &Keyfleet) -> Result<()> {
    let main = json!({"name": "main", "account_id": ACCOUNT, "regions": [REGION]});
    let made = stack.admin.post(CONTAINERS, &main).await?.expect(201)?.body;
    let prod = json!({"name": "eu-prod", "account_id": OTHER, "regions": ["eu-west-1", REGION], "connection": "prod",
        "assume_role_arn": format!("arn:aws:iam::{OTHER}:role/keyfleet")});
    let other = stack.admin.post(CONTAINERS, &prod).await?.expect(201)?.body;
    ensure!(other["regions"] == json!(["eu-west-1", REGION]) && other["connection"] == "prod", "{other}");

    for (body, status, code, field) in [
        (json!({"name": "main", "account_id": "333344445555"}), 409, 9, "name"),
        (json!({"name": "default", "account_id": "333344445555"}), 409, 9, "name"),
        (json!({"name": "third", "account_id": ACCOUNT}), 409, 9, "account_id"),
        (json!({"name": "third", "account_id": "1"}), 400, 2, "account_id"),
        (json!({"name": "third", "account_id": "333344445555", "regions": ["nowhere"]}), 400, 2, "regions"),
        (
            json!({"name": "third", "account_id": "333344445555", "connection": "AKIA0123456789ABCDEF"}),
            400,
            2,
            "connection",
        ),
    ] {
        stack.admin.post(CONTAINERS, &body).await?.refuses(status, code, field)?;
    }
    // An account of another tenant's is taken, whatever the name.
    let theirs = json!({"name": "main", "account_id": OTHER});
    stack.stranger.post(CONTAINERS, &theirs).await?.refuses(409, 9, "account_id")?;

    for (path, id) in
        [("main", &made["id"]), ("eu-prod/", &other["id"]), ("default", &json!("00000000-0000-4000-8000-000000000000"))]
    {
        let found = at(stack, Method::GET, path, &json!(null)).await?.expect(200)?.body;
        assert_eq!(&found["id"], id);
        let by_id = at(stack, Method::GET, id.as_str().context("an id")?, &json!(null)).await?.expect(200)?.body;
        assert_eq!(by_id, found);
    }
    let change = json!({"connection": "", "assume_role_arn": "", "regions": [REGION]});
    let changed = at(stack, Method::PATCH, "eu-prod", &change).await?.expect(200)?.body;
    assert_eq!(
        (&changed["regions"], &changed["arn"], &changed["connection"]),
        (&json!([REGION]), &json!(null), &json!(null))
    );
    at(stack, Method::PATCH, "default", &change).await?.refuses(409, 9, "default")?;
    for (query, total) in [
        ("", 3),
        ("?name=main", 1),
        ("?account_id=222233334444", 1),
        ("?status=archived", 0),
        ("?status=active&cloud_name=aws", 3),
    ] {
        let listed = stack.admin.get(&format!("{CONTAINERS}{query}")).await?.expect(200)?.body;
        assert_eq!(listed["total"], total, "{query}: {listed}");
    }
    Ok(())
}

async fn who_has_no_permission_sees_none_and_runs_nothing(stack: &Keyfleet) -> Result<()> {
    assert_eq!(named(stack).await?, Vec::<String>::new());
    stack.nobody.get(&format!("{CONTAINERS}/main")).await?.refuses(403, 6, "main")?;
    stack.nobody.post(BULKJOB, &order("enablekey", &of_main(stack, 1).await?)).await?.refuses(
        403,
        6,
        "keybulkoperation",
    )?;
    for path in ["main/archive", "main/recover", "main/update-acls"] {
        let body = json!({"acls": [{"group": "everyone", "permit": true, "actions": ["keybulkoperation"]}]});
        stack.nobody.post(&format!("{CONTAINERS}/{path}"), &body).await?.refuses(403, 6, "admin")?;
    }
    let delete = stack.nobody.call(Method::DELETE, &format!("{CONTAINERS}/main")).send().await?;
    delete.refuses(403, 6, "admin")
}

/// A body that is still under way when it is refused: the client sees the refusal, not a broken connection, and its next
/// call is answered.
async fn a_refused_create_does_not_break_its_connection(stack: &Keyfleet) -> Result<()> {
    let keys: Vec<String> = (0..500_000).map(|number| format!("key-{number:08}")).collect();
    let body = order("enablekey", &keys).to_string();
    for _ in 0..3 {
        let call = stack.nobody.call(Method::POST, BULKJOB).header("Content-Type", "application/json");
        call.body(body.clone()).send().await?.refuses(403, 6, "keybulkoperation")?;
        stack.nobody.get("/api/v1/auth/self/user").await?.expect(200)?;
    }
    Ok(())
}

async fn who_may_use_one_runs_jobs_on_that_one_alone(stack: &Keyfleet) -> Result<()> {
    let permitted = permit(stack, "main", true, &["keybulkoperation", "keycreate"]).await?;
    let acl = json!([{"user_id": user_id(stack).await?, "actions": ["keybulkoperation", "keycreate"]}]);
    assert_eq!(permitted["acls"], acl);
    assert_eq!(named(stack).await?, ["main"]);

    let (mine, others) = (of_main(stack, 20).await?, arn_in(OTHER, REGION, "k"));
    let job = stack.nobody.create("enablekey", &mine).await?;
    let done = job.wait_until_ended().await?;
    verdict::all_are_success(&done)?;
    for (keys, container) in [
        (vec![mine[0].clone(), others.clone()], "eu-prod"),
        (vec![others], "eu-prod"),
        // A bare id, and a text that nobody knows: both are the default container's.
        (vec![mine[0].clone(), "e2e-nobody".to_owned()], "default"),
    ] {
        let answer = stack.nobody.post(BULKJOB, &order("disablekey", &keys)).await?;
        answer.refuses(
            403,
            6,
            &format!("the permission keybulkoperation is missing on the container \"{container}\""),
        )?;
    }
    ensure!(stack.nobody.total().await? == 1, "a refused job was stored");
    Ok(())
}

async fn jobs_on_others_are_neither_shown_nor_stopped(stack: &Keyfleet) -> Result<()> {
    let before = stack.nobody.total().await?;
    let keys = stack.sim.make_keys(10, "Disabled").await?;
    stack.sim.hold("EnableKey").await?;
    // Bare ids are the default container's.
    let job = stack.create("enablekey", &keys).await?;
    stack.sim.wait_until_held(10).await?;
    let both = [keys.clone(), of_main(stack, 1).await?].concat();
    let mixed = stack.create("enablekey", &both).await?;
    for job in [&job, &mixed] {
        for path in ["", "?detail=false", "/keys"] {
            stack.nobody.get(&job.path(path)).await?.refuses(403, 6, "\"default\"")?;
        }
        job.seen_by(&stack.nobody).cancel().await?.refuses(403, 6, "\"default\"")?;
        ensure!(!job.now().await?.abort, "a cancel that was refused stopped the job");
        assert_eq!(stack.nobody.list(&format!("?id={}", job.id)).await?["total"], 0);
    }
    assert_eq!(stack.nobody.total().await?, before, "counted, though not shown");
    stack.sim.release().await?;
    verdict::all_succeeded(&stack.sim, &job.wait_until_ended().await?, "Enabled").await?;
    mixed.wait_until_ended().await?;
    // Its own it sees and stops.
    let own = stack.nobody.create("disablekey", &of_main(stack, 5).await?).await?;
    own.cancel().await?.expect(200)?;
    assert_eq!(stack.nobody.total().await?, before + 1);
    Ok(())
}

async fn a_permission_that_is_taken_away_ends_at_once(stack: &Keyfleet) -> Result<()> {
    let keys = of_main(stack, 3).await?;
    let job = stack.nobody.create("enablekey", &keys).await?;
    job.wait_until_ended().await?;
    permit(stack, "main", false, &["keybulkoperation"]).await?;
    stack.nobody.get(&job.path("")).await?.refuses(403, 6, "keybulkoperation")?;
    stack.nobody.post(BULKJOB, &order("disablekey", &keys)).await?.refuses(403, 6, "keybulkoperation")?;
    // What is left has no meaning here, and permits nothing.
    assert_eq!(named(stack).await?, Vec::<String>::new());
    permit(stack, "main", true, &["view"]).await?;
    assert_eq!(named(stack).await?, ["main"]);
    stack.nobody.post(BULKJOB, &order("disablekey", &keys)).await?.refuses(403, 6, "keybulkoperation")?;
    permit(stack, "main", true, &["keybulkoperation"]).await?;
    stack.nobody.get(&job.path("")).await?.expect(200)?;
    Ok(())
}

async fn other_tenants_find_nothing(stack: &Keyfleet) -> Result<()> {
    let job = stack.nobody.create("enablekey", &of_main(stack, 1).await?).await?;
    job.wait_until_ended().await?;
    stack.stranger.get(&job.path("")).await?.refuses(404, 16, "")?;
    assert_eq!(stack.stranger.get(CONTAINERS).await?.expect(200)?.body["total"], 0);
    for (method, path) in [
        (Method::GET, "main"),
        (Method::GET, "default"),
        (Method::PATCH, "main"),
        (Method::DELETE, "main"),
        (Method::POST, "main/archive"),
        (Method::POST, "main/recover"),
    ] {
        let call = stack.stranger.call(method, &format!("{CONTAINERS}/{path}")).json(&json!({}));
        call.send().await?.refuses(404, 16, "")?;
    }
    let acls = json!({"acls": [{"group": "admin", "permit": true, "actions": ["view"]}]});
    stack.stranger.post(&format!("{CONTAINERS}/main/update-acls"), &acls).await?.refuses(404, 16, "")
}

async fn an_archived_one_takes_no_new_jobs_until_it_is_recovered(stack: &Keyfleet) -> Result<()> {
    let keys = of_main(stack, 10).await?;
    stack.sim.hold("EnableKey").await?;
    let running = stack.create("enablekey", &keys).await?;
    stack.sim.wait_until_held(10).await?;
    let archived = at(stack, Method::POST, "main/archive", &json!(null)).await?.expect(200)?.body;
    assert_eq!(archived["archived"], true);
    for caller in [&stack.admin, &stack.nobody] {
        caller.post(BULKJOB, &order("disablekey", &keys)).await?.refuses(409, 9, "\"main\"")?;
    }
    stack.admin.post(SYNCHRONIZATIONS, &json!({"kms": ["main"]})).await?.refuses(409, 9, "main")?;
    stack.sim.release().await?;
    verdict::all_are_success(&running.wait_until_ended().await?)?;
    at(stack, Method::POST, "main/recover", &json!(null)).await?.expect(200)?;
    verdict::all_are_success(&stack.nobody.create("disablekey", &keys).await?.wait_until_ended().await?)?;
    for action in ["archive", "recover"] {
        at(stack, Method::POST, &format!("default/{action}"), &json!(null)).await?.refuses(409, 9, "default")?;
    }
    Ok(())
}

async fn one_is_deleted_when_nothing_of_it_runs(stack: &Keyfleet) -> Result<()> {
    let keys = of_main(stack, 10).await?;
    let sync = stack.admin.post(SYNCHRONIZATIONS, &json!({"kms": ["main"]})).await?.expect(201)?.body;
    let sync = format!("{SYNCHRONIZATIONS}/{}", sync["id"].as_str().context("an id")?);
    until("the synchronization ends", async || {
        Ok((stack.admin.get(&sync).await?.expect(200)?.body["overall_status"] != "in_progress").then_some(()))
    })
    .await?;
    stack.sim.hold("EnableKey").await?;
    let running = stack.create("enablekey", &keys).await?;
    stack.sim.wait_until_held(10).await?;
    at(stack, Method::DELETE, "main", &json!(null)).await?.refuses(409, 9, "main")?;
    at(stack, Method::DELETE, "default", &json!(null)).await?.refuses(409, 9, "default")?;
    stack.sim.release().await?;
    verdict::all_are_success(&running.wait_until_ended().await?)?;
    for name in ["main", "eu-prod"] {
        assert_eq!(at(stack, Method::DELETE, name, &json!(null)).await?.expect(204)?.text, "");
        at(stack, Method::GET, name, &json!(null)).await?.refuses(404, 16, "")?;
    }
    // The account is the default container's again, and the registered keys of the other are gone with it.
    let registered = stack.admin.get(&format!("{}?limit=0", end_to_end::caller::KEYS)).await?.expect(200)?.body;
    assert_eq!(registered["total"], 0);
    verdict::all_are_success(&stack.create("disablekey", &keys).await?.wait_until_ended().await?)?;
    stack.nobody.get(BULKJOB).await?.refuses(403, 6, "keybulkoperation")?;
    stack.nobody.get(&running.path("")).await?.refuses(403, 6, "")
}
