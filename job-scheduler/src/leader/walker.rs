//! Stores what synchronizations read, one page after the other, and tells the board where each goes on.

use job_model::{KeyName, Moment, plan::READ_LAG};
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
    // The settings' account is believed: nobody but who starts the services says what is reached there.
    let settled = context.estates.now().is_settled(&walk.account);
    let page = if settled { page } else { own(&walk, page) };
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

/// Leaves out keys of another account or Region than the walk's: a connection or role of another account would bring
/// them, and registered here they could be changed by those who may not.
fn own(walk: &NewWalk, page: Page) -> Page {
    match page {
        Page::Keys { mut keys, next, skipped } => {
            let told = keys.len();
            keys.retain(|key| match KeyName::parse(&key.arn) {
                KeyName::Arn { account, region, .. } => account == &*walk.account && region == &*walk.region,
                KeyName::Id(_) | KeyName::Nothing => false,
            });
            let foreign = told - keys.len();
            if foreign > 0 {
                tracing::error!(
                    synchronization.id = %walk.id.sync, account = &*walk.account, region = &*walk.region, foreign,
                    "Keys of another account were read; the container's connection or role is of that one."
                );
            }
            Page::Keys { keys, next, skipped: skipped.saturating_add(u32::try_from(foreign).unwrap_or(u32::MAX)) }
        }
        page @ Page::Aliases { .. } => page,
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

#[cfg(test)]
mod tests {
    use job_model::SyncId;

    use super::*;
    use crate::{board::Step, store::keys::SeenKey};

    #[test]
    fn keys_of_another_account_or_region_are_left_out() {
        let walk = NewWalk {
            id: WalkId { sync: SyncId::from_uuid(uuid::Uuid::from_u128(1)), part: 0 },
            account: "222233334444".into(),
            region: "eu-west-1".into(),
            step: Step::Keys,
            marker: String::new(),
        };
        let key = |arn: &str| SeenKey {
            key_id: "1234".to_owned(),
            arn: arn.to_owned(),
            state: "Enabled".to_owned(),
            deletion_date: None,
            metadata: serde_json::json!({}),
            tags: std::collections::BTreeMap::new(),
        };
        let mine = key("arn:aws:kms:eu-west-1:222233334444:key/1234");
        let others =
            ["arn:aws:kms:eu-west-1:111122223333:key/1234", "arn:aws:kms:us-east-1:222233334444:key/1234", "1234", ""];
        let keys = others.iter().map(|arn| key(arn)).chain([mine.clone()]).collect();
        let page = own(&walk, Page::Keys { keys, next: None, skipped: 2 });
        let Page::Keys { keys, skipped: 6, .. } = page else { panic!("{page:?}") };
        assert_eq!(keys, [mine]);
    }
}
