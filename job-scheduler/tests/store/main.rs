//! The store against a real Postgres, each test in a database of its own.
//!
//! Run it with one: `cargo run -p dev-stack -- with-servers -- cargo test -p job-scheduler --test store`.

#![expect(clippy::unwrap_used, reason = "in a test, also in what its steps share, a failure is to end it")]

mod audit;
mod containers;
mod create;
mod dispatch;
mod finish;
mod guard;
mod keys;
mod leadership;
mod list;
mod read;
mod report;
mod retention;
mod sessions;
mod templates;
mod upgrade;
mod words;

use std::time::Duration;

use dev_stack::scratch::Database;
use job_model::{JobId, Operation, TaskRef, TaskState, Tenant};
use job_scheduler::containers::DEFAULT_ID;
use job_scheduler::store::{
    Store,
    create::{Created, NewJob, NewLane, NewTask},
    jobs::Job,
    report::FinalTask,
};
use sqlx::{
    PgPool,
    postgres::{PgConnectOptions, PgPoolOptions},
};
use time::OffsetDateTime;
use uuid::Uuid;

/// Far above what anything here takes; only a hang reaches it.
const LONG: Duration = Duration::from_secs(30);
/// Never reached.
const MANY_JOBS: u32 = 1_000;

/// A migrated database, and a store of a leader on it.
struct World {
    store: Store,
    /// To look at the tables past the store, and to hold locks; without the store's timeouts.
    pool: PgPool,
    epoch: u32,
    // Dropped last, when nobody needs it any more.
    _database: Database,
}

impl World {
    async fn new() -> Self {
        assert!(
            std::env::var_os("DATABASE_URL").is_some(),
            "these tests need a Postgres: run them as `cargo run -p dev-stack -- with-servers -- cargo test …`"
        );
        let database = Database::create().unwrap();
        let options: PgConnectOptions = database.url().parse().unwrap();
        let store = Store::new(options.clone());
        store.migrate().await.unwrap();
        let pool = PgPoolOptions::new().max_connections(8).connect_lazy_with(options);
        let world = Self { store, pool, epoch: 0, _database: database };
        Self { epoch: world.take_over().await, ..world }
    }

    /// A leadership begins: the epoch of the one before is an old leader's.
    async fn take_over(&self) -> u32 {
        let seen = self.store.leadership_read().await.unwrap();
        self.store.leadership_take(&seen, Uuid::new_v4()).await.unwrap().unwrap()
    }

    /// Creates a job whose keys lie in these lanes (`None`: nowhere).
    async fn job(&self, lanes: &[Option<u16>]) -> JobId {
        let job = new_job(lanes);
        assert_eq!(self.create(&job, lanes).await, Created::New);
        job.id
    }

    async fn create(&self, job: &NewJob, lanes: &[Option<u16>]) -> Created {
        let mut draft = self.store.draft_begin(job.id).await.unwrap();
        draft.tasks_insert(new_tasks(lanes), job.now).await.unwrap();
        draft.commit(self.epoch, job, None, MANY_JOBS).await.unwrap()
    }

    async fn read(&self, job: JobId) -> Job {
        self.store.job_get(&kylo(), job).await.unwrap().unwrap()
    }

    /// Dispatches up to `limit` tasks of a lane from `from` on; answers their seqs.
    async fn dispatch(&self, job: JobId, lane: u16, limit: u32, from: u32) -> Vec<u32> {
        let found = self.store.task_dispatch(self.epoch, job, lane, limit, from, 0).await.unwrap();
        found.tasks.into_iter().map(|(seq, _)| seq).collect()
    }

    /// Each task's state by seq, as a caller sees it.
    async fn states(&self, job: JobId) -> Vec<TaskState> {
        self.store.task_page(job, 0, 1_000).await.unwrap().into_iter().map(|task| task.state).collect()
    }

    async fn count(&self, rows: &'static str) -> i64 {
        sqlx::query_scalar(rows).fetch_one(&self.pool).await.unwrap()
    }

    /// Ends these tasks so.
    async fn end(&self, job: JobId, seqs: &[u32], state: TaskState, now: OffsetDateTime) -> Vec<JobId> {
        let batch: Vec<_> = seqs.iter().map(|seq| ended(job, *seq, state)).collect();
        self.store.task_finish_batch(self.epoch, &batch, now).await.unwrap()
    }

    /// Everything that is stored, to compare.
    async fn everything(&self) -> String {
        let mut all = String::new();
        for rows in [
            "SELECT coalesce(string_agg(t::text, E'\n' ORDER BY t::text), '') FROM leadership t",
            "SELECT coalesce(string_agg(t::text, E'\n' ORDER BY t::text), '') FROM workers t",
            "SELECT coalesce(string_agg(t::text, E'\n' ORDER BY t::text), '') FROM jobs t",
            "SELECT coalesce(string_agg(t::text, E'\n' ORDER BY t::text), '') FROM job_lanes t",
            "SELECT coalesce(string_agg(t::text, E'\n' ORDER BY t::text), '') FROM tasks t",
            "SELECT coalesce(string_agg(t::text, E'\n' ORDER BY t::text), '') FROM idempotency_keys t",
            "SELECT coalesce(string_agg(t::text, E'\n' ORDER BY t::text), '') FROM policy_templates t",
            "SELECT coalesce(string_agg(t::text, E'\n' ORDER BY t::text), '') FROM template_uses t",
            "SELECT coalesce(string_agg(t::text, E'\n' ORDER BY t::text), '') FROM containers t",
            "SELECT coalesce(string_agg(t::text, E'\n' ORDER BY t::text), '') FROM container_acls t",
        ] {
            let table: String = sqlx::query_scalar(rows).fetch_one(&self.pool).await.unwrap();
            all.push_str(&table);
            all.push_str("\n\n");
        }
        all
    }

    /// Waits until `count` statements of this database wait for a lock.
    async fn until_blocked(&self, count: i64) {
        in_time(async {
            let waiting = "SELECT count(*) FROM pg_stat_activity
                           WHERE datname = current_database() AND wait_event_type = 'Lock'";
            while self.count(waiting).await != count {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })
        .await;
    }
}

fn kylo() -> Tenant {
    "kylo:kylo".parse().unwrap()
}

/// A moment that Postgres stores without rounding.
fn at(seconds: i64) -> OffsetDateTime {
    OffsetDateTime::from_unix_timestamp(1_800_000_000 + seconds).unwrap()
}

fn new_job(lanes: &[Option<u16>]) -> NewJob {
    let count = |lane: Option<u16>| u32::try_from(lanes.iter().filter(|found| **found == lane).count()).unwrap();
    let last = lanes.iter().flatten().max().map_or(0, |last| last + 1);
    NewJob {
        id: JobId::from_uuid(Uuid::now_v7()),
        tenant: kylo(),
        created_by: "admin".to_owned(),
        operation: Operation::EnableKey,
        days: None,
        policy_template_id: None,
        policy: None,
        force: false,
        dry_run: false,
        max_rate: None,
        follows: false,
        selector: None,
        lanes: (0..last)
            .map(|lane| NewLane {
                account: "111122223333".to_owned(),
                region: format!("eu-west-{lane}"),
                tasks: count(Some(lane)),
            })
            .collect(),
        containers: vec![DEFAULT_ID],
        total: u32::try_from(lanes.len()).unwrap(),
        failed: count(None),
        now: at(0),
    }
}

fn new_tasks(lanes: &[Option<u16>]) -> Vec<NewTask> {
    (0..)
        .zip(lanes)
        .map(|(seq, lane)| NewTask {
            seq,
            lane: *lane,
            key: format!("key-{seq}"),
            aws_key: None,
            detail: lane.is_none().then(|| "NotFoundException: nobody knows it".to_owned()),
        })
        .collect()
}

fn ended(job: JobId, seq: u32, state: TaskState) -> FinalTask {
    FinalTask {
        task: TaskRef { job, seq },
        state,
        detail: (state == TaskState::Failed).then(|| "KMSInvalidStateException: it is gone".to_owned()),
        attempts: 1,
        already: false,
        wrote: false,
        state_before: None,
        took: None,
        follow: None,
    }
}

async fn in_time<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(LONG, future).await.expect("it takes far too long")
}
