//! Stores what synchronizations read, one page after the other, and tells the board where each goes on.

use job_model::{Moment, plan::READ_LAG};
use service_kit::{
    clock::{boottime, wall},
    retry::Backoff,
};
use tokio::sync::mpsc;

use super::{Event, Handle};
use crate::{
    Context,
    board::{NewWalk, Page, WalkId, Walked},
    store::{
        self,
        syncs::{Each, Onward},
    },
};

/// What is to be done about a walk.
#[derive(Debug)]
pub(super) enum Work {
    /// What the board says.
    Walked(Walked),
    /// All its pages are stored.
    Sweep(WalkId),
}

pub(super) async fn run(context: Context, leader: Handle, mut works: mpsc::UnboundedReceiver<Work>) {
    while let Some(work) = works.recv().await {
        let done = match work {
            Work::Walked(Walked::Page { walk, page, asked_at }) => {
                store_page(&context, &leader, walk, page, asked_at).await
            }
            Work::Walked(Walked::Failed(id, detail)) => fail(&context, &leader, id, &detail).await,
            Work::Sweep(id) => sweep(&context, &leader, id).await,
        };
        if done.is_none() {
            return;
        }
    }
}

/// Told in place of a text that cannot be stored.
const UNSTORABLE: &str = "Unknown: (its text cannot be stored)";

/// Tries until it is done, or refused for what it is; `None` when this scheduler no longer leads.
async fn persist<T, Done>(leader: &Handle, what: impl Fn() -> Done) -> Option<Result<T, store::Error>>
where
    Done: Future<Output = Result<T, store::Error>>,
{
    let mut backoff = Backoff::reconnect();
    loop {
        match what().await {
            Ok(done) => return Some(Ok(done)),
            Err(error) if error.is_lasting() => return Some(Err(error)),
            Err(store::Error::LostLeadership) => {
                leader.ended.cancel();
                return None;
            }
            Err(error @ (store::Error::Database(_) | store::Error::Inconsistent { .. })) => {
                tracing::warn!(%error, "A synchronization could not be moved on yet.");
            }
        }
        tokio::select! {
            () = leader.ended.cancelled() => return None,
            () = backoff.wait() => {}
        }
    }
}

async fn store_page(context: &Context, leader: &Handle, walk: NewWalk, page: Page, asked_at: Moment) -> Option<()> {
    // A reading may be as old as reads lag behind writes.
    let trusted_from = wall() - boottime().since(asked_at) - READ_LAG;
    let count = match &page {
        Page::Keys { keys, .. } => keys.len(),
        Page::Aliases { .. } => 0,
    };
    let store = &context.store;
    let write = |each| {
        let page = page.clone();
        let walk = &walk;
        async move { store.sync_page_store(leader.epoch, walk, page, each, trusted_from, wall()).await }
    };
    let stored = match persist(leader, || write(Each::Together)).await? {
        Ok(stored) => stored,
        Err(error) => {
            tracing::warn!(%error, synchronization.id = %walk.id.sync, "A page cannot be stored whole.");
            metrics::counter!("keyfleet_store_refusals_total", "of" => "page").increment(1);
            match persist(leader, || write(Each::Alone)).await? {
                Ok(stored) => stored,
                // What is refused is no entry: KMS's marker.
                Err(error) => return fail(context, leader, walk.id, &format!("Unstorable: {error}")).await,
            }
        }
    };
    metrics::counter!("keyfleet_keys_synchronized_total").increment(u64::try_from(count).unwrap_or(0));
    match stored {
        Onward::Page(step, marker) => leader.tell(Event::Walked(walk.id, Some((step, marker)))).await.ok(),
        Onward::Sweep => sweep(context, leader, walk.id).await,
        Onward::Stale => leader.tell(Event::Walked(walk.id, None)).await.ok(),
    }
}

async fn sweep(context: &Context, leader: &Handle, id: WalkId) -> Option<()> {
    loop {
        match persist(leader, || context.store.sync_sweep(leader.epoch, id, wall())).await? {
            Ok(true) => {}
            Ok(false) => break,
            Err(error) => return fail(context, leader, id, &format!("Unstorable: {error}")).await,
        }
    }
    tracing::info!(synchronization.id = %id.sync, part = id.part, "A part of a synchronization is done.");
    leader.tell(Event::Walked(id, None)).await.ok()
}

async fn fail(context: &Context, leader: &Handle, id: WalkId, detail: &str) -> Option<()> {
    tracing::warn!(synchronization.id = %id.sync, part = id.part, detail, "A part of a synchronization has failed.");
    for detail in [detail, UNSTORABLE] {
        match persist(leader, || context.store.sync_fail(leader.epoch, id, detail, wall())).await? {
            Ok(()) => break,
            Err(error) => tracing::error!(%error, synchronization.id = %id.sync, "The end of a part cannot be stored."),
        }
    }
    leader.tell(Event::Walked(id, None)).await.ok()
}
