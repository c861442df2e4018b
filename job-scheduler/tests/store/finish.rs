//! A job finishes once, when every task of it has ended, and says how it went.

use job_model::{JobId, JobState, OverallStatus, TaskState};
use job_scheduler::store::jobs::Finish;

use super::{World, at};

async fn finish(world: &World, job: JobId) -> Finish {
    world.store.job_finish(world.epoch, job, at(9)).await.unwrap()
}

#[tokio::test]
async fn a_job_with_a_pending_task_does_not_finish() {
    let world = World::new().await;
    let job = world.job(&[Some(0), Some(0)]).await;
    world.end(job, &[0], TaskState::Succeeded, at(1)).await;
    let before = world.everything().await;
    assert_eq!(finish(&world, job).await, Finish::Incomplete);
    assert_eq!(world.everything().await, before);
}

#[tokio::test]
async fn a_job_finishes_once() {
    let world = World::new().await;
    let job = world.job(&[Some(0)]).await;
    world.end(job, &[0], TaskState::Succeeded, at(1)).await;
    assert_eq!(finish(&world, job).await, Finish::Done);
    let read = world.read(job).await;
    assert_eq!((read.state, read.completed_at, read.updated_at), (JobState::Finished, Some(at(9)), at(9)));
    let before = world.everything().await;
    assert_eq!(finish(&world, job).await, Finish::Before);
    assert_eq!(finish(&world, JobId::from_uuid(uuid::Uuid::now_v7())).await, Finish::Before);
    assert_eq!(world.everything().await, before);
    assert!(world.store.jobs_unfinished().await.unwrap().is_empty());
}

#[tokio::test]
async fn a_finished_job_says_how_it_went() {
    use TaskState::{Canceled, Failed, Succeeded};
    let world = World::new().await;
    for (ends, expected) in [
        ([Succeeded, Failed], OverallStatus::Completed),
        ([Failed, Failed], OverallStatus::Error),
        ([Succeeded, Canceled], OverallStatus::Canceled),
        ([Failed, Canceled], OverallStatus::Canceled),
    ] {
        let job = world.job(&[Some(0), Some(0)]).await;
        for (seq, state) in (0..).zip(ends) {
            world.end(job, &[seq], state, at(1)).await;
        }
        assert_eq!(finish(&world, job).await, Finish::Done);
        assert_eq!(world.read(job).await.status, expected);
    }
}

#[tokio::test]
async fn an_aborted_job_finishes_without_a_row_written_for_what_was_never_tried() {
    let world = World::new().await;
    let job = world.job(&[Some(0); 5]).await;
    assert_eq!(world.dispatch(job, 0, 2, 0).await, [0, 1]);
    world.end(job, &[0], TaskState::Succeeded, at(1)).await;
    world.store.job_abort(world.epoch, job, "admin", at(2)).await.unwrap();
    let read = world.read(job).await;
    assert_eq!((read.succeeded, read.canceled), (1, 3));
    // The second is dispatched and was never tried: the leader finishes the job without a word about it.
    assert_eq!(finish(&world, job).await, Finish::Done);

    let read = world.read(job).await;
    assert_eq!((read.status, read.succeeded, read.canceled), (OverallStatus::Canceled, 1, 4));
    assert_eq!(world.count("SELECT count(*) FROM tasks WHERE state = 'pending'").await, 4);
    assert_eq!(world.states(job).await[1..], [TaskState::Canceled; 4]);
}

#[tokio::test]
async fn an_abort_that_came_too_late_to_cancel_anything_leaves_a_completed_job() {
    let world = World::new().await;
    let job = world.job(&[Some(0)]).await;
    world.dispatch(job, 0, 1, 0).await;
    world.store.job_abort(world.epoch, job, "admin", at(1)).await.unwrap();
    world.end(job, &[0], TaskState::Succeeded, at(2)).await;
    assert_eq!(finish(&world, job).await, Finish::Done);
    let read = world.read(job).await;
    assert_eq!((read.status, read.abort, read.canceled), (OverallStatus::Completed, true, 0));
}
