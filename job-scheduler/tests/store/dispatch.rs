//! The cursor: what it has passed may be published, what lies at or past it never was, and an abort freezes it.

use std::{collections::BTreeSet, sync::Arc};

use job_model::{JobId, JobState, TaskState};
use job_scheduler::store::{Error, Store, jobs::Aborted};
use tokio::sync::{Barrier, watch};

use super::{World, at, in_time, kylo};

const LANES: [Option<u16>; 7] = [Some(0), Some(1), Some(0), None, Some(1), Some(0), Some(0)];

#[tokio::test]
async fn the_cursor_moves_lane_by_lane() {
    let world = World::new().await;
    let job = world.job(&LANES).await;
    let found = world.store.task_dispatch(world.epoch, job, 0, 2, 0, 0).await.unwrap();
    assert_eq!(found.tasks, [(0, "key-0".to_owned()), (2, "key-2".to_owned())]);
    assert_eq!(found.left, 2);
    // Lane 1 has a cursor of its own, and keys that nobody knows are never dispatched.
    assert_eq!(world.dispatch(job, 1, 10, 0).await, [1, 4]);
    assert_eq!(world.dispatch(job, 0, 10, 3).await, [5, 6]);
    assert_eq!(world.dispatch(job, 0, 10, 7).await, [] as [u32; 0]);
    let left: Vec<_> = world.store.lanes_of(job).await.unwrap().iter().map(|lane| lane.undispatched).collect();
    assert_eq!(left, [0, 0]);
}

#[tokio::test]
async fn what_is_dispatched_is_stored_before_it_is_answered() {
    let world = World::new().await;
    let job = world.job(&LANES).await;
    world.dispatch(job, 0, 2, 0).await;
    world.end(job, &[0], TaskState::Succeeded, at(1)).await;
    // What a next leader would read.
    let lanes = world.store.lanes_of(job).await.unwrap();
    assert_eq!(lanes[0].open, [(2, "key-2".to_owned())]);
    assert_eq!((lanes[0].undispatched, lanes[1].undispatched), (2, 2));
    assert!(lanes[1].open.is_empty());
}

#[tokio::test]
async fn a_dispatch_whose_answer_was_lost_is_answered_again() {
    let world = World::new().await;
    let job = world.job(&LANES).await;
    let lost = world.store.task_dispatch(world.epoch, job, 0, 2, 0, 0).await.unwrap();
    let again = world.store.task_dispatch(world.epoch, job, 0, 2, 0, 0).await.unwrap();
    assert_eq!((again.tasks, again.left), (lost.tasks, lost.left));
    // Only what has not ended meanwhile.
    world.end(job, &[0], TaskState::Succeeded, at(1)).await;
    assert_eq!(world.dispatch(job, 0, 2, 0).await, [2]);
    world.end(job, &[2], TaskState::Succeeded, at(1)).await;
    assert_eq!(world.dispatch(job, 0, 2, 0).await, [5, 6]);
}

#[tokio::test]
async fn a_cursor_behind_the_leaders_own_tells_that_the_database_lost_a_commit() {
    let world = World::new().await;
    let job = world.job(&LANES).await;
    let found = world.store.task_dispatch(world.epoch, job, 0, 2, 3, 0).await;
    assert!(matches!(found, Err(Error::Inconsistent { column: "next_seq", .. })), "{found:?}");
}

#[tokio::test]
async fn an_abort_cancels_what_lies_past_the_cursors() {
    let world = World::new().await;
    let job = world.job(&LANES).await;
    world.dispatch(job, 0, 2, 0).await;
    world.end(job, &[0], TaskState::Succeeded, at(1)).await;
    assert_eq!(world.store.job_abort(world.epoch, job, "admin", at(2)).await.unwrap(), Aborted::Stopping);

    let read = world.read(job).await;
    assert_eq!((read.state, read.abort, read.updated_at), (JobState::Stopping, true, at(2)));
    assert_eq!((read.succeeded, read.failed, read.canceled), (1, 1, 4));
    for lane in [0, 1] {
        assert_eq!(world.dispatch(job, lane, 10, 0).await, [] as [u32; 0]);
    }
    // Seq 2 was dispatched, so somebody may be at it.
    let states = world.states(job).await;
    assert_eq!(states[..4], [TaskState::Succeeded, TaskState::Canceled, TaskState::Pending, TaskState::Failed]);
    assert_eq!(states[4..], [TaskState::Canceled; 3]);
}

#[tokio::test]
async fn a_second_or_late_abort_changes_nothing_but_the_flag() {
    let world = World::new().await;
    let abort = async |job: JobId, by| world.store.job_abort(world.epoch, job, by, at(9)).await.unwrap();
    let job = world.job(&LANES).await;
    assert_eq!(abort(job, "first").await, Aborted::Stopping);
    let before = world.everything().await;
    assert_eq!(abort(job, "second").await, Aborted::Stopping);
    assert_eq!(world.everything().await, before);

    let over = world.job(&[None]).await;
    assert_eq!(abort(over, "late").await, Aborted::Finished);
    let read = world.read(over).await;
    assert!(read.abort && read.state == JobState::Finished && read.failed == 1 && read.canceled == 0);

    let nobodys = JobId::from_uuid(uuid::Uuid::now_v7());
    assert_eq!(abort(nobodys, "lost").await, Aborted::Unknown);
}

/// Dispatches a lane to its end, or to an abort; tells before each move which it is.
async fn drain(store: Store, epoch: u32, job: JobId, lane: u16, move_number: watch::Sender<u32>) -> BTreeSet<u32> {
    let mut all = BTreeSet::new();
    loop {
        move_number.send_modify(|number| *number = number.saturating_add(1));
        let from = all.last().map_or(0, |last| last + 1);
        let tasks = store.task_dispatch(epoch, job, lane, 2, from, 0).await.unwrap().tasks;
        if tasks.is_empty() {
            // Whoever still waits for a later move goes on.
            move_number.send_replace(u32::MAX);
            return all;
        }
        all.extend(tasks.into_iter().map(|(seq, _)| seq));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_races_an_abort_what_it_cancels_was_never_dispatched() {
    let world = World::new().await;
    let lanes: Vec<_> = (0..24).map(|seq| Some(u16::from(seq % 3 == 0))).collect();
    for round in 0..60 {
        let job = world.job(&lanes).await;
        let together = Arc::new(Barrier::new(3));
        let (moves, mut seen) = watch::channel(0);
        let mut dispatching = Vec::new();
        for lane in [0, 1] {
            let (store, epoch, together, moves) = (world.store.clone(), world.epoch, together.clone(), moves.clone());
            dispatching.push(tokio::spawn(async move {
                together.wait().await;
                drain(store, epoch, job, lane, moves).await
            }));
        }
        let (store, epoch) = (world.store.clone(), world.epoch);
        let aborting = tokio::spawn(async move {
            together.wait().await;
            // Beside another move in each round.
            seen.wait_for(|number| *number >= round % 12).await.unwrap();
            store.job_abort(epoch, job, "admin", at(1)).await.unwrap()
        });
        assert_eq!(in_time(aborting).await.unwrap(), Aborted::Stopping);
        let mut dispatched = BTreeSet::new();
        for lane in dispatching {
            dispatched.extend(in_time(lane).await.unwrap());
        }

        let read = world.read(job).await;
        assert_eq!(usize::try_from(read.canceled).unwrap() + dispatched.len(), lanes.len(), "round {round}");
        let (job_read, tasks) = world.store.job_get_with_tasks(&kylo(), job, 100).await.unwrap().unwrap();
        assert_eq!(job_read.canceled, read.canceled);
        for task in tasks {
            let expected = if dispatched.contains(&task.seq) { TaskState::Pending } else { TaskState::Canceled };
            assert_eq!(task.state, expected, "round {round}, seq {}", task.seq);
        }
        for lane in [0, 1] {
            assert_eq!(world.dispatch(job, lane, 100, 0).await, [] as [u32; 0]);
        }
    }
}
