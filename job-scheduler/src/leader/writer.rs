//! Writes final statuses in batches, then finishes the jobs that have no tasks left.
//!
//! One status that the database will never take must not stop all others, so a batch that is refused for what is in it is
//! taken apart. What passes (no connection, no time, no leader row yet) is tried again as it is.

use std::time::Duration;

use job_model::{JobId, TaskState};
use service_kit::{clock::wall, retry::Backoff};
use tokio::sync::mpsc;

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
    /// A job none of whose tasks is left.
    Finish(JobId),
}

/// How long a status that the database refuses is left aside before it is tried again.
const ASIDE_FOR: Duration = Duration::from_secs(5);

/// Statuses that the database refuses even bare: its rows contradict them. They wait for somebody to look at the log,
/// and nothing else waits for them.
type Aside = Vec<FinalTask>;

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
    let mut batch = Vec::new();
    let mut finish = Vec::new();
    let mut aside = Aside::new();
    loop {
        let write = tokio::select! {
            write = writes.recv() => write,
            () = tokio::time::sleep(ASIDE_FOR), if !aside.is_empty() => {
                if !write_all(&context, &leader, std::mem::take(&mut aside), &mut aside).await {
                    return;
                }
                continue;
            }
        };
        let Some(write) = write else { return };
        let mut next = Some(write);
        while let Some(write) = next.take() {
            match write {
                Write::Final(tasks) => batch.extend(tasks),
                Write::Finish(job) => finish.push(job),
            }
            if batch.len() < BATCH {
                next = writes.try_recv().ok();
            }
        }
        while !batch.is_empty() {
            let now_written: Vec<_> = batch.drain(..batch.len().min(BATCH)).collect();
            if !write_all(&context, &leader, now_written, &mut aside).await {
                return;
            }
        }
        for job in finish.drain(..) {
            if !finish_job(&context, &leader, job).await {
                return;
            }
        }
    }
}

/// Writes a batch. One that is refused is halved until the status that is refused stands alone: that one is written bare,
/// or left aside. `false` when this scheduler no longer leads.
async fn write_all(context: &Context, leader: &Handle, batch: Vec<FinalTask>, aside: &mut Aside) -> bool {
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
                aside.push(task);
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

async fn finish_job(context: &Context, leader: &Handle, job: JobId) -> bool {
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
            Err(error @ (store::Error::Database(_) | store::Error::Inconsistent { .. })) => {
                tracing::warn!(%error, job.id = %job, "A job could not be finished yet.");
            }
        }
        backoff.wait().await;
    }
    tracing::info!(job.id = %job, "A job finished.");
    leader.tell(Event::Finished(job)).await.is_ok()
}
