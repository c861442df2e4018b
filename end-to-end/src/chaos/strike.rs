//! How a fault of the schedule is brought about, and ended.
//!
//! A victim that takes longer to recover than the schedule thought is not struck again before it has.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use dev_stack::Signal;
use futures_util::future::try_join_all;
use serde_json::json;
use tokio::sync::{Mutex, watch};
use tokio::time::{Instant, sleep, sleep_until};

use super::clocks::Clocks;
use super::links::Links;
use super::schedule::{Called, Fault, Hurt, KmsFault, Moment, Schedule, Victim};
use crate::patience::until;
use crate::stack::Keyfleet;

/// The queue that offers tasks to the workers.
pub(super) const TASKS: &str = "keyfleet.tasks.v1";
/// How far readings lag: less than the operation timeout, which looks wait, so that they are not misled.
const READ_LAG_MS: u32 = 400;
/// Whom a lost worker does not hear.
const DEAF_TO: [Called; 2] = [Called::RabbitMq, Called::Schedulers];
/// And for how long after it has thawed: what it had begun could go on meanwhile.
const STILL_DEAF: Duration = Duration::from_secs(1);
/// The share of requests that meet a fault of the KMS end.
const SHARE: f64 = 0.5;

/// Brings all faults about, each in its time, and returns when all have ended. Counts the workers that it loses.
///
/// # Errors
/// When a part cannot be struck or started again.
pub(super) async fn strike(
    stack: &Keyfleet,
    links: &Links,
    clocks: &Clocks,
    lost: &watch::Sender<u32>,
    schedule: &Schedule,
) -> Result<()> {
    let begun = Instant::now();
    let mut turns: BTreeMap<Victim, Mutex<()>> = BTreeMap::new();
    for moment in &schedule.moments {
        turns.entry(moment.fault.victim()).or_default();
    }
    let turns = &turns;
    let each = schedule.moments.iter().map(|moment| async move {
        sleep_until(begun + moment.at).await;
        let _turn = turns[&moment.fault.victim()].lock().await;
        if matches!(moment.fault, Fault::Lost(_)) {
            lost.send_modify(|count| *count += 1);
        }
        one(stack, links, clocks, moment).await.with_context(|| format!("{:?}", moment.fault))
    });
    try_join_all(each).await.map(drop)
}

async fn one(stack: &Keyfleet, links: &Links, clocks: &Clocks, moment: &Moment) -> Result<()> {
    let Moment { fault, lasts, .. } = *moment;
    match fault {
        Fault::Kill(part) => {
            stack.signal(part, Signal::KILL)?;
            sleep(lasts).await;
            stack.parts.start_again(part)
        }
        Fault::Freeze(part) => {
            stack.signal(part, Signal::STOP)?;
            sleep(lasts).await;
            stack.signal(part, Signal::CONT)
        }
        Fault::Lost(worker) => {
            let deafen = |hurt| DEAF_TO.iter().for_each(|called| links.set(worker, *called, hurt));
            deafen(Some(Hurt::Held));
            stack.signal(worker, Signal::STOP)?;
            sleep(lasts).await;
            stack.signal(worker, Signal::CONT)?;
            sleep(STILL_DEAF).await;
            deafen(None);
            Ok(())
        }
        Fault::Restart(part) => {
            stack.signal(part, Signal::TERM)?;
            sleep(lasts).await;
            let ended = async || Ok((!stack.parts.is_alive(part)).then_some(()));
            until(&format!("{part} to end when told to"), ended).await?;
            stack.parts.start_again(part)
        }
        Fault::Link(service, called, hurt) => {
            links.set(service, called, Some(hurt));
            sleep(lasts).await;
            links.set(service, called, None);
            Ok(())
        }
        Fault::ClockBack(part) => {
            clocks.set_back(part, true)?;
            sleep(lasts).await;
            clocks.set_back(part, false)
        }
        Fault::BrokerCloses => stack.parts.close_broker_connections().await,
        Fault::QueueDeleted => stack.parts.delete_queue(TASKS).await,
        Fault::Broker(killed) => {
            stack.signal("rabbitmq", if killed { Signal::KILL } else { Signal::TERM })?;
            sleep(lasts).await;
            stack.parts.restart("rabbitmq").await
        }
        Fault::Postgres(killed) => {
            // Interrupted, it ends its sessions at once and shuts down in order.
            stack.signal("postgres", if killed { Signal::KILL } else { Signal::INT })?;
            sleep(lasts).await;
            stack.parts.restart("postgres").await
        }
        Fault::ChannelClosed => stack.parts.close_a_broker_channel().await,
        Fault::BrokerDiskFull => {
            stack.parts.broker_disk(true).await?;
            sleep(lasts).await;
            stack.parts.broker_disk(false).await
        }
        Fault::PostgresDiskFull => {
            postgres_disk(stack, true).await?;
            sleep(lasts).await;
            postgres_disk(stack, false).await
        }
        Fault::Kms(fault) => {
            let change = match fault {
                KmsFault::ThrottlingException => json!({"faults": {"ThrottlingException": SHARE}}),
                KmsFault::KMSInternalException => json!({"faults": {"KMSInternalException": SHARE}}),
                KmsFault::Timeout => json!({"faults": {"timeout": SHARE}}),
                KmsFault::Disconnect => json!({"faults": {"disconnect": SHARE}}),
                KmsFault::Junk => json!({"faults": {"junk": SHARE}}),
                KmsFault::ReadLag => json!({"read_lag_ms": READ_LAG_MS}),
            };
            stack.sim.configure(&change).await?;
            sleep(lasts).await;
            stack.sim.configure(&json!({"faults": {}, "read_lag_ms": 0})).await
        }
    }
}

/// From now on whatever writes jobs, cursors or statuses is refused as by a full disk, or no longer. What follows a leadership
/// or keeps a worker goes on: it needs no room.
async fn postgres_disk(stack: &Keyfleet, full: bool) -> Result<()> {
    const TABLES: [&str; 3] = ["jobs", "job_lanes", "tasks"];
    let mut statements = vec![
        "CREATE OR REPLACE FUNCTION disk_is_full() RETURNS trigger LANGUAGE plpgsql AS $$
         BEGIN RAISE EXCEPTION 'could not extend file: No space left on device' USING ERRCODE = 'disk_full'; END $$"
            .to_owned(),
    ];
    statements.extend(TABLES.map(|table| match full {
        true => format!(
            "CREATE OR REPLACE TRIGGER disk_is_full BEFORE INSERT OR UPDATE ON {table}
             FOR EACH ROW EXECUTE FUNCTION disk_is_full()"
        ),
        false => format!("DROP TRIGGER IF EXISTS disk_is_full ON {table}"),
    }));
    for statement in statements {
        // Its lock waits for whoever writes at this moment.
        until("Postgres to take a trigger", async || Ok(stack.parts.query(&statement).ok())).await?;
    }
    Ok(())
}

/// Whoever has ended without having been told to.
///
/// # Errors
/// Names them.
pub(super) fn all_live(stack: &Keyfleet) -> Result<()> {
    let dead: Vec<&str> = stack.parts.names().filter(|part| !stack.parts.is_alive(part)).collect();
    ensure!(dead.is_empty(), "ended by themselves: {}", dead.join(", "));
    Ok(())
}
