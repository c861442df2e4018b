//! What is old is removed, a batch at a time, and nothing else.

use job_model::TaskState;
use job_scheduler::store::create::{Created, Idempotency, NewJob};

use super::{MANY_JOBS, World, at, new_job, new_tasks};

/// More than two batches.
const KEYS: usize = 10_001;
/// The most tasks that may go at once: more would hold many locks.
const BATCH: i64 = 5_000;

#[tokio::test]
async fn an_old_job_goes_in_batches_and_last_of_all_itself() {
    let world = World::new().await;
    let job = world.job(&vec![None; KEYS]).await;
    let mut left = i64::try_from(KEYS).unwrap();
    let mut batches = 0;
    while world.store.job_remove_batch(world.epoch, at(1)).await.unwrap() {
        batches += 1;
        let now = world.count("SELECT count(*) FROM tasks").await;
        assert!(now < left && left - now <= BATCH, "{left} -> {now}");
        // While a task is there, its job is.
        let jobs = world.count("SELECT count(*) FROM jobs").await;
        assert!(now == 0 || jobs == 1);
        left = now;
    }
    assert_eq!((left, batches), (0, 3));
    assert!(world.store.job_get(&super::kylo(), job).await.unwrap().is_none());
    assert_eq!(world.count("SELECT count(*) FROM job_lanes").await, 0);
}

#[tokio::test]
async fn what_is_young_or_unfinished_stays() {
    let world = World::new().await;
    let unfinished = world.job(&[Some(0)]).await;
    let young = NewJob { now: at(100), ..new_job(&[None]) };
    assert_eq!(world.create(&young, &[None]).await, Created::New);
    let old = world.job(&[Some(0)]).await;
    world.end(old, &[0], TaskState::Succeeded, at(50)).await;
    world.store.job_finish(world.epoch, old, at(50)).await.unwrap();

    assert!(!world.store.job_remove_batch(world.epoch, at(50)).await.unwrap());
    while world.store.job_remove_batch(world.epoch, at(100)).await.unwrap() {}
    assert!(world.store.job_get(&super::kylo(), old).await.unwrap().is_none());
    for stays in [unfinished, young.id] {
        assert_eq!(world.states(stays).await.len(), 1);
        world.read(stays).await;
    }
    assert_eq!(world.count("SELECT count(*) FROM tasks").await, 2);
}

#[tokio::test]
async fn an_idempotency_key_is_forgotten_in_time() {
    let world = World::new().await;
    let lanes = [Some(0)];
    let key = Idempotency { key: "once".to_owned(), body_digest: vec![1; 32] };
    let create = async |now| {
        let job = NewJob { now, ..new_job(&lanes) };
        let mut draft = world.store.draft_begin(job.id).await.unwrap();
        draft.tasks_insert(new_tasks(&lanes), job.now).await.unwrap();
        draft.commit(world.epoch, &job, Some(&key), MANY_JOBS).await.unwrap()
    };
    assert_eq!(create(at(0)).await, Created::New);
    assert_eq!(world.store.idempotency_keys_remove(at(0)).await.unwrap(), 0);
    assert_ne!(create(at(1)).await, Created::New);
    assert_eq!(world.store.idempotency_keys_remove(at(1)).await.unwrap(), 1);
    assert_eq!(create(at(2)).await, Created::New);
}
