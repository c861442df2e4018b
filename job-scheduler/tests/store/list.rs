//! The list: the tenant's jobs, in the order asked for, filtered, in pages.

use job_model::{JobId, Operation, OverallStatus, TaskState};
use job_scheduler::store::{
    create::{Created, NewJob},
    jobs::{Descending, ListQuery, SortBy},
};

use super::{World, at, kylo, new_job};

const UP: Descending = Descending(false);
const DOWN: Descending = Descending(true);

fn all() -> ListQuery {
    ListQuery { tenant: kylo(), permitted: None, id: None, status: None, sort: Vec::new(), skip: 0, limit: 100 }
}

/// Five jobs, created one second after the other, and a stranger's.
async fn five(world: &World) -> Vec<JobId> {
    let mut ids = Vec::new();
    for (second, operation) in (0..).zip([
        Operation::EnableKey,
        Operation::DisableKey,
        Operation::EnableKey,
        Operation::CancelKeyDeletion,
        Operation::DisableKey,
    ]) {
        let job = NewJob { operation, now: at(second), ..new_job(&[Some(0)]) };
        assert_eq!(world.create(&job, &[Some(0)]).await, Created::New);
        ids.push(job.id);
    }
    let stranger = NewJob { tenant: "acme:acme".parse().unwrap(), ..new_job(&[Some(0)]) };
    world.create(&stranger, &[Some(0)]).await;

    // 0 completed last, 1 failed first, 2 was canceled; 3 stops, 4 runs.
    for (job, state, second) in
        [(1, TaskState::Failed, 20), (2, TaskState::Canceled, 30), (0, TaskState::Succeeded, 40)]
    {
        world.end(ids[job], &[0], state, at(second)).await;
        world.store.job_finish(world.epoch, ids[job], at(second)).await.unwrap();
    }
    world.dispatch(ids[3], 0, 1, 0).await;
    world.store.job_abort(world.epoch, ids[3], "admin", at(10)).await.unwrap();
    ids
}

/// The numbers of the jobs listed, and how many match.
async fn listed(world: &World, ids: &[JobId], query: &ListQuery) -> (u64, Vec<usize>) {
    let (total, jobs) = world.store.job_list(query).await.unwrap();
    let number = |id| ids.iter().position(|known| *known == id).expect("a stranger's job is listed");
    (total, jobs.into_iter().map(|job| number(job.id)).collect())
}

#[tokio::test]
async fn the_list_is_the_tenants_own_newest_first() {
    let world = World::new().await;
    let ids = five(&world).await;
    assert_eq!(listed(&world, &ids, &all()).await, (5, vec![4, 3, 2, 1, 0]));
}

#[tokio::test]
async fn the_list_is_sorted_as_asked() {
    let world = World::new().await;
    let ids = five(&world).await;
    for (sort, expected) in [
        (vec![(SortBy::Id, UP)], [0, 1, 2, 3, 4]),
        (vec![(SortBy::CreatedAt, UP)], [0, 1, 2, 3, 4]),
        (vec![(SortBy::UpdatedAt, UP)], [4, 3, 1, 2, 0]),
        // Postgres sorts what is absent last.
        (vec![(SortBy::CompletedAt, UP)], [1, 2, 0, 4, 3]),
        (vec![(SortBy::CompletedAt, DOWN)], [4, 3, 0, 2, 1]),
        (vec![(SortBy::OverallStatus, UP)], [2, 0, 1, 4, 3]),
        (vec![(SortBy::Abort, DOWN)], [3, 4, 2, 1, 0]),
        (vec![(SortBy::Operation, UP), (SortBy::CreatedAt, UP)], [3, 1, 4, 0, 2]),
        (vec![(SortBy::Operation, DOWN), (SortBy::CreatedAt, UP)], [0, 2, 1, 4, 3]),
    ] {
        let query = ListQuery { sort, ..all() };
        assert_eq!(listed(&world, &ids, &query).await.1, expected, "{:?}", query.sort);
    }
}

#[tokio::test]
async fn the_list_is_filtered_as_asked() {
    let world = World::new().await;
    let ids = five(&world).await;
    for (status, expected) in [
        (OverallStatus::InProgress, vec![4, 3]),
        (OverallStatus::Completed, vec![0]),
        (OverallStatus::Error, vec![1]),
        (OverallStatus::Canceled, vec![2]),
    ] {
        let query = ListQuery { status: Some(status), ..all() };
        let total = u64::try_from(expected.len()).unwrap();
        assert_eq!(listed(&world, &ids, &query).await, (total, expected), "{status}");
    }
    let by_id = ListQuery { id: Some(ids[1]), ..all() };
    assert_eq!(listed(&world, &ids, &by_id).await, (1, vec![1]));
    let neither = ListQuery { status: Some(OverallStatus::Completed), ..by_id };
    assert_eq!(listed(&world, &ids, &neither).await, (0, vec![]));
    let stranger = ListQuery { tenant: "acme:acme".parse().unwrap(), id: Some(ids[1]), ..all() };
    assert_eq!(listed(&world, &ids, &stranger).await, (0, vec![]));
}

#[tokio::test]
async fn the_list_comes_in_pages_and_tells_how_many_match() {
    let world = World::new().await;
    let ids = five(&world).await;
    for (skip, limit, expected) in
        [(0, 2, vec![4, 3]), (2, 2, vec![2, 1]), (4, 2, vec![0]), (5, 2, vec![]), (9, 2, vec![]), (0, 0, vec![])]
    {
        let query = ListQuery { skip, limit, ..all() };
        assert_eq!(listed(&world, &ids, &query).await, (5, expected));
    }
    // A page of another order is in that order, and the filter counts wherever the page ends.
    let oldest = ListQuery { sort: vec![(SortBy::CreatedAt, UP)], skip: 1, limit: 2, ..all() };
    assert_eq!(listed(&world, &ids, &oldest).await, (5, vec![1, 2]));
    for (skip, limit, expected) in [(0, 1, vec![4]), (1, 1, vec![3]), (1, 9, vec![3]), (2, 1, vec![])] {
        let query = ListQuery { status: Some(OverallStatus::InProgress), skip, limit, ..all() };
        assert_eq!(listed(&world, &ids, &query).await, (2, expected));
    }
}
