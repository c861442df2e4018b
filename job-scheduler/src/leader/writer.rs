//! Writes final statuses in batches, then finishes the jobs that have no tasks left.

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

pub(super) async fn run(context: Context, leader: Handle, mut writes: mpsc::UnboundedReceiver<Write>) {
    let mut batch = Vec::new();
    let mut finish = Vec::new();
    while let Some(write) = writes.recv().await {
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
            if !write_batch(&context, &leader, &now_written).await {
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

/// Writes until it is written; `false` when this scheduler no longer leads.
async fn write_batch(context: &Context, leader: &Handle, batch: &[FinalTask]) -> bool {
    let mut backoff = Backoff::reconnect();
    loop {
        match context.store.task_finish_batch(leader.epoch, batch, wall()).await {
            Ok(_) => break,
            Err(store::Error::LostLeadership) => {
                leader.ended.cancel();
                return false;
            }
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
    leader.tell(Event::Written(batch.iter().map(|task| task.task).collect())).await.is_ok()
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
