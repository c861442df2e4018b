//! What RabbitMQ brings the leader: abort commands and dead letters.

use job_model::JobId;
use service_kit::{clock::wall, retry::Backoff};
use task_queue::DeadReason;
use tokio::sync::mpsc;

use super::{Event, Handle, NotLeading};
use crate::{
    Context,
    store::{self, jobs::Aborted},
};

/// Has the workers told of a job's abort, commits it, then tells the board. Safe to repeat; answers what was found.
///
/// # Errors
/// [`NotLeading`], also when another scheduler has taken over.
pub async fn abort(context: &Context, leader: &Handle, job: JobId, by: &str) -> Result<Aborted, NotLeading> {
    leader.tell(Event::AbortHeard(job)).await?;
    let mut backoff = Backoff::reconnect();
    let found = loop {
        match context.store.job_abort(leader.epoch, job, by, wall()).await {
            Ok(found) => break found,
            Err(store::Error::LostLeadership) => {
                leader.ended.cancel();
                return Err(NotLeading);
            }
            Err(error @ (store::Error::Database(_) | store::Error::Inconsistent { .. })) => {
                tracing::warn!(%error, job.id = %job, "An abort could not be committed yet.");
            }
        }
        tokio::select! {
            () = leader.ended.cancelled() => return Err(NotLeading),
            () = backoff.wait() => {}
        }
    };
    match found {
        Aborted::Stopping => {
            tracing::info!(job.id = %job, by, "A job's abort is committed.");
            leader.tell(Event::AbortCommitted(job)).await?;
        }
        Aborted::Finished | Aborted::Unknown => {}
    }
    Ok(found)
}

/// Takes abort commands; each is acknowledged after its commit.
pub(super) async fn aborts(context: Context, leader: Handle) {
    let mut commands = context.broker.consume_aborts_as_leader();
    while let Some(delivery) = commands.next().await {
        let command = &delivery.command;
        if abort(&context, &leader, command.job, &command.requested_by).await.is_err() {
            return;
        }
        delivery.ack();
    }
}

/// Commits the aborts that workers have heard of before this leader.
pub(super) async fn acked_aborts(context: Context, leader: Handle, mut acked: mpsc::UnboundedReceiver<JobId>) {
    while let Some(job) = acked.recv().await {
        if abort(&context, &leader, job, "the broker's broadcast").await.is_err() {
            return;
        }
    }
}

/// Takes dead letters. One is a doubt, not a verdict: RabbitMQ counts lost connections as deliveries.
pub(super) async fn dead_letters(context: Context, leader: Handle) {
    let mut letters = context.broker.consume_dead();
    while let Some(letter) = letters.next().await {
        let reason = match &letter.reason {
            DeadReason::DeliveryLimit => "delivery_limit",
            DeadReason::Expired => "expired",
            DeadReason::Other(_) => "other",
        };
        metrics::counter!("keyfleet_dead_letters_total", "reason" => reason).increment(1);
        tracing::warn!(
            job.id = %letter.task.job, task.seq = letter.task.seq, ?letter.reason,
            "A task's message was dead-lettered."
        );
        if leader.tell(Event::DeadLettered(letter.task)).await.is_err() {
            return;
        }
        letter.ack();
    }
}
