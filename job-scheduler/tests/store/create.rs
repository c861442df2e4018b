//! Creating jobs: all or nothing, once for each idempotency key, and no more than a tenant may have.

use std::sync::Arc;

use job_model::{JobId, JobState, OverallStatus, TaskState};
use job_scheduler::store::{
    Store,
    create::{Created, Idempotency, NewJob},
};
use tokio::{sync::Barrier, task::JoinSet};

use super::{MANY_JOBS, World, at, in_time, new_job, new_tasks};

const LANES: [Option<u16>; 5] = [Some(0), Some(1), None, Some(0), Some(0)];

fn key(body: u8) -> Idempotency {
    Idempotency { key: "once".to_owned(), body_digest: vec![body; 32] }
}

async fn commit(store: &Store, epoch: u32, job: &NewJob, key: Option<&Idempotency>, most: u32) -> Created {
    let mut draft = store.draft_begin(job.id).await.unwrap();
    draft.tasks_insert(new_tasks(&LANES), job.now).await.unwrap();
    draft.commit(epoch, job, key, most).await.unwrap()
}

#[tokio::test]
async fn a_committed_job_has_its_tasks_in_lanes() {
    let world = World::new().await;
    let id = world.job(&LANES).await;

    let job = world.read(id).await;
    assert_eq!((job.state, job.status, job.abort), (JobState::Running, OverallStatus::InProgress, false));
    assert_eq!((job.total, job.succeeded, job.failed, job.canceled), (5, 0, 1, 0));
    assert_eq!((job.created_at, job.updated_at, job.completed_at), (at(0), at(0), None));

    let tasks = world.store.task_page(id, 0, 10).await.unwrap();
    assert_eq!(tasks.iter().map(|task| task.seq).collect::<Vec<_>>(), [0, 1, 2, 3, 4]);
    assert!(tasks.iter().all(|task| task.key == format!("key-{}", task.seq)));
    for task in &tasks {
        if task.seq == 2 {
            assert_eq!((task.state, task.finished_at), (TaskState::Failed, Some(at(0))));
            assert_eq!(task.detail.as_deref(), Some("NotFoundException: nobody knows it"));
        } else {
            assert_eq!((task.state, task.finished_at, task.detail.as_deref()), (TaskState::Pending, None, None));
        }
    }

    let lanes = world.store.lanes_of(id).await.unwrap();
    let seen: Vec<_> = lanes.iter().map(|lane| (lane.lane, lane.region.as_str(), lane.undispatched)).collect();
    assert_eq!(seen, [(0, "eu-west-0", 3), (1, "eu-west-1", 1)]);
    assert!(lanes.iter().all(|lane| lane.open.is_empty()));
    assert_eq!(world.store.jobs_unfinished().await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_job_none_of_whose_keys_is_known_is_over_at_once() {
    let world = World::new().await;
    let id = world.job(&[None, None]).await;
    let job = world.read(id).await;
    assert_eq!((job.state, job.status), (JobState::Finished, OverallStatus::Error));
    assert_eq!((job.total, job.failed, job.completed_at), (2, 2, Some(at(0))));
    assert!(world.store.jobs_unfinished().await.unwrap().is_empty());
}

#[tokio::test]
async fn what_is_not_committed_leaves_nothing() {
    let world = World::new().await;
    commit(&world.store, world.epoch, &new_job(&LANES), Some(&key(1)), 1).await;
    let before = world.everything().await;

    let job = new_job(&LANES);
    let mut draft = world.store.draft_begin(job.id).await.unwrap();
    draft.tasks_insert(new_tasks(&LANES), job.now).await.unwrap();
    drop(draft);
    for (key, most) in [(Some(key(1)), MANY_JOBS), (Some(key(2)), MANY_JOBS), (None, 1)] {
        let created = commit(&world.store, world.epoch, &new_job(&LANES), key.as_ref(), most).await;
        assert_ne!(created, Created::New);
    }

    // With their connections, all transactions have ended.
    world.store.close().await;
    assert_eq!(world.everything().await, before);
}

#[tokio::test]
async fn an_idempotency_key_makes_one_job() {
    let world = World::new().await;
    let first = new_job(&LANES);
    let created = async |job: &NewJob, body| commit(&world.store, world.epoch, job, Some(&key(body)), MANY_JOBS).await;
    assert_eq!(created(&first, 1).await, Created::New);
    assert_eq!(created(&new_job(&LANES), 1).await, Created::Before(first.id));
    assert_eq!(created(&new_job(&LANES), 2).await, Created::OtherBody);

    // The key is the caller's own.
    let other_user = NewJob { created_by: "nobody".to_owned(), ..new_job(&LANES) };
    let other_tenant = NewJob { tenant: "acme:acme".parse().unwrap(), ..new_job(&LANES) };
    assert_eq!(created(&other_user, 2).await, Created::New);
    assert_eq!(created(&other_tenant, 2).await, Created::New);
    assert_eq!(world.count("SELECT count(*) FROM jobs").await, 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_creates_with_one_key_at_once_exactly_one_makes_the_job() {
    const AT_ONCE: usize = 6;
    let world = World::new().await;
    for round in 0..15 {
        let together = Arc::new(Barrier::new(AT_ONCE));
        let mut creating = JoinSet::new();
        for _ in 0..AT_ONCE {
            let (store, together, epoch) = (world.store.clone(), together.clone(), world.epoch);
            creating.spawn(async move {
                let job = new_job(&LANES);
                let mut draft = store.draft_begin(job.id).await.unwrap();
                draft.tasks_insert(new_tasks(&LANES), job.now).await.unwrap();
                together.wait().await;
                let key = Idempotency { key: round.to_string(), body_digest: vec![1; 32] };
                (job.id, draft.commit(epoch, &job, Some(&key), MANY_JOBS).await.unwrap())
            });
        }
        let all = in_time(creating.join_all()).await;
        let made: Vec<JobId> = all.iter().filter(|(_, created)| *created == Created::New).map(|(id, _)| *id).collect();
        assert_eq!(made.len(), 1, "{all:?}");
        for (id, created) in &all {
            assert!(*id == made[0] || *created == Created::Before(made[0]), "{all:?}");
        }
    }
    assert_eq!(world.count("SELECT count(*) FROM jobs").await, 15);
    assert_eq!(world.count("SELECT count(*) FROM tasks").await, 15 * 5);
}

#[tokio::test]
async fn a_tenant_has_only_so_many_unfinished_jobs() {
    let world = World::new().await;
    let created = async |job: &NewJob| commit(&world.store, world.epoch, job, None, 2).await;
    let first = new_job(&LANES);
    assert_eq!(created(&first).await, Created::New);
    assert_eq!(created(&new_job(&LANES)).await, Created::New);
    assert_eq!(created(&new_job(&LANES)).await, Created::TooMany);
    let other_tenant = NewJob { tenant: "acme:acme".parse().unwrap(), ..new_job(&LANES) };
    assert_eq!(created(&other_tenant).await, Created::New);

    world.end(first.id, &[0, 1, 3, 4], TaskState::Succeeded, at(1)).await;
    world.store.job_finish(world.epoch, first.id, at(2)).await.unwrap();
    assert_eq!(created(&new_job(&LANES)).await, Created::New);
}
