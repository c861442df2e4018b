//! Migrations over data: what an older version stored is read by this one, and what an older one writes meanwhile fits.

use std::borrow::Cow;

use dev_stack::scratch::Database;
use job_model::{JobId, JobState, TaskState};
use job_scheduler::store::Store;
use sqlx::{
    Executor as _,
    migrate::Migrator,
    postgres::{PgConnectOptions, PgPoolOptions},
};

use super::kylo;

/// What the first version knew: a job that has ended and one that runs, with their tasks, and a template.
const FIRST: &str = "
    INSERT INTO jobs (id, tenant, created_by, operation, force, state, result, total, succeeded, failed, created_at, updated_at, completed_at)
    VALUES ('00000000-0000-7000-8000-000000000001', 'kylo:kylo', 'local|a', 'enablekey', false, 'finished', 'completed', 2, 1, 1,
            '2026-01-01', '2026-01-02', '2026-01-02');
    INSERT INTO jobs (id, tenant, created_by, operation, force, state, total, created_at, updated_at)
    VALUES ('00000000-0000-7000-8000-000000000002', 'kylo:kylo', 'local|a', 'disablekey', false, 'running', 3, '2026-01-03', '2026-01-03');
    INSERT INTO job_lanes (job_id, lane, account, region, next_seq, undispatched)
    VALUES ('00000000-0000-7000-8000-000000000001', 0, '111122223333', 'us-east-1', 2, 0),
           ('00000000-0000-7000-8000-000000000002', 0, '111122223333', 'us-east-1', 1, 2);
    INSERT INTO tasks (job_id, seq, lane, key, state, detail) VALUES
        ('00000000-0000-7000-8000-000000000001', 0, 0, 'a', 'succeeded', NULL),
        ('00000000-0000-7000-8000-000000000001', 1, 0, 'b', 'failed', 'DisabledException: no'),
        ('00000000-0000-7000-8000-000000000002', 0, 0, 'c', 'pending', NULL),
        ('00000000-0000-7000-8000-000000000002', 1, 0, 'd', 'pending', NULL),
        ('00000000-0000-7000-8000-000000000002', 2, 0, 'e', 'pending', NULL);
    INSERT INTO policy_templates (id, tenant, name, policy, created_by, created_at)
    VALUES ('00000000-0000-7000-8000-00000000000a', 'kylo:kylo', 'old', '{\"Version\": \"2012-10-17\"}', 'local|a', '2026-01-01');
    INSERT INTO idempotency_keys (tenant, created_by, key, body_digest, job_id, created_at)
    VALUES ('kylo:kylo', 'local|a', 'once', '\\x00', '00000000-0000-7000-8000-000000000001', '2026-01-01');
";
/// What the first version goes on writing beside the new one, while replicas are replaced.
const MEANWHILE: &str = "
    INSERT INTO jobs (id, tenant, created_by, operation, force, state, total, created_at, updated_at)
    VALUES ('00000000-0000-7000-8000-000000000003', 'kylo:kylo', 'local|a', 'enablekey', false, 'running', 1, '2026-01-04', '2026-01-04');
    INSERT INTO job_lanes (job_id, lane, account, region, undispatched)
    VALUES ('00000000-0000-7000-8000-000000000003', 0, '111122223333', 'us-east-1', 1);
    INSERT INTO tasks (job_id, seq, lane, key, state) VALUES ('00000000-0000-7000-8000-000000000003', 0, 0, 'f', 'pending');
    UPDATE tasks SET state = 'succeeded', attempts = 1 WHERE job_id = '00000000-0000-7000-8000-000000000002' AND seq = 0;
    UPDATE jobs SET succeeded = 1, updated_at = '2026-01-04' WHERE id = '00000000-0000-7000-8000-000000000002';
";

#[tokio::test]
async fn what_the_first_version_stored_is_read_by_this_one() {
    let database = Database::create().unwrap();
    let options: PgConnectOptions = database.url().parse().unwrap();
    let pool = PgPoolOptions::new().max_connections(2).connect_with(options.clone()).await.unwrap();
    let all = sqlx::migrate!("../migrations");
    let first = Migrator { migrations: Cow::Owned(all.migrations[..1].to_vec()), ..Migrator::DEFAULT };
    first.run(&pool).await.unwrap();
    pool.execute(FIRST).await.unwrap();

    let store = Store::new(options);
    store.migrate().await.unwrap();
    pool.execute(MEANWHILE).await.unwrap();

    let job = |number: u8| -> JobId { format!("00000000-0000-7000-8000-00000000000{number}").parse().unwrap() };
    let ended = store.job_get(&kylo(), job(1)).await.unwrap().unwrap();
    assert_eq!((ended.state, ended.succeeded, ended.failed), (JobState::Finished, 1, 1));
    assert!(!ended.dry_run && ended.max_rate.is_none() && ended.containers.len() == 1);
    let running = store.job_get(&kylo(), job(2)).await.unwrap().unwrap();
    assert_eq!((running.state, running.total, running.succeeded), (JobState::Running, 3, 1));
    let states = async |number| -> Vec<TaskState> {
        store.task_page(job(number), 0, 10).await.unwrap().into_iter().map(|task| task.state).collect()
    };
    assert_eq!(states(1).await, [TaskState::Succeeded, TaskState::Failed]);
    assert_eq!(states(2).await, [TaskState::Succeeded, TaskState::Pending, TaskState::Pending]);
    assert_eq!(store.template_get(&kylo(), "old").await.unwrap().unwrap().name, "old");

    // A leader of this version takes up what runs, and dispatches it.
    let seen = store.leadership_read().await.unwrap();
    let epoch = store.leadership_take(&seen, uuid::Uuid::new_v4()).await.unwrap().unwrap();
    for (number, from, expected) in [(2, 1, vec!["d", "e"]), (3, 0, vec!["f"])] {
        let dispatched = store.task_dispatch(epoch, job(number), 0, 10, from, 0).await.unwrap();
        let keys: Vec<&str> = dispatched.tasks.iter().map(|(_, key)| key.as_str()).collect();
        assert_eq!(keys, expected);
    }
}
