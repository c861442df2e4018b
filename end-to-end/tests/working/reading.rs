//! Jobs as they are read: their form, pages of keys, lists.

use std::collections::BTreeSet;

use anyhow::{Context, Result, ensure};
use end_to_end::caller::BULKJOB;
use end_to_end::{Keyfleet, scenarios};
use serde_json::Value;

#[tokio::test(flavor = "multi_thread")]
async fn jobs_are_read() {
    let stack = Keyfleet::start(crate::patient()).await.unwrap();
    scenarios!(stack;
        a_job_has_the_documented_form_and_order_of_fields,
        keys_come_in_pages_and_by_status,
        jobs_are_listed_in_pages_sorted_and_filtered,
        tenants_see_their_own_jobs_only,
        every_path_answers_with_a_slash_at_its_end_too,
    );
}

/// Whether the text is RFC 3339, UTC, with microseconds.
fn is_time(text: &str) -> bool {
    let shape: String = text.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
    shape == "0000-00-00T00:00:00.000000Z"
}

async fn a_job_has_the_documented_form_and_order_of_fields(stack: &Keyfleet) -> Result<()> {
    const FIELDS: [&str; 13] = [
        "id",
        "uri",
        "account",
        "createdAt",
        "updatedAt",
        "completed_at",
        "overall_status",
        "detailed_status",
        "abort",
        "cloud",
        "keys",
        "operation",
        "counts",
    ];
    let keys = stack.sim.make_keys(1, "Disabled").await?;
    stack.sim.hold("DescribeKey").await?;
    let job = stack.create("enablekey", &keys).await?;
    let running = stack.admin.get(&job.path("")).await?.expect(200)?;
    assert_eq!((&running.body["overall_status"], running.body.get("completed_at")), (&"in_progress".into(), None));
    assert_eq!(running.body["detailed_status"][&keys[0]], "in_progress");
    stack.sim.release().await?;

    let view = job.wait_until_ended().await?;
    assert_eq!(view.uri, format!("kylo:kylo:cckm:bulkjob:{}", job.id));
    assert_eq!(view.account, "kylo:kylo:admin:accounts:kylo");
    assert_eq!((view.cloud.as_str(), view.abort, view.overall_status.as_str()), ("aws", false, "completed"));
    let completed_at = view.completed_at.context("completed_at")?;
    for time in [&view.created_at, &view.updated_at, &completed_at] {
        ensure!(is_time(time), "{time}");
    }
    ensure!(view.created_at <= completed_at, "{} and {completed_at}", view.created_at);

    let text = stack.admin.get(&job.path("")).await?.expect(200)?.text;
    let places: Vec<_> = FIELDS.iter().map(|field| text.find(&format!("\"{field}\":"))).collect();
    ensure!(places.iter().all(Option::is_some) && places.is_sorted(), "the order of fields in {text}");
    let bare = stack.admin.get(&job.path("?detail=false")).await?.expect(200)?.body;
    ensure!(bare.get("keys").is_none() && bare.get("detailed_status").is_none(), "{bare}");
    Ok(())
}

async fn keys_come_in_pages_and_by_status(stack: &Keyfleet) -> Result<()> {
    let mut keys = stack.sim.make_keys(12, "Disabled").await?;
    keys.extend(stack.sim.make_keys(5, "Enabled").await?);
    keys.extend((0..8).map(|n| format!("e2e-unknown-{n}")));
    let job = stack.create("enablekey", &keys).await?;
    job.wait_until_ended().await?;

    let mut read = Vec::new();
    for skip in (0..25).step_by(7) {
        let page = job.keys(&format!("?limit=7&skip={skip}")).await?;
        assert_eq!((page.skip, page.limit, page.total), (skip, 7, 25));
        read.extend(page.resources);
    }
    let order: Vec<(u32, &str)> = read.iter().map(|row| (row.seq, row.key.as_str())).collect();
    let expected: Vec<(u32, &str)> = (0..).zip(keys.iter().map(String::as_str)).collect();
    assert_eq!(order, expected, "all keys, each once, in the caller's order");

    for (row, n) in read.iter().zip(0..) {
        let (state, already, before) = match n {
            0..12 => ("succeeded", false, Some("Disabled")),
            12..17 => ("succeeded", true, Some("Enabled")),
            _ => ("failed", false, None),
        };
        assert_eq!((row.state.as_str(), row.already, row.state_before.as_deref()), (state, already, before), "{row:?}");
        ensure!(row.finished_at.as_deref().is_some_and(is_time), "{row:?}");
        let failed = row.detail.as_deref().is_some_and(|text| text.starts_with("NotFoundException: "));
        assert_eq!(failed, state == "failed", "{row:?}");
        ensure!(row.attempts >= 1 && row.started_at.as_deref().is_some_and(is_time), "{row:?}");
    }

    for (status, total) in [("succeeded", 17), ("failed", 8), ("pending", 0), ("canceled", 0)] {
        let page = job.keys(&format!("?status={status}&limit=100")).await?;
        assert_eq!((page.total, page.resources.len()), (total, total), "{status}");
        assert!(page.resources.iter().all(|row| row.state == status));
    }
    let second = job.keys("?status=failed&limit=3&skip=6").await?;
    assert_eq!(second.resources.iter().map(|row| row.seq).collect::<Vec<_>>(), [23, 24]);
    let none = job.keys("?limit=0").await?;
    assert_eq!((none.total, none.resources.len()), (25, 0));
    assert_eq!(job.keys("").await?.resources.len(), 10, "the default limit");
    Ok(())
}

/// The ids of a list's jobs, in its order.
fn ids(list: &Value) -> Vec<String> {
    let rows = list["resources"].as_array().map(Vec::as_slice).unwrap_or_default();
    rows.iter().filter_map(|row| row["id"].as_str().map(str::to_owned)).collect()
}

/// The stranger's tenant has no keys, so its jobs end at once and nobody else adds any.
async fn jobs_are_listed_in_pages_sorted_and_filtered(stack: &Keyfleet) -> Result<()> {
    let mut made = Vec::new();
    for operation in ["enablekey", "disablekey", "enablekey", "cancelkeydeletion", "disablekey"] {
        let job = stack.stranger.create(operation, &["nobody-s".to_owned()]).await?;
        assert_eq!(job.wait_until_ended().await?.overall_status, "error");
        made.push(job.id);
    }
    let newest_first: Vec<String> = made.iter().rev().cloned().collect();
    let listed = async |query: &str| stack.stranger.list(query).await;

    let all = listed("").await?;
    assert_eq!((&all["skip"], &all["limit"], &all["total"]), (&0.into(), &10.into(), &5.into()));
    assert_eq!(ids(&all), newest_first);
    ensure!(all["resources"][0]["keys"] == serde_json::json!(["nobody-s"]), "small jobs are whole: {all}");
    let page = listed("?skip=1&limit=3").await?;
    assert_eq!((ids(&page), &page["total"]), (newest_first[1..4].to_vec(), &5.into()));
    assert_eq!(ids(&listed("?sort=createdAt").await?), made);
    assert_eq!(ids(&listed("?sort=-createdAt").await?), newest_first);
    let sorted = ids(&listed("?sort=operation,-createdAt").await?);
    let expected = [3, 4, 1, 2, 0].map(|n| made[n].clone());
    assert_eq!(sorted, expected, "cancelkeydeletion, disablekey, enablekey; the newest of each first");
    assert_eq!(ids(&listed("?sort=account,id").await?), made, "ids sort by creation");

    assert_eq!(ids(&listed(&format!("?id={}", made[2])).await?), [made[2].clone()]);
    assert_eq!(listed("?id=no-uuid").await?["total"], 0);
    assert_eq!(listed("?overall_status=error").await?["total"], 5);
    assert_eq!(listed("?overall_status=completed").await?["total"], 0);
    assert_eq!(listed("?cloud=aws").await?["total"], 5);
    assert_eq!(listed("?cloud=azure").await?["total"], 0);
    assert_eq!(listed("?no_such_parameter=1").await?["total"], 5, "an unknown parameter is ignored");
    let most = listed("?limit=5000").await?;
    assert_eq!((&most["limit"], ids(&most).len()), (&2000.into(), 5));
    let none = listed("?limit=0").await?;
    assert_eq!((&none["total"], ids(&none).len()), (&5.into(), 0));
    let by_status: BTreeSet<String> =
        ids(&listed("?overall_status=error&limit=2&sort=createdAt").await?).into_iter().collect();
    assert_eq!(by_status, made[..2].iter().cloned().collect());
    Ok(())
}

async fn tenants_see_their_own_jobs_only(stack: &Keyfleet) -> Result<()> {
    let keys = stack.sim.make_keys(2, "Enabled").await?;
    let job = stack.create("enablekey", &keys).await?;
    job.wait_until_ended().await?;
    ensure!(!ids(&stack.stranger.list("?limit=2000").await?).contains(&job.id), "another tenant's list shows the job");
    assert_eq!(stack.stranger.list(&format!("?id={}", job.id)).await?["total"], 0);
    for path in ["", "/keys", "?detail=false"] {
        stack.stranger.get(&job.path(path)).await?.refuses(404, 16, "")?;
    }
    // The stranger's own job over the same keys touches none of them.
    let strangers = stack.stranger.create("disablekey", &keys).await?.wait_until_ended().await?;
    assert_eq!((strangers.overall_status.as_str(), strangers.counts.failed), ("error", 2));
    assert!(stack.sim.states(&keys).await?.values().all(|state| state == "Enabled"));
    stack.admin.get(&format!("{BULKJOB}/{}", strangers.id)).await?.refuses(404, 16, "")
}

async fn every_path_answers_with_a_slash_at_its_end_too(stack: &Keyfleet) -> Result<()> {
    let keys = stack.sim.make_keys(1, "Disabled").await?;
    let order = serde_json::json!({"operation": "enablekey", "keys": keys});
    let job = stack.admin.post(&format!("{BULKJOB}/"), &order).await?.expect(201)?.job()?;
    for path in [
        format!("{BULKJOB}/?limit=1"),
        format!("{BULKJOB}/{}/", job.id),
        format!("{BULKJOB}/{}/keys/?limit=1", job.id),
        "/api/v1/cckm/aws/templates/".to_owned(),
        "/api/v1/auth/jwks.json/".to_owned(),
        "/api/openapi.json/".to_owned(),
        "/api/docs/".to_owned(),
        "/healthz/".to_owned(),
    ] {
        stack.admin.get(&path).await?.expect(200)?;
    }
    stack.admin.post(&format!("{BULKJOB}/{}/cancel/", job.id), &Value::Null).await?.expect(200)?;
    Ok(())
}
