//! How long work pauses when one thing breaks: measured at the KMS end, with the settings that a deployment has.
//!
//! A job runs at a steady pace; something breaks once it is midway. The pause is the longest time without a granted
//! request from then on, and what follows the end of a fault (a server that is back) is told beside it.

use std::fmt;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use dev_stack::{ServersFrom, Signal, StackSettings};
use serde_json::json;
use tokio::time::sleep;

use super::links::Links;
use super::record::now_ns;
use super::schedule::{Called, Hurt, SERVICES};
use crate::kms_end::Row;
use crate::stack::Keyfleet;

/// Requests a second while nothing is broken: one in 10 ms.
const PACE: &str = r#"{"EnableKey": 100}"#;
/// Keys of a job: 50 s of work.
const KEYS: usize = 5_000;
/// So many are done when something breaks.
const MIDWAY: usize = 300;
/// How long a fault lasts that has an end.
const LASTS: Duration = Duration::from_secs(10);
/// The settings' default.
const OPERATION_TIMEOUT: Duration = Duration::from_secs(5);

/// What breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Break {
    Nothing,
    LeaderKilled,
    LeaderFrozen,
    LeaderToldToEnd,
    LeaderCutFromPostgres,
    LeaderCutFromRabbit,
    WorkerKilled,
    WorkerFrozen,
    AllWorkersKilled,
    RabbitKilled,
    RabbitClosesAll,
    QueueDeleted,
    PostgresKilled,
    GatewayKilled,
}

impl Break {
    /// All of them.
    pub const ALL: [Self; 14] = [
        Self::Nothing,
        Self::LeaderKilled,
        Self::LeaderFrozen,
        Self::LeaderToldToEnd,
        Self::LeaderCutFromPostgres,
        Self::LeaderCutFromRabbit,
        Self::WorkerKilled,
        Self::WorkerFrozen,
        Self::AllWorkersKilled,
        Self::RabbitKilled,
        Self::RabbitClosesAll,
        Self::QueueDeleted,
        Self::PostgresKilled,
        Self::GatewayKilled,
    ];
}

/// What a break cost.
#[derive(Clone, Copy, Debug)]
pub struct Pause {
    what: Break,
    /// The longest time without a granted request.
    longest: Duration,
    /// From the end of the fault to the first granted request after it.
    after_its_end: Duration,
    /// From the break to the end of the job, beyond what the keys left take at the pace.
    extra: Duration,
}

impl fmt::Display for Pause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { what, longest, after_its_end, extra } = self;
        let s = Duration::as_secs_f64;
        let name = format!("{what:?}");
        write!(
            f,
            "{name:<22} longest pause {:>5.2} s, first request {:>5.2} s after the fault's end, job {:>5.1} s longer",
            s(longest),
            s(after_its_end),
            s(extra),
        )
    }
}

/// Breaks one thing in a stack of its own, and measures the pause.
///
/// # Errors
/// When the stack does not start, or the job does not end well.
pub async fn pause(what: Break) -> Result<Pause> {
    let mut settings = StackSettings {
        workers: 3,
        gateways: 2,
        quota: PACE.to_owned(),
        servers: ServersFrom::Own,
        ..StackSettings::default()
    };
    let links = Links::lay(&mut settings, OPERATION_TIMEOUT).await?;
    let stack = Keyfleet::start(settings).await?;
    stack.sim.configure(&json!({"latency_ms": {"mean": 20, "p99": 60}})).await?;
    let keys = stack.sim.make_keys(KEYS, "Disabled").await?;
    let job = stack.create("enablekey", &keys).await?;
    let midway = job.wait_until_done(MIDWAY).await?;

    let (broken, mended) = strike(&stack, &links, what).await?;
    let ended = job.wait_until_ended().await?;
    ensure!(ended.counts.succeeded == KEYS, "{what:?}: {:?}", ended.counts);
    let granted: Vec<u64> =
        stack.sim.log_of(&keys).await?.iter().filter(|row: &&Row| row.status == 200).map(|row| row.at_ns).collect();
    let after: Vec<u64> = granted.iter().copied().filter(|at| *at >= broken).collect();
    let last = after.last().copied().context("nothing was left to do")?;
    let before = granted.iter().rev().find(|at| **at < broken).copied().unwrap_or(broken);
    let gaps = std::iter::once(before).chain(after.iter().copied()).zip(after.iter().copied());
    let longest = gaps.map(|(earlier, later)| later.saturating_sub(earlier)).max().unwrap_or_default();
    let first = after.iter().find(|at| **at >= mended).copied().unwrap_or(mended);
    let left = u64::try_from(KEYS - midway.counts.succeeded)? * 10_000_000;
    Ok(Pause {
        what,
        longest: Duration::from_nanos(longest),
        after_its_end: Duration::from_nanos(first.saturating_sub(mended)),
        extra: Duration::from_nanos(last.saturating_sub(broken).saturating_sub(left)),
    })
}

/// Breaks it, and gives the wall-clock nanoseconds of that and of the fault's end.
async fn strike(stack: &Keyfleet, links: &Links, what: Break) -> Result<(u64, u64)> {
    let leader = stack.leader().await?;
    let scheduler = SERVICES.into_iter().find(|service| *service == leader).context("the leader's name")?;
    let workers: Vec<&str> = SERVICES.into_iter().filter(|service| service.starts_with("kms-worker")).collect();
    let broken = now_ns();
    match what {
        Break::Nothing => {}
        Break::LeaderKilled => stack.signal(&leader, Signal::KILL)?,
        Break::LeaderToldToEnd => stack.signal(&leader, Signal::TERM)?,
        Break::WorkerKilled => stack.signal(workers[0], Signal::KILL)?,
        Break::GatewayKilled => stack.signal("api-gateway-2", Signal::KILL)?,
        Break::LeaderFrozen | Break::WorkerFrozen => {
            let frozen = if what == Break::LeaderFrozen { scheduler } else { workers[0] };
            stack.signal(frozen, Signal::STOP)?;
            sleep(LASTS).await;
            stack.signal(frozen, Signal::CONT)?;
        }
        Break::LeaderCutFromPostgres | Break::LeaderCutFromRabbit => {
            let called = if what == Break::LeaderCutFromPostgres { Called::Postgres } else { Called::RabbitMq };
            links.set(scheduler, called, Some(Hurt::Cut));
            sleep(LASTS).await;
            links.set(scheduler, called, None);
        }
        Break::AllWorkersKilled => {
            for worker in &workers {
                stack.signal(worker, Signal::KILL)?;
            }
            for worker in &workers {
                stack.parts.restart(worker).await?;
            }
        }
        Break::RabbitKilled | Break::PostgresKilled => {
            let server = if what == Break::RabbitKilled { "rabbitmq" } else { "postgres" };
            stack.signal(server, Signal::KILL)?;
            stack.parts.restart(server).await?;
        }
        Break::RabbitClosesAll => stack.parts.close_broker_connections().await?,
        Break::QueueDeleted => stack.parts.delete_queue(super::strike::TASKS).await?,
    }
    Ok((broken, now_ns()))
}
