//! Who leads: of many who would, one does, and a takeover waits for what the old leader has under way.

use std::sync::Arc;

use job_model::WorkerId;
use job_scheduler::store::{Error, Store};
use tokio::{sync::Barrier, task::JoinSet};
use uuid::Uuid;

use super::{World, in_time};

#[tokio::test]
async fn a_takeover_needs_the_row_as_it_is() {
    let world = World::new().await;
    let store = &world.store;
    let seen = store.leadership_read().await.unwrap();
    let me = Uuid::new_v4();
    assert_eq!(store.leadership_take(&seen, me).await.unwrap(), Some(world.epoch + 1));
    let now = store.leadership_read().await.unwrap();
    assert_eq!((now.epoch, now.holder, now.renewal, now.released), (world.epoch + 1, Some(me), 0, false));

    // Somebody else has taken it.
    assert_eq!(store.leadership_take(&seen, Uuid::new_v4()).await.unwrap(), None);
    // Its holder has renewed it.
    store.leadership_renew(now.epoch).await.unwrap();
    assert_eq!(store.leadership_take(&now, Uuid::new_v4()).await.unwrap(), None);
    assert_eq!(store.leadership_read().await.unwrap().holder, Some(me));
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_standbys_at_once_one_takes_over() {
    const AT_ONCE: usize = 5;
    let world = World::new().await;
    for _ in 0..20 {
        let seen = world.store.leadership_read().await.unwrap();
        let together = Arc::new(Barrier::new(AT_ONCE));
        let mut taking = JoinSet::new();
        for _ in 0..AT_ONCE {
            let (store, seen, together) = (world.store.clone(), seen.clone(), together.clone());
            taking.spawn(async move {
                let me = Uuid::new_v4();
                together.wait().await;
                store.leadership_take(&seen, me).await.unwrap().map(|epoch| (epoch, me))
            });
        }
        let taken: Vec<_> = in_time(taking.join_all()).await.into_iter().flatten().collect();
        let now = world.store.leadership_read().await.unwrap();
        assert_eq!(taken, [(seen.epoch + 1, now.holder.unwrap())]);
    }
}

#[tokio::test]
async fn an_old_leader_neither_renews_nor_releases() {
    let world = World::new().await;
    let old = world.epoch;
    let new = world.take_over().await;
    let before = world.everything().await;
    assert!(matches!(world.store.leadership_renew(old).await, Err(Error::LostLeadership)));
    world.store.leadership_release(old).await.unwrap();
    assert_eq!(world.everything().await, before);

    world.store.leadership_release(new).await.unwrap();
    assert!(world.store.leadership_read().await.unwrap().released);
}

#[tokio::test]
async fn a_takeover_waits_for_a_write_under_way_and_a_renewal_does_not() {
    let world = World::new().await;
    // Without the store's lock timeout, which a machine under load may reach.
    let store = Store::from_pool(world.pool.clone());
    let mut writing = world.pool.begin().await.unwrap();
    sqlx::query("SELECT 1 FROM leadership FOR KEY SHARE").execute(&mut *writing).await.unwrap();

    in_time(store.leadership_renew(world.epoch)).await.unwrap();

    let seen = store.leadership_read().await.unwrap();
    let (taker, seen_before) = (store.clone(), seen.clone());
    let taking = tokio::spawn(async move { taker.leadership_take(&seen_before, Uuid::new_v4()).await.unwrap() });
    world.until_blocked(1).await;
    assert_eq!(store.leadership_read().await.unwrap(), seen);
    writing.commit().await.unwrap();
    assert_eq!(in_time(taking).await.unwrap(), Some(world.epoch + 1));
}

#[tokio::test]
async fn a_renewal_defeats_a_takeover_that_waits() {
    let world = World::new().await;
    let store = Store::from_pool(world.pool.clone());
    let mut writing = world.pool.begin().await.unwrap();
    sqlx::query("SELECT 1 FROM leadership FOR KEY SHARE").execute(&mut *writing).await.unwrap();
    let seen = store.leadership_read().await.unwrap();
    let taker = store.clone();
    let taking = tokio::spawn(async move { taker.leadership_take(&seen, Uuid::new_v4()).await.unwrap() });
    world.until_blocked(1).await;

    in_time(store.leadership_renew(world.epoch)).await.unwrap();
    writing.commit().await.unwrap();
    assert_eq!(in_time(taking).await.unwrap(), None);
    store.leadership_renew(world.epoch).await.unwrap();
}

#[tokio::test]
async fn a_new_leader_knows_the_workers_of_earlier_ones() {
    let world = World::new().await;
    let (stays, leaves, comes) = (worker(), worker(), worker());
    let store = &world.store;
    store.worker_register(world.epoch, stays, "stays").await.unwrap();
    store.worker_register(world.epoch, leaves, "leaves").await.unwrap();
    assert!(store.workers_of_earlier_leaders(world.epoch).await.unwrap().is_empty());

    let epoch = world.take_over().await;
    let mut known = store.workers_of_earlier_leaders(epoch).await.unwrap();
    known.sort();
    let mut expected = vec![stays, leaves];
    expected.sort();
    assert_eq!(known, expected);

    // Whoever is this leader's own is no earlier one's any more.
    store.worker_register(epoch, stays, "stays").await.unwrap();
    store.worker_register(epoch, comes, "comes").await.unwrap();
    assert_eq!(store.workers_of_earlier_leaders(epoch).await.unwrap(), [leaves]);
    store.workers_remove(epoch, &[leaves]).await.unwrap();
    assert!(store.workers_of_earlier_leaders(epoch).await.unwrap().is_empty());
    assert_eq!(world.count("SELECT count(*) FROM workers").await, 2);
}

fn worker() -> WorkerId {
    WorkerId::from_uuid(Uuid::new_v4())
}
