//! Writes final statuses in batches, then finishes the jobs whose last ones are among them: in this order, for a job
//! must not end before its statuses are committed.
//!
//! One status that the database will never take must not stop all others, so a batch that is refused for what is in it is
//! taken apart. What passes (no connection, no time, no leader row yet) is tried again as it is.

use std::time::Duration;

use job_model::{JobId, TaskState};
use service_kit::{clock::wall, retry::Backoff};
use tokio::{
    sync::mpsc,
    time::{Instant, sleep_until},
};

use super::{Event, Handle};
use crate::{
    Context,
    store::{self, jobs::Finish, report::FinalTask},
};

/// Statuses written in one statement at the most.
const BATCH: usize = 1_000;

/// What is to be written.
#[derive(Debug)]
pub(super) enum Write {
    /// Tasks that ended.
    Final(Vec<FinalTask>),
    /// A job whose last statuses were given before.
    Finish(JobId),
}

/// How long a status that the database refuses is left aside before it is tried again.
const ASIDE_FOR: Duration = Duration::from_secs(5);

/// What the database refuses even bare: its rows contradict it. It waits for somebody to look at the log, and nothing else
/// waits for it.
#[derive(Default)]
struct Aside {
    statuses: Vec<FinalTask>,
    jobs: Vec<JobId>,
}

impl Aside {
    const fn is_empty(&self) -> bool {
        self.statuses.is_empty() && self.jobs.is_empty()
    }
}

/// What became of a batch.
enum Persisted {
    /// It is committed.
    Written,
    /// The database refuses something of it for what it is.
    Refused(store::Error),
    /// This scheduler no longer leads.
    Lost,
}

pub(super) async fn run(context: Context, leader: Handle, mut writes: mpsc::UnboundedReceiver<Write>) {
    let mut aside = Aside::default();
    let mut again_at = Instant::now();
    loop {
        let write = tokio::select! {
            write = writes.recv() => write,
            () = sleep_until(again_at), if !aside.is_empty() => {
                let Aside { statuses, jobs } = std::mem::take(&mut aside);
                if !write_all(&context, &leader, statuses, jobs, &mut aside).await {
                    return;
                }
                again_at = Instant::now() + ASIDE_FOR;
                continue;
            }
        };
        let Some(write) = write else { return };
        let (mut statuses, mut jobs) = (Vec::new(), Vec::new());
        let mut next = Some(write);
        while let Some(write) = next.take() {
            match write {
                Write::Final(tasks) => statuses.extend(tasks),
                Write::Finish(job) => jobs.push(job),
            }
            if statuses.len() < BATCH {
                next = writes.try_recv().ok();
            }
        }
        if aside.is_empty() {
            again_at = Instant::now() + ASIDE_FOR;
        }
        if !write_all(&context, &leader, statuses, jobs, &mut aside).await {
            return;
        }
    }
}

/// Writes these statuses in batches, then finishes the jobs; one that has a status aside waits for it. `false` when this scheduler no longer leads.
async fn write_all(
    context: &Context,
    leader: &Handle,
    mut statuses: Vec<FinalTask>,
    jobs: Vec<JobId>,
    aside: &mut Aside,
) -> bool {
    while !statuses.is_empty() {
        let rest = statuses.split_off(statuses.len().min(BATCH));
        if !write_batch(context, leader, statuses, aside).await {
            return false;
        }
        statuses = rest;
    }
    for job in jobs {
        if aside.statuses.iter().any(|status| status.task.job == job) {
            aside.jobs.push(job);
            continue;
        }
        if !finish_job(context, leader, job, aside).await {
            return false;
        }
    }
    true
}

/// Writes a batch. One that is refused is halved until the status that is refused stands alone: that one is written bare,
/// or left aside. `false` when this scheduler no longer leads.
async fn write_batch(context: &Context, leader: &Handle, batch: Vec<FinalTask>, aside: &mut Aside) -> bool {
    let mut parts = vec![batch];
    while let Some(mut part) = parts.pop() {
        let error = match persist(context, leader, &part).await {
            Persisted::Written => continue,
            Persisted::Lost => return false,
            Persisted::Refused(error) => error,
        };
        if part.len() > 1 {
            parts.push(part.split_off(part.len() / 2));
            parts.push(part);
            continue;
        }
        let Some(task) = part.pop() else { continue };
        let id = task.task;
        tracing::error!(%error, job.id = %id.job, task.seq = id.seq, "A status cannot be stored as it is.");
        metrics::counter!("keyfleet_store_refusals_total", "of" => "status").increment(1);
        let bare = task.bare();
        match persist(context, leader, std::slice::from_ref(&bare)).await {
            Persisted::Written => {}
            Persisted::Lost => return false,
            Persisted::Refused(error) => {
                tracing::error!(%error, job.id = %id.job, task.seq = id.seq, "Nor bare; it is left aside.");
                aside.statuses.push(task);
            }
        }
    }
    true
}

/// Writes until it is written or refused, and tells the board.
async fn persist(context: &Context, leader: &Handle, batch: &[FinalTask]) -> Persisted {
    let mut backoff = Backoff::reconnect();
    loop {
        match context.store.task_finish_batch(leader.epoch, batch, wall()).await {
            Ok(_) => break,
            Err(store::Error::LostLeadership) => {
                leader.ended.cancel();
                return Persisted::Lost;
            }
            Err(error) if error.is_lasting() => return Persisted::Refused(error),
            Err(error @ (store::Error::Database(_) | store::Error::Inconsistent { .. })) => {
                tracing::warn!(%error, tasks = batch.len(), "Final statuses could not be written yet.");
            }
        }
        backoff.wait().await;
    }
    for state in TaskState::FINAL {
        let count = batch.iter().filter(|task| task.state == state).count();
        metrics::counter!("keyfleet_tasks_finished_total", "state" => state.as_str())
            .increment(u64::try_from(count).unwrap_or(0));
    }
    match leader.tell(Event::Written(batch.iter().map(|task| task.task).collect())).await {
        Ok(()) => Persisted::Written,
        Err(super::NotLeading) => Persisted::Lost,
    }
}

async fn finish_job(context: &Context, leader: &Handle, job: JobId, aside: &mut Aside) -> bool {
    let mut backoff = Backoff::reconnect();
    loop {
        match context.store.job_finish(leader.epoch, job, wall()).await {
            // Before: by a try whose answer was lost.
            Ok(Finish::Done | Finish::Before) => break,
            Ok(Finish::Incomplete) => {
                tracing::error!(job.id = %job, "The database lost what it had confirmed; leading anew from what it has.");
                leader.ended.cancel();
                return false;
            }
            Err(store::Error::LostLeadership) => {
                leader.ended.cancel();
                return false;
            }
            Err(error) if error.is_lasting() => {
                tracing::error!(%error, job.id = %job, "A job's finish cannot be stored; it is left aside.");
                metrics::counter!("keyfleet_store_refusals_total", "of" => "finish").increment(1);
                aside.jobs.push(job);
                return true;
            }
            Err(error @ (store::Error::Database(_) | store::Error::Inconsistent { .. })) => {
                tracing::warn!(%error, job.id = %job, "A job could not be finished yet.");
            }
        }
        backoff.wait().await;
    }
    tracing::info!(job.id = %job, "A job finished.");
    leader.tell(Event::Finished(job)).await.is_ok()
}
