//! Nothing of an old leader lands after a takeover.

use std::time::Duration;

use job_model::{JobId, TaskState, WorkerId};
use job_scheduler::store::{Error, Store, audit::Entry};
use uuid::Uuid;

use super::{LONG, MANY_JOBS, World, at, ended, in_time, new_job, new_tasks};

fn lost<T: std::fmt::Debug>(answer: &Result<T, Error>) {
    assert!(matches!(answer, Err(Error::LostLeadership)), "{answer:?}");
}

#[tokio::test]
async fn no_write_of_an_old_leader_changes_anything() {
    let world = World::new().await;
    let lanes = [Some(0), Some(0)];
    let running = world.job(&lanes).await;
    let ready = world.job(&lanes).await;
    world.end(ready, &[0, 1], TaskState::Succeeded, at(1)).await;
    world.job(&[None]).await; // old enough to be removed
    let worker = WorkerId::from_uuid(Uuid::new_v4());
    world.store.worker_register(world.epoch, worker, "worker").await.unwrap();

    let old = world.epoch;
    world.take_over().await;
    let before = world.everything().await;
    let store = &world.store;
    let job = new_job(&lanes);
    let mut draft = store.draft_begin(job.id).await.unwrap();
    draft.tasks_insert(new_tasks(&lanes), job.now).await.unwrap();
    lost(&draft.commit(old, &job, None, MANY_JOBS).await);
    lost(&store.task_dispatch(old, running, 0, 1, 0, 0).await);
    lost(&store.job_abort(old, running, "admin", at(2)).await);
    lost(&store.task_finish_batch(old, &[ended(running, 0, TaskState::Succeeded)], at(2)).await);
    lost(&store.task_finish_batch(old, &[], at(2)).await);
    lost(&store.job_finish(old, ready, at(2)).await);
    lost(&store.job_remove_batch(old, at(100)).await);
    lost(&store.worker_register(old, WorkerId::from_uuid(Uuid::new_v4()), "late").await);
    lost(&store.workers_remove(old, &[worker]).await);
    lost(&store.leadership_renew(old).await);
    store.close().await;
    assert_eq!(world.everything().await, before);
}

#[tokio::test]
async fn a_write_that_meets_a_takeover_midway_waits_and_then_changes_nothing() {
    let world = World::new().await;
    let job = world.job(&[Some(0), Some(0)]).await;
    // Without the store's lock timeout, which a machine under load may reach.
    let store = Store::from_pool(world.pool.clone());
    let old = world.epoch;
    let mut taking = world.pool.begin().await.unwrap();
    sqlx::query("UPDATE leadership SET epoch = epoch + 1").execute(&mut *taking).await.unwrap();

    let (one, two, three) = (store.clone(), store.clone(), store.clone());
    let reporting =
        tokio::spawn(async move { one.task_finish_batch(old, &[ended(job, 0, TaskState::Succeeded)], at(1)).await });
    let aborting = tokio::spawn(async move { two.job_abort(old, job, "admin", at(1)).await });
    let dispatching = tokio::spawn(async move { three.task_dispatch(old, job, 0, 1, 0, 0).await });
    world.until_blocked(3).await;
    taking.commit().await.unwrap();
    lost(&in_time(reporting).await.unwrap());
    lost(&in_time(aborting).await.unwrap());
    lost(&in_time(dispatching).await.unwrap());

    let read = world.read(job).await;
    assert!(!read.abort && read.succeeded == 0 && read.canceled == 0);
    assert_eq!(world.states(job).await, [TaskState::Pending; 2]);
    assert_eq!(world.store.lanes_of(job).await.unwrap()[0].undispatched, 2);
}

#[tokio::test]
async fn a_write_that_began_before_a_takeover_lands_before_it() {
    let world = World::new().await;
    let job = world.job(&[Some(0)]).await;
    let store = Store::from_pool(world.pool.clone());
    let old = world.epoch;
    // Stops the abort after its guard, at the job's row.
    let mut holding = world.pool.begin().await.unwrap();
    sqlx::query("SELECT 1 FROM jobs FOR UPDATE").execute(&mut *holding).await.unwrap();
    let writer = store.clone();
    let aborting = tokio::spawn(async move { writer.job_abort(old, job, "admin", at(1)).await });
    world.until_blocked(1).await;

    let (taker, seen) = (store.clone(), store.leadership_read().await.unwrap());
    let taking = tokio::spawn(async move { taker.leadership_take(&seen, Uuid::new_v4()).await.unwrap() });
    world.until_blocked(2).await;
    holding.commit().await.unwrap();
    in_time(aborting).await.unwrap().unwrap();
    assert_eq!(in_time(taking).await.unwrap(), Some(old + 1));
    assert!(world.read(job).await.abort);
}

fn entry() -> Entry {
    Entry {
        id: Uuid::new_v4(),
        at: at(0),
        request_id: String::new(),
        tenant: None,
        subject: None,
        username: None,
        address: String::new(),
        method: "POST".to_owned(),
        path: "/".to_owned(),
        status: 200,
    }
}

#[tokio::test]
async fn whoever_leaves_while_a_transaction_begins_leaves_none_open() {
    let world = World::new().await;
    let open = async || -> i64 {
        sqlx::query_scalar(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND state LIKE 'idle in transaction%'",
        )
        .fetch_one(&world.pool)
        .await
        .unwrap()
    };
    // So short that some of them end between the question and the answer, and each a little later than the one before.
    for micros in 0..300 {
        let begun = world.store.draft_begin(JobId::from_uuid(Uuid::new_v4()));
        drop(tokio::time::timeout(Duration::from_micros(micros * 4), begun).await);
        // What is written by the next connection is committed.
        world.store.audit_append(vec![entry()]).await.unwrap();
    }
    assert_eq!(world.count("SELECT count(*) FROM audit_log").await, 300);
    let closed = async {
        while open().await > 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(LONG, closed).await.expect("no transaction stays open");
}
