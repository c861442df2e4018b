//! Several AWS accounts, each reached by a role of its own: synchronized, and worked on by one job together.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result, ensure};
use end_to_end::caller::{CONTAINERS, KEYS, SYNCHRONIZATIONS};
use end_to_end::kms_end::arn_in;
use end_to_end::patience::until;
use end_to_end::{JobView, Keyfleet, Row, StackSettings, scenarios, verdict};
use serde_json::{Value, json};

/// Two accounts, neither of them the default one, with two Regions each.
const ACCOUNTS: [&str; 2] = ["222233334444", "333344445555"];
const REGIONS: [&str; 2] = ["eu-west-1", "us-east-1"];
/// Keys in each account and Region.
const KEYS_EACH: usize = 2_500;

#[tokio::test(flavor = "multi_thread")]
async fn accounts_are_reached_by_their_own_roles() {
    let settings = StackSettings { quota: "off".to_owned(), ..StackSettings::default() };
    let stack = Keyfleet::start(settings).await.unwrap();
    scenarios!(stack;
        two_accounts_are_synchronized,
        a_job_by_resource_id_goes_over_all,
        a_job_by_arn_goes_over_all,
        a_job_by_selector_takes_those_of_one_container,
        a_dry_run_changes_nothing_anywhere,
        a_region_that_a_container_does_not_have_is_not_reached,
    );
}

fn places() -> impl Iterator<Item = (&'static str, &'static str)> {
    ACCOUNTS.into_iter().flat_map(|account| REGIONS.into_iter().map(move |region| (account, region)))
}

fn name(account: &str) -> String {
    format!("of-{account}")
}

/// The first ten registered keys of a place: their resource ids, and their ids in AWS.
async fn registered(stack: &Keyfleet, account: &str, region: &str, sort: &str) -> Result<Vec<(String, String)>> {
    let path = format!("{KEYS}?kms={}&region={region}&limit=10&sort={sort}", name(account));
    let listed = stack.admin.get(&path).await?.expect(200)?.body;
    let rows = listed["resources"].as_array().context("resources")?;
    let text = |value: &Value| value.as_str().map(str::to_owned).context("a text");
    rows.iter().map(|row| Ok((text(&row["id"])?, text(&row["aws_param"]["KeyID"])?))).collect()
}

/// All requests that arrived since, each of which must be of the account that its key is in.
async fn by_own_roles(stack: &Keyfleet, since: u64, own: &BTreeMap<String, (&str, &str)>) -> Result<Vec<Row>> {
    let mut rows = stack.sim.log_after(since).await?;
    rows.retain(|row| row.key.as_ref().is_some_and(|key| own.contains_key(key)));
    ensure!(!rows.is_empty(), "nothing was asked about the keys");
    for row in &rows {
        let (account, region) = own[row.key.as_deref().unwrap_or_default()];
        ensure!(
            (row.account.as_str(), row.region.as_str()) == (account, region),
            "a key of {account} {region}: {row:?}"
        );
    }
    Ok(rows)
}

/// The keys that a request of this operation has changed, each once.
fn changed<'a>(rows: &'a [Row], op: &str) -> Result<BTreeSet<&'a str>> {
    let mut keys = BTreeSet::new();
    for row in rows.iter().filter(|row| row.op == op && row.status == 200) {
        let key = row.key.as_deref().unwrap_or_default();
        ensure!(keys.insert(key), "{key} was changed twice");
    }
    Ok(keys)
}

/// Ten keys of each place, by how a job names them, and where each is by its id in AWS.
struct Named {
    ids: Vec<String>,
    arns: Vec<String>,
    own: BTreeMap<String, (&'static str, &'static str)>,
}

async fn ten_of_each(stack: &Keyfleet, sort: &str) -> Result<Named> {
    let mut named = Named { ids: Vec::new(), arns: Vec::new(), own: BTreeMap::new() };
    for (account, region) in places() {
        for (id, key) in registered(stack, account, region, sort).await? {
            named.ids.push(id);
            named.arns.push(arn_in(account, region, &key));
            named.own.insert(key, (account, region));
        }
    }
    assert_eq!(named.own.len(), 40);
    Ok(named)
}

/// Runs a job over forty keys and holds the KMS end's log against it.
async fn runs_over_all(stack: &Keyfleet, operation: &str, op: &str, keys: &[String], named: &Named) -> Result<JobView> {
    let since = stack.sim.mark(0).await?;
    let job = stack.create(operation, keys).await?.wait_until_ended().await?;
    verdict::all_are_success(&job)?;
    let rows = by_own_roles(stack, since, &named.own).await?;
    assert_eq!(changed(&rows, op)?.len(), 40);
    Ok(job)
}

async fn two_accounts_are_synchronized(stack: &Keyfleet) -> Result<()> {
    for (account, region) in places() {
        let new = json!({"count": KEYS_EACH, "account": account, "region": region, "state": "Disabled"});
        stack.sim.make_keys_as(&new).await?;
    }
    for account in ACCOUNTS {
        let (role, external_id) = (format!("arn:aws:iam::{account}:role/keyfleet"), format!("id-of-{account}"));
        stack.sim.rule_roles(&json!({(role.clone()): {"external_id": external_id}})).await?;
        let new = json!({"name": name(account), "account_id": account, "regions": REGIONS,
            "assume_role_arn": role, "assume_role_external_id": external_id});
        stack.admin.post(CONTAINERS, &new).await?.expect(201)?;
    }
    let order = json!({"kms": ACCOUNTS.map(name)});
    let made = stack.admin.post(SYNCHRONIZATIONS, &order).await?.expect(201)?.body;
    let path = format!("{SYNCHRONIZATIONS}/{}", made["id"].as_str().context("an id")?);
    let done = until("the synchronization ends", async || {
        let now = stack.admin.get(&path).await?.expect(200)?.body;
        Ok((now["overall_status"] != "in_progress").then_some(now))
    })
    .await?;
    assert_eq!(
        (&done["overall_status"], &done["counts"]["keys"]),
        (&json!("completed"), &json!(4 * KEYS_EACH)),
        "{done}"
    );
    for (account, region) in places() {
        assert_eq!(done["detailed_status"][format!("{}/{region}", name(account))], "completed");
        let path = format!("{KEYS}?kms={}&region={region}&limit=0", name(account));
        assert_eq!(stack.admin.get(&path).await?.expect(200)?.body["total"], KEYS_EACH);
    }
    for row in stack.sim.log_after(0).await? {
        ensure!(ACCOUNTS.contains(&row.account.as_str()), "the default account was asked: {row:?}");
    }
    Ok(())
}

async fn a_job_by_resource_id_goes_over_all(stack: &Keyfleet) -> Result<()> {
    let named = ten_of_each(stack, "id").await?;
    let job = runs_over_all(stack, "enablekey", "EnableKey", &named.ids, &named).await?;
    assert_eq!(job.keys, named.ids);
    for account in ACCOUNTS {
        let path = format!("{KEYS}?kms={}&enabled=true&limit=0", name(account));
        assert_eq!(stack.admin.get(&path).await?.expect(200)?.body["total"], 20);
    }
    Ok(())
}

async fn a_job_by_arn_goes_over_all(stack: &Keyfleet) -> Result<()> {
    let named = ten_of_each(stack, "id").await?;
    let job = runs_over_all(stack, "schedulekeydeletion", "ScheduleKeyDeletion", &named.arns, &named).await?;
    assert_eq!(job.keys, named.arns);
    runs_over_all(stack, "cancelkeydeletion", "CancelKeyDeletion", &named.arns, &named).await?;
    Ok(())
}

async fn a_job_by_selector_takes_those_of_one_container(stack: &Keyfleet) -> Result<()> {
    let (account, since) = (ACCOUNTS[1], stack.sim.mark(0).await?);
    let order = json!({"operation": "enablekey", "selector": {"container": name(account), "state": "Disabled"}});
    let job = stack.admin.create_as(&order).await?;
    // Over 1,000 keys.
    let done = job.wait_until_ended().await?;
    assert_eq!((done.counts.total, done.counts.succeeded), (2 * KEYS_EACH, 2 * KEYS_EACH));
    let rows: Vec<Row> = stack.sim.log_after(since).await?.into_iter().filter(Row::is_mutating).collect();
    ensure!(rows.iter().all(|row| row.account == account), "another account's key was changed");
    assert_eq!(changed(&rows, "EnableKey")?.len(), 2 * KEYS_EACH);
    Ok(())
}

async fn a_dry_run_changes_nothing_anywhere(stack: &Keyfleet) -> Result<()> {
    // Of one account untouched so far and disabled, of the other enabled by the job before.
    let named = ten_of_each(stack, "-id").await?;
    let since = stack.sim.mark(0).await?;
    let order = json!({"operation": "disablekey", "keys": named.arns, "dry_run": true});
    let job = stack.admin.create_as(&order).await?.wait_until_ended().await?;
    assert_eq!(
        (job.overall_status.as_str(), job.counts.succeeded, job.counts.already),
        ("completed", 40, 20),
        "{job:?}"
    );
    let rows = by_own_roles(stack, since, &named.own).await?;
    ensure!(rows.iter().all(|row| !row.is_mutating()), "a dry run changed something");
    Ok(())
}

async fn a_region_that_a_container_does_not_have_is_not_reached(stack: &Keyfleet) -> Result<()> {
    let since = stack.sim.mark(0).await?;
    let strange = [arn_in(ACCOUNTS[0], "ap-south-1", "k"), arn_in("999988887777", "us-east-1", "k")];
    let job = stack.create("enablekey", &strange).await?.wait_until_ended().await?;
    let failed = |key: &str, text: &str| -> Result<()> {
        let status = job.status(key)?;
        ensure!(status.starts_with("Failed: NotFoundException: ") && status.contains(text), "{status}");
        Ok(())
    };
    failed(&strange[0], &name(ACCOUNTS[0]))?;
    failed(&strange[1], "999988887777")?;
    assert_eq!(stack.sim.log_after(since).await?, []);
    Ok(())
}
