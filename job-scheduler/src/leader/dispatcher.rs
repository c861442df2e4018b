//! Moves cursors: a few at a time, so that a slow one does not hold up every lane.

use std::sync::Arc;

use service_kit::retry::Backoff;
use tokio::{
    sync::{Semaphore, mpsc},
    task::JoinSet,
};

use super::{Event, Handle};
use crate::{Context, board::Dispatch, store};

/// Cursor moves under way at once.
const AT_ONCE: usize = 4;

pub(super) async fn run(context: Context, leader: Handle, mut dispatches: mpsc::UnboundedReceiver<Dispatch>) {
    let permits = Arc::new(Semaphore::new(AT_ONCE));
    let mut under_way = JoinSet::new();
    while let Some(next) = dispatches.recv().await {
        while under_way.try_join_next().is_some() {}
        let Ok(permit) = permits.clone().acquire_owned().await else { return };
        let (context, leader) = (context.clone(), leader.clone());
        under_way.spawn(async move {
            dispatch(&context, &leader, next).await;
            drop(permit);
        });
    }
}

/// Moves until it is moved. A lost answer costs nothing: the next try finds the tasks that the cursor has passed.
async fn dispatch(context: &Context, leader: &Handle, next: Dispatch) {
    let Dispatch { job, lane, limit, from, low } = next;
    let mut backoff = Backoff::reconnect();
    let dispatched = loop {
        match context.store.task_dispatch(leader.epoch, job, lane, limit, from, low).await {
            Ok(dispatched) => break dispatched,
            Err(store::Error::LostLeadership) => {
                leader.ended.cancel();
                return;
            }
            Err(error @ store::Error::Inconsistent { .. }) => {
                tracing::error!(%error, job.id = %job, "Leading anew from what the database has.");
                leader.ended.cancel();
                return;
            }
            Err(error @ store::Error::Database(_)) => {
                tracing::warn!(%error, job.id = %job, "Tasks could not be dispatched yet.");
            }
        }
        backoff.wait().await;
    };
    let store::tasks::Dispatched { tasks, left } = dispatched;
    metrics::counter!("keyfleet_tasks_dispatched_total").increment(u64::try_from(tasks.len()).unwrap_or(0));
    let _ = leader.tell(Event::Dispatched { job, lane, tasks, left }).await;
}
