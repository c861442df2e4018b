//! The demo: a bulk job over 1,000 keys, the same again, and one over 2,000 keys stopped midway.
//!
//! It is also a check: each thing it says is compared with what the KMS end says, key by key, and a
//! difference ends it with an error. Quotas are raised so that it takes seconds; nothing else is special.

mod gateway;
mod kms_end;
mod show;

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use self::gateway::{Gateway, Job};
use self::kms_end::KmsEnd;
use crate::keeper::Keeper;
use crate::launch::{Launched, launch, off_thread};
use crate::patience::Stopwatch;
use crate::servers::{Durability, Given, Servers, Wire};
use crate::settings::StackSettings;
use crate::site::Site;

/// A hundred and forty times AWS's own, so that nobody waits minutes for a demonstration.
const QUOTA: &str = r#"{"EnableKey": 500, "DisableKey": 200}"#;
/// What a KMS request takes in the same building.
const LATENCY_MEAN_MS: u32 = 20;
const LATENCY_P99_MS: u32 = 100;
/// A job of the demo takes 10 s at most; one that takes this long hangs.
const JOB_PATIENCE: Duration = Duration::from_secs(120);
/// How long to listen for a late request after the cancel was answered.
const LISTEN: Duration = Duration::from_secs(2);

/// Runs the demo from nothing to nothing.
///
/// # Errors
/// When something does not start, fails, or is not as it was said to be.
pub async fn demo() -> Result<()> {
    println!("A bulk job, run and stopped. All of it is on this machine, and gone at the end.");
    let own_program = std::env::current_exe().context("cannot find my own program")?;
    let site = Site::temporary()?;
    let keeper = Keeper::start(&own_program, &site)?;
    // An interrupt before this is done ends the process as usual, and the keeper works alone: it must not
    // stop what is still being started.
    let launched = off_thread(move || start(&site)).await;
    let result = match launched {
        Ok(launched) => tokio::select! {
            result = story(&launched) => result,
            _ = tokio::signal::ctrl_c() => Err(anyhow::anyhow!("interrupted")),
        },
        Err(error) => Err(error),
    };
    println!("Stopping everything.");
    off_thread(move || keeper.finish()).await?;
    result?;
    println!("Done. Nothing is left running. `make up` starts a stack that stays.");
    Ok(())
}

async fn story(launched: &Launched) -> Result<()> {
    let kms = KmsEnd::new(&launched.kms_endpoint)?;
    let gateway = Gateway::login(&launched.urls[0], &launched.ca_pem, &launched.users.admin).await?;
    kms.configure("null", LATENCY_MEAN_MS, LATENCY_P99_MS).await?;

    let keys = kms.make_keys(1000, "Disabled").await?;
    println!("1. Enable 1,000 disabled keys (500 a second are allowed here; AWS allows 5)");
    let first = run(&gateway, &kms, "enablekey", &keys).await?;
    ensure!(first.tally("Success") == keys.len(), "not every key succeeded: {}", first.summary());
    compare(&first, &kms.states(&keys).await?)?;
    println!("   The KMS end says the same, key by key.\n");

    println!("2. The same job again");
    let before = kms.mutating_requests().await?;
    let again = run(&gateway, &kms, "enablekey", &keys).await?;
    let sent = kms.mutating_requests().await? - before;
    ensure!(again.tally("Success") == keys.len(), "not every key succeeded: {}", again.summary());
    ensure!(sent == 0, "{sent} mutating requests reached the KMS end, though every key was enabled already");
    println!("   Every key was enabled already: no mutating request was sent.\n");

    let mut keys = keys;
    keys.extend(kms.make_keys(1000, "Enabled").await?);
    println!("3. Disable 2,000 keys, 200 a second, and cancel midway");
    cancel_midway(&gateway, &kms, &keys).await
}

fn start(site: &Site) -> Result<Launched> {
    println!("Starting Postgres, RabbitMQ, a simulated KMS, two schedulers, two workers and a gateway.");
    let watch = Stopwatch::start();
    let servers = Servers::start(site, Durability::Durable, &Given::default(), Wire::Plain)?;
    let settings = StackSettings { quota: QUOTA.to_owned(), ..StackSettings::default() };
    let launched = launch(site, &settings, &servers)?;
    println!("Ready after {}.\n", show::seconds(watch.read()));
    Ok(launched)
}

/// Runs a job to its end and tells what it took.
async fn run(gateway: &Gateway, kms: &KmsEnd, operation: &str, keys: &[String]) -> Result<Job> {
    let before = kms.requests().await?;
    let watch = Stopwatch::start();
    let id = gateway.create(operation, keys).await?;
    let progress = show::Progress::new(keys.len());
    let done = async {
        loop {
            let job = gateway.job(&id, false).await?;
            progress.at(job.done());
            if job.is_final() {
                return anyhow::Ok(());
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(JOB_PATIENCE, done).await.context("the job does not end")??;
    progress.finish();
    let job = gateway.job(&id, true).await?;
    show::table(&job, watch.read(), &difference(&before, &kms.requests().await?));
    Ok(job)
}

async fn cancel_midway(gateway: &Gateway, kms: &KmsEnd, keys: &[String]) -> Result<()> {
    let before = kms.requests().await?;
    let watch = Stopwatch::start();
    let id = gateway.create("disablekey", keys).await?;
    let progress = show::Progress::new(keys.len());
    let some_done = async {
        loop {
            let job = gateway.job(&id, false).await?;
            progress.at(job.done());
            if job.done() >= keys.len() * 2 / 5 {
                return anyhow::Ok(());
            }
            ensure!(!job.is_final(), "the job ended before it could be cancelled: {}", job.summary());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(JOB_PATIENCE, some_done).await.context("the job does not get on")??;

    let answer = gateway.cancel(&id).await?;
    progress.finish();
    println!("   Cancel answered {} after {} ms.", answer.status, answer.took.as_millis());
    ensure!(answer.status == 200, "cancel must answer 200 while no worker is lost");
    let job = gateway.job(&id, true).await?;
    show::table(&job, watch.read(), &difference(&before, &kms.requests().await?));
    ensure!(job.overall_status == "canceled", "the job should be canceled: {}", job.summary());
    ensure!(job.tally("Canceled") > 0, "no key was left to cancel: {}", job.summary());

    tokio::time::sleep(LISTEN).await;
    let late = kms.mutating_since(answer.at_ns).await?;
    ensure!(late == 0, "{late} mutating requests reached the KMS end after the answer");
    println!("   In the {} s since the answer no mutating request reached the KMS end.", LISTEN.as_secs());
    compare(&gateway.job(&id, true).await?, &kms.states(keys).await?)?;
    println!("   Disabled are exactly the keys that read Success, the others are as they were.\n");
    Ok(())
}

/// Each status against the key's state at the KMS end.
fn compare(job: &Job, states: &BTreeMap<String, String>) -> Result<()> {
    let (asked, other) = match job.operation.as_str() {
        "enablekey" => ("Enabled", "Disabled"),
        "disablekey" => ("Disabled", "Enabled"),
        unknown => bail!("the demo does not know {unknown}"),
    };
    ensure!(job.detailed_status.len() == states.len(), "the job tells of {} keys", job.detailed_status.len());
    for (key, status) in &job.detailed_status {
        let expected = match status.as_str() {
            "Success" => asked,
            "Canceled" => other,
            unexpected => bail!("key {key} reads {unexpected:?}"),
        };
        let state = states.get(key).map_or("unknown", String::as_str);
        ensure!(state == expected, "key {key} reads {status:?}, but the KMS end says it is {state}");
    }
    Ok(())
}

fn difference(before: &BTreeMap<String, u64>, after: &BTreeMap<String, u64>) -> BTreeMap<String, u64> {
    after
        .iter()
        .map(|(operation, count)| (operation.clone(), count - before.get(operation).unwrap_or(&0)))
        .filter(|(_, count)| *count > 0)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job(status: &str) -> Job {
        Job {
            operation: "disablekey".to_owned(),
            overall_status: "canceled".to_owned(),
            counts: BTreeMap::new(),
            detailed_status: [("k".to_owned(), status.to_owned())].into(),
        }
    }

    #[test]
    fn a_status_that_the_kms_end_contradicts_is_found() {
        let states = |state: &str| [("k".to_owned(), state.to_owned())].into();
        assert!(compare(&job("Success"), &states("Disabled")).is_ok());
        assert!(compare(&job("Canceled"), &states("Enabled")).is_ok());
        assert!(compare(&job("Success"), &states("Enabled")).is_err());
        assert!(compare(&job("Canceled"), &states("Disabled")).is_err());
        assert!(compare(&job("in_progress"), &states("Enabled")).is_err());
        assert!(compare(&job("Success"), &BTreeMap::new()).is_err());
    }
}
