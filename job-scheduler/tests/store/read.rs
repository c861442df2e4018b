//! Reading: pages, the canceled tasks that no row says, and nothing of another tenant.

use job_model::{JobId, TaskState};
use uuid::Uuid;

use super::{World, at, kylo};

/// Of seven tasks in two lanes, 0 (ended), 1 and 2 are dispatched; the rest is canceled by the abort.
async fn aborted(world: &World) -> JobId {
    let job = world.job(&[Some(0), Some(1), Some(0), Some(0), Some(1), Some(0), None]).await;
    assert_eq!(world.dispatch(job, 0, 2, 0).await, [0, 2]);
    assert_eq!(world.dispatch(job, 1, 1, 0).await, [1]);
    world.end(job, &[0], TaskState::Succeeded, at(1)).await;
    world.store.job_abort(world.epoch, job, "admin", at(2)).await.unwrap();
    job
}

async fn page(world: &World, job: JobId, state: TaskState, skip: u32, limit: u32) -> Vec<u32> {
    let tasks = world.store.task_page_in(job, state, skip, limit).await.unwrap();
    assert!(tasks.iter().all(|task| task.state == state));
    tasks.into_iter().map(|task| task.seq).collect()
}

#[tokio::test]
async fn a_page_by_state_derives_what_the_abort_canceled() {
    let world = World::new().await;
    let job = aborted(&world).await;
    assert_eq!(page(&world, job, TaskState::Succeeded, 0, 10).await, [0]);
    assert_eq!(page(&world, job, TaskState::Pending, 0, 10).await, [1, 2]);
    assert_eq!(page(&world, job, TaskState::Failed, 0, 10).await, [6]);
    assert_eq!(page(&world, job, TaskState::Canceled, 0, 10).await, [3, 4, 5]);
    assert_eq!(page(&world, job, TaskState::Canceled, 1, 1).await, [4]);
    assert_eq!(page(&world, job, TaskState::Canceled, 3, 10).await, [] as [u32; 0]);

    // The counts agree with the rows.
    let read = world.read(job).await;
    assert_eq!((read.succeeded, read.failed, read.canceled), (1, 1, 3));

    // Written ones are beside the derived ones.
    world.end(job, &[1], TaskState::Canceled, at(3)).await;
    assert_eq!(page(&world, job, TaskState::Canceled, 0, 10).await, [1, 3, 4, 5]);
    assert_eq!(world.read(job).await.canceled, 4);
}

#[tokio::test]
async fn a_page_begins_where_it_is_asked_to() {
    let world = World::new().await;
    let job = aborted(&world).await;
    let seqs = |tasks: Vec<job_scheduler::store::tasks::Task>| tasks.iter().map(|task| task.seq).collect::<Vec<_>>();
    assert_eq!(seqs(world.store.task_page(job, 5, 10).await.unwrap()), [5, 6]);
    assert_eq!(seqs(world.store.task_page(job, 2, 2).await.unwrap()), [2, 3]);
    assert_eq!(seqs(world.store.task_page(job, 7, 2).await.unwrap()), [] as [u32; 0]);
    let keys = world.store.task_keys(job, 5, 10).await.unwrap();
    assert_eq!(keys, [(5, "key-5".to_owned()), (6, "key-6".to_owned())]);
}

#[tokio::test]
async fn the_tasks_of_many_jobs_come_together() {
    let world = World::new().await;
    let (stopped, other, unasked) =
        (aborted(&world).await, world.job(&[Some(0); 2]).await, world.job(&[Some(0)]).await);
    let gone = JobId::from_uuid(Uuid::now_v7());
    let all = world.store.tasks_of(&[other, stopped, gone], 7).await.unwrap();
    assert_eq!(all.len(), 2, "neither {unasked}, which is not asked for, nor {gone}, which does not exist");
    for job in [stopped, other] {
        let alone = world.store.task_page(job, 0, 10).await.unwrap();
        assert_eq!(format!("{:?}", all[&job]), format!("{alone:?}"));
    }
    let first = world.store.tasks_of(&[stopped, other], 1).await.unwrap();
    assert!(first.values().all(|tasks| tasks.len() == 1 && tasks[0].seq == 0), "{first:?}");
    assert!(world.store.tasks_of(&[], 7).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_strangers_job_is_not_found() {
    let world = World::new().await;
    let job = world.job(&[Some(0)]).await;
    let stranger = "acme:acme".parse().unwrap();
    assert!(world.store.job_get(&stranger, job).await.unwrap().is_none());
    assert!(world.store.job_get_with_tasks(&stranger, job, 10).await.unwrap().is_none());
    assert!(world.store.job_get(&kylo(), job).await.unwrap().is_some());
}

#[tokio::test]
async fn only_a_small_job_comes_with_its_tasks() {
    let world = World::new().await;
    let job = world.job(&[Some(0); 3]).await;
    for (most, expected) in [(3, 3), (2, 0)] {
        let (found, tasks) = world.store.job_get_with_tasks(&kylo(), job, most).await.unwrap().unwrap();
        assert_eq!((found.total, tasks.len()), (3, expected));
    }
}
