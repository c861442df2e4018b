//! What is done beside the tasks: remembering workers, and removing what is old.

use std::time::Duration;

use job_model::WorkerId;
use service_kit::{clock::wall, retry::Backoff};
use time::OffsetDateTime;
use tokio::sync::mpsc;

use super::{Event, Handle};
use crate::{Context, store};

/// How long an idempotency key is remembered.
const IDEMPOTENCY_KEYS_FOR: Duration = Duration::from_secs(24 * 60 * 60);
/// How long a revoked session is remembered: longer than an access token lives, however far clocks are apart.
const REVOCATIONS_FOR: Duration = Duration::from_secs(60 * 60);
/// How often old rows are looked for.
const REMOVE_EVERY: Duration = Duration::from_secs(60);
/// The pause between two batches, so that removing never crowds out the work.
const BETWEEN_BATCHES: Duration = Duration::from_millis(50);

/// How often the containers are read again.
const CONTAINERS_EVERY: Duration = Duration::from_secs(2);

/// A change of the workers to be remembered.
#[derive(Debug)]
pub(super) enum Change {
    /// Before its first lease.
    Register(WorkerId, String),
    /// They are gone for good.
    Remove(Vec<WorkerId>),
}

pub(super) async fn remember_workers(context: Context, leader: Handle, mut changes: mpsc::UnboundedReceiver<Change>) {
    while let Some(change) = changes.recv().await {
        let mut backoff = Backoff::reconnect();
        loop {
            let done = match &change {
                Change::Register(worker, name) => context.store.worker_register(leader.epoch, *worker, name).await,
                Change::Remove(workers) => context.store.workers_remove(leader.epoch, workers).await,
            };
            match done {
                Ok(()) => break,
                Err(store::Error::LostLeadership) => {
                    leader.ended.cancel();
                    return;
                }
                Err(error @ (store::Error::Database(_) | store::Error::Inconsistent { .. })) => {
                    tracing::warn!(%error, "The workers could not be written down yet.");
                }
            }
            backoff.wait().await;
        }
        if let Change::Register(worker, _) = change
            && leader.tell(Event::Registered(worker)).await.is_err()
        {
            return;
        }
    }
}

/// Reads the containers again and again, in case a reading after a change of them failed.
pub(super) async fn follow_containers(context: Context) {
    loop {
        tokio::time::sleep(CONTAINERS_EVERY).await;
        if let Err(error) = context.estates.refresh(&context.store).await {
            tracing::warn!(%error, "The containers could not be read again; they stay as they were.");
        }
    }
}

/// Removes finished jobs, idempotency keys and sessions past their time, in batches.
pub(super) async fn remove_old(context: Context, leader: Handle) {
    loop {
        tokio::time::sleep(REMOVE_EVERY).await;
        let now = wall();
        if let Err(error) = context.store.idempotency_keys_remove(now - IDEMPOTENCY_KEYS_FOR).await {
            tracing::warn!(%error, "Old idempotency keys could not be removed.");
        }
        remove_sessions(&context, now).await;
        let before = now - context.settings.keep_finished;
        if let Err(error) = context.store.syncs_remove(before).await {
            tracing::warn!(%error, "Old synchronizations could not be removed.");
        }
        loop {
            match context.store.job_remove_batch(leader.epoch, before).await {
                Ok(true) => tokio::time::sleep(BETWEEN_BATCHES).await,
                Ok(false) => break,
                Err(error) => {
                    tracing::warn!(%error, "Old jobs could not be removed.");
                    break;
                }
            }
        }
    }
}

async fn remove_sessions(context: &Context, now: OffsetDateTime) {
    loop {
        match context.store.sessions_remove_batch(now, now - REVOCATIONS_FOR).await {
            Ok(true) => tokio::time::sleep(BETWEEN_BATCHES).await,
            Ok(false) => break,
            Err(error) => {
                tracing::warn!(%error, "Old sessions could not be removed.");
                break;
            }
        }
    }
}
