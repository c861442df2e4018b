//! The database's CHECK constraints list the words of `job-model`, no more and no fewer.

use std::collections::BTreeSet;

use job_model::{JobState, Operation, OverallStatus, TaskState};

use super::World;

/// The words that the one CHECK constraint on this column alone allows.
async fn allowed(world: &World, table: &str, column: &str) -> BTreeSet<String> {
    let definition: String = sqlx::query_scalar(
        "SELECT pg_get_constraintdef(c.oid) FROM pg_constraint c
         JOIN pg_attribute a ON a.attrelid = c.conrelid AND c.conkey = ARRAY[a.attnum]
         WHERE c.contype = 'c' AND c.conrelid = $1::regclass AND a.attname = $2",
    )
    .bind(table)
    .bind(column)
    .fetch_one(&world.pool)
    .await
    .unwrap();
    // CHECK ((state = ANY (ARRAY['pending'::text, …])))
    definition.split('\'').skip(1).step_by(2).map(str::to_owned).collect()
}

fn words<T>(all: impl IntoIterator<Item = T>, word: impl Fn(T) -> &'static str) -> BTreeSet<String> {
    all.into_iter().map(|value| word(value).to_owned()).collect()
}

#[tokio::test]
async fn the_constraints_list_the_words_of_the_model() {
    let world = World::new().await;
    assert_eq!(allowed(&world, "tasks", "state").await, words(TaskState::ALL, TaskState::as_str));
    assert_eq!(allowed(&world, "jobs", "state").await, words(JobState::ALL, JobState::as_str));
    assert_eq!(allowed(&world, "jobs", "operation").await, words(Operation::ALL, Operation::as_str));
    // A result is what a job has once it is no longer in progress.
    let results = OverallStatus::ALL.into_iter().filter(|status| *status != OverallStatus::InProgress);
    assert_eq!(allowed(&world, "jobs", "result").await, words(results, OverallStatus::as_str));
}

#[tokio::test]
async fn an_applied_migration_is_not_applied_again() {
    let world = World::new().await;
    let before = world.everything().await;
    world.store.migrate().await.unwrap();
    assert_eq!(world.everything().await, before);
}
