//! Final statuses: the first one wins, and the counts say what the rows say, however often they are written.

use std::{sync::Arc, time::Duration};

use job_model::{JobId, TaskState};
use job_scheduler::store::report::FinalTask;
use tokio::{sync::Barrier, task::JoinSet};

use super::{World, at, ended, in_time, kylo};

const LANES: [Option<u16>; 4] = [Some(0); 4];

async fn counts(world: &World, job: JobId) -> (u32, u32, u32, u32) {
    let job = world.read(job).await;
    (job.succeeded, job.failed, job.canceled, job.already)
}

#[tokio::test]
async fn a_tasks_end_is_told_whole() {
    let world = World::new().await;
    let job = world.job(&LANES).await;
    let batch = [
        FinalTask {
            attempts: 3,
            already: true,
            state_before: Some("Enabled".to_owned()),
            took: Some(Duration::from_secs(2)),
            ..ended(job, 0, TaskState::Succeeded)
        },
        ended(job, 1, TaskState::Failed),
        ended(job, 2, TaskState::Canceled),
    ];
    assert_eq!(world.store.task_finish_batch(world.epoch, &batch, at(10)).await.unwrap(), [job]);
    assert_eq!(counts(&world, job).await, (1, 1, 1, 1));
    assert_eq!(world.read(job).await.updated_at, at(10));

    let tasks = world.store.task_page(job, 0, 10).await.unwrap();
    assert_eq!((tasks[0].attempts, tasks[0].already, tasks[0].state_before.as_deref()), (3, true, Some("Enabled")));
    assert_eq!((tasks[0].started_at, tasks[0].finished_at), (Some(at(8)), Some(at(10))));
    assert_eq!(tasks[1].detail.as_deref(), Some("KMSInvalidStateException: it is gone"));
    assert_eq!((tasks[1].started_at, tasks[1].finished_at), (None, Some(at(10))));
    assert_eq!(
        world.states(job).await,
        [TaskState::Succeeded, TaskState::Failed, TaskState::Canceled, TaskState::Pending]
    );

    // A leader whose clock is behind does not turn the job's back.
    world.end(job, &[3], TaskState::Succeeded, at(5)).await;
    assert_eq!(world.read(job).await.updated_at, at(10));
}

#[tokio::test]
async fn the_first_final_state_wins() {
    let world = World::new().await;
    let job = world.job(&LANES).await;
    assert_eq!(world.end(job, &[0, 1], TaskState::Succeeded, at(1)).await, [job]);
    let before = world.everything().await;
    for state in TaskState::FINAL {
        assert!(world.end(job, &[0, 1], state, at(2)).await.is_empty());
    }
    assert_eq!(world.everything().await, before);
    // Beside new ones, the old ones still do not count.
    assert_eq!(world.end(job, &[0, 1, 2], TaskState::Failed, at(3)).await, [job]);
    assert_eq!(counts(&world, job).await, (2, 1, 0, 0));
}

#[tokio::test]
async fn a_task_that_stands_in_a_batch_twice_counts_once() {
    let world = World::new().await;
    let job = world.job(&LANES).await;
    let batch = [ended(job, 0, TaskState::Succeeded), ended(job, 0, TaskState::Failed)];
    world.store.task_finish_batch(world.epoch, &batch, at(1)).await.unwrap();
    let (succeeded, failed, ..) = counts(&world, job).await;
    assert_eq!(succeeded + failed, 1);
    let expected = if succeeded == 1 { TaskState::Succeeded } else { TaskState::Failed };
    assert_eq!(world.states(job).await[0], expected);
}

#[tokio::test]
async fn a_batch_counts_each_job_for_itself() {
    let world = World::new().await;
    let (one, other) = (world.job(&LANES).await, world.job(&LANES).await);
    let batch =
        [ended(one, 0, TaskState::Succeeded), ended(other, 0, TaskState::Failed), ended(one, 1, TaskState::Succeeded)];
    let mut changed = world.store.task_finish_batch(world.epoch, &batch, at(1)).await.unwrap();
    changed.sort();
    assert_eq!(changed, [one, other]);
    assert_eq!(counts(&world, one).await, (2, 0, 0, 0));
    assert_eq!(counts(&world, other).await, (0, 1, 0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_written_by_many_at_once_counts_once() {
    const AT_ONCE: usize = 4;
    let world = World::new().await;
    for _ in 0..20 {
        let job = world.job(&LANES).await;
        let together = Arc::new(Barrier::new(AT_ONCE));
        let mut writing = JoinSet::new();
        for state in [TaskState::Succeeded, TaskState::Failed, TaskState::Canceled, TaskState::Succeeded] {
            let (store, epoch, together) = (world.store.clone(), world.epoch, together.clone());
            writing.spawn(async move {
                let batch: Vec<_> = (0..4).map(|seq| ended(job, seq, state)).collect();
                together.wait().await;
                store.task_finish_batch(epoch, &batch, at(1)).await.unwrap()
            });
        }
        in_time(writing.join_all()).await;
        let states = world.states(job).await;
        let of = |wanted| u32::try_from(states.iter().filter(|state| **state == wanted).count()).unwrap();
        let told = (of(TaskState::Succeeded), of(TaskState::Failed), of(TaskState::Canceled), 0);
        assert_eq!(counts(&world, job).await, told);
        assert_eq!(told.0 + told.1 + told.2, 4);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_small_jobs_counts_and_statuses_are_read_in_one_snapshot() {
    let world = World::new().await;
    let lanes = vec![Some(0); 60];
    let job = world.job(&lanes).await;
    let (store, epoch) = (world.store.clone(), world.epoch);
    let writing = tokio::spawn(async move {
        for seq in 0..60 {
            store.task_finish_batch(epoch, &[ended(job, seq, TaskState::Succeeded)], at(1)).await.unwrap();
        }
    });
    in_time(async {
        let mut read = 0;
        while read < 60 {
            let (job, tasks) = world.store.job_get_with_tasks(&kylo(), job, 60).await.unwrap().unwrap();
            let succeeded = tasks.iter().filter(|task| task.state == TaskState::Succeeded).count();
            assert_eq!(usize::try_from(job.succeeded).unwrap(), succeeded);
            read = job.succeeded;
        }
    })
    .await;
    in_time(writing).await.unwrap();
}

#[tokio::test]
async fn the_writes_of_late_are_those_that_may_have_changed_a_key() {
    let world = World::new().await;
    let job = world.job(&[Some(0), Some(1), Some(0), Some(0)]).await;
    let wrote = |seq, state| FinalTask { wrote: true, ..ended(job, seq, state) };
    let write = async |task, now| world.store.task_finish_batch(world.epoch, &[task], now).await.unwrap();
    write(wrote(0, TaskState::Succeeded), at(10)).await;
    write(wrote(2, TaskState::Failed), at(30)).await;
    write(wrote(1, TaskState::Canceled), at(20)).await;
    write(ended(job, 3, TaskState::Succeeded), at(30)).await;

    let found = world.store.writes_since(at(20)).await.unwrap();
    let seen: Vec<_> = found.iter().map(|row| (row.key.as_str(), row.region.as_str(), row.at)).collect();
    assert_eq!(seen, [("key-1", "eu-west-1", at(20)), ("key-2", "eu-west-0", at(30))]);
    assert!(found.iter().all(|row| row.job == job && row.account == "111122223333"));
    assert_eq!(world.store.writes_since(at(0)).await.unwrap().len(), 3);
    assert!(world.store.writes_since(at(31)).await.unwrap().is_empty());
    assert_eq!(world.store.job_any_tenant(job).await.unwrap().unwrap().id, job);
}

#[tokio::test]
async fn a_status_that_is_refused_for_its_text_can_be_written_bare() {
    let world = World::new().await;
    let job = world.job(&LANES).await;
    let bad = FinalTask {
        detail: Some("SomeException: no\0".to_owned()),
        state_before: Some("\0".to_owned()),
        ..ended(job, 1, TaskState::Failed)
    };
    let batch = [ended(job, 0, TaskState::Succeeded), bad.clone()];
    let refused = world.store.task_finish_batch(world.epoch, &batch, at(1)).await.unwrap_err();
    assert!(refused.is_lasting(), "{refused}");
    assert_eq!(counts(&world, job).await, (0, 0, 0, 0), "nothing of the batch was written");

    let batch = [ended(job, 0, TaskState::Succeeded), bad.bare()];
    world.store.task_finish_batch(world.epoch, &batch, at(1)).await.unwrap();
    let tasks = world.store.task_page(job, 0, 10).await.unwrap();
    assert_eq!(tasks[1].detail.as_deref(), Some("SomeException: (its text cannot be stored)"));
    let nameless = FinalTask { detail: Some("no code\0".to_owned()), ..bad };
    assert_eq!(nameless.bare().detail.as_deref(), Some("Unknown: (its text cannot be stored)"));
}
