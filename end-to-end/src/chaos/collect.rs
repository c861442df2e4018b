//! The evidence of a run, collected once all has come to rest.
//!
//! The rows of the database are read with statements of their own, not with those of the scheduler: evidence that came
//! through the code under test would share its mistakes.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::evidence::{AtRest, Evidence, JobRow, KeyFact, TaskRow, View};
use super::record::{Asked, Book};
use crate::caller::{BULKJOB, Caller};
use crate::job::{Counts, JobView, KeyRow, Page};
use crate::stack::Keyfleet;

/// Jobs that are read at once.
const READ_AT_ONCE: usize = 8;
/// The longest page there is.
const PAGE: usize = 2_000;

/// Collects everything.
///
/// # Errors
/// When somebody who is no longer under faults does not answer.
pub(super) async fn collect(stack: &Keyfleet, book: &Book) -> Result<Evidence> {
    let (history, asked) = book.read();
    let (jobs, tasks) = rows(stack)?;
    let at_rest = at_rest(stack, &jobs).await?;
    // Before the keys are asked for, which the log would tell as well.
    let kms = stack.sim.log_after(0).await?;
    let keys = facts(stack, asked).await?;
    Ok(Evidence { history, keys, jobs, tasks, kms, at_rest })
}

async fn facts(stack: &Keyfleet, asked: BTreeMap<String, Asked>) -> Result<BTreeMap<String, KeyFact>> {
    let there: Vec<String> = asked.iter().filter(|(_, asked)| asked.exists).map(|(key, _)| key.clone()).collect();
    let states = stack.sim.states(&there).await?;
    let fact = |(key, asked): (String, Asked)| {
        let holds_after = states.get(&key).is_some_and(|state| asked.wanted.contains(&state.as_str()));
        (key, KeyFact { held_before: asked.held_before, holds_after, reachable: asked.reachable })
    };
    Ok(asked.into_iter().map(fact).collect())
}

async fn at_rest(stack: &Keyfleet, jobs: &[JobRow]) -> Result<Vec<AtRest>> {
    let mut listed: BTreeMap<String, View> = BTreeMap::new();
    for caller in [&stack.admin, &stack.stranger] {
        for page in 0.. {
            let told = caller.list(&format!("?limit={PAGE}&skip={}", page * PAGE)).await?;
            let page: Page<JobView> = serde_json::from_value(told).context("a page of jobs")?;
            if page.resources.is_empty() {
                break;
            }
            listed.extend(page.resources.into_iter().map(|job| (job.id.clone(), View::from(job))));
        }
    }
    let reading = jobs.iter().map(|row| {
        let caller = if row.tenant == "acme:acme" { &stack.stranger } else { &stack.admin };
        let listed = listed.get(&row.id).cloned();
        async move { read(caller, &row.id, listed).await.with_context(|| format!("job {}", row.id)) }
    });
    stream::iter(reading).buffer_unordered(READ_AT_ONCE).try_collect().await
}

async fn read(caller: &Caller, id: &str, listed: Option<View>) -> Result<AtRest> {
    let read = View::from(caller.get(&format!("{BULKJOB}/{id}")).await?.expect(200)?.job()?);
    let answer = caller.get(&format!("{BULKJOB}/{id}/keys?limit={PAGE}")).await?.expect(200)?;
    let page: Page<KeyRow> = serde_json::from_str(&answer.text).context("a page of keys")?;
    let rows = page.resources.into_iter().map(|row| (row.key, row.state, row.detail)).collect();
    Ok(AtRest { read, listed, rows })
}

#[derive(Deserialize)]
struct JobColumns {
    id: String,
    tenant: String,
    state: String,
    abort: bool,
    total: usize,
    succeeded: usize,
    failed: usize,
    canceled: usize,
    already: usize,
}

#[derive(Deserialize)]
struct LaneColumns {
    job_id: String,
    lane: i16,
    next_seq: i32,
}

fn rows(stack: &Keyfleet) -> Result<(Vec<JobRow>, Vec<TaskRow>)> {
    let jobs: Vec<JobColumns> =
        select(stack, "SELECT id, tenant, state, abort, total, succeeded, failed, canceled, already FROM jobs")?;
    let lanes: Vec<LaneColumns> = select(stack, "SELECT job_id, lane, next_seq FROM job_lanes")?;
    let tasks = select(stack, "SELECT job_id AS job, seq, lane, key, state, detail FROM tasks")?;
    let mut cursors: BTreeMap<String, BTreeMap<i16, i32>> = BTreeMap::new();
    for lane in lanes {
        cursors.entry(lane.job_id).or_default().insert(lane.lane, lane.next_seq);
    }
    let job = |row: JobColumns| {
        let JobColumns { id, tenant, state, abort, total, succeeded, failed, canceled, already } = row;
        let in_progress = total - succeeded - failed - canceled;
        let counts = Counts { total, in_progress, succeeded, failed, canceled, already };
        JobRow { cursors: cursors.remove(&id).unwrap_or_default(), id, tenant, state, abort, counts }
    };
    Ok((jobs.into_iter().map(job).collect(), tasks))
}

fn select<T: DeserializeOwned>(stack: &Keyfleet, statement: &str) -> Result<Vec<T>> {
    let told = stack.parts.query(&format!("SELECT coalesce(json_agg(t), '[]') FROM ({statement}) t"))?;
    serde_json::from_str(&told).with_context(|| format!("the rows of {statement}"))
}
