//! apalis-postgres: the task queue upon Postgres that a Rust user would pick instead. One task a key, with the same calls
//! and the same SDK settings as the bare loop, and every result durable in a database of its own.
//!
//! Set up for speed, as its documentation offers it: all tasks are pushed by one statement, taken in large batches, run by
//! tokio's threads, and not marked a second time when they begin (`lock_tasks`; the worker that took them stands in their
//! rows all the same). Its worker neither takes nor reports tasks while it does the other, so that larger batches let it
//! wait less.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use anyhow::{Context, Result, ensure};
use apalis::prelude::{
    BoxDynError, Data, Event, EventListenerExt, ParallelizeExt, TaskBuilder, WorkerBuilder, WorkerBuilderExt,
    WorkerContext,
};
use apalis_postgres::{Config, PgPool, PgTask, PostgresStorage, queries::push_tasks};
use aws_sdk_kms::Client;
use service_kit::clock;
use sqlx::{Postgres, migrate::MigrateDatabase as _};
use tokio::runtime::Runtime;

use super::{Ended, IN_FLIGHT, kms, own_cpu_s};

/// Its database, beside Keyfleet's.
pub const DATABASE: &str = "apalis";

/// Tasks that are taken at once.
const BATCH: usize = 512;

/// Where it works. Region and credentials come from the environment.
#[derive(Debug, Clone, clap::Args)]
pub struct Arguments {
    /// The KMS end.
    #[arg(long)]
    endpoint: String,
    /// Its database; made when there is none.
    #[arg(long)]
    database: String,
    /// Tasks that are taken at once.
    #[arg(long, default_value_t = BATCH)]
    batch: usize,
}

/// Runs it in a process of its own and waits for its end. `database` is the URL of [`DATABASE`].
///
/// # Errors
/// When it cannot be started, a request of it failed, or a result is missing.
pub async fn run(endpoint: &str, database: &str, keys: Vec<String>) -> Result<Ended> {
    super::run(&["apalis", "--endpoint", endpoint, "--database", database], keys).await
}

/// The process of its own.
///
/// # Errors
/// When a request fails, or a result is missing.
pub fn main(arguments: &Arguments) -> Result<()> {
    super::main(Runtime::new(), async |keys| drive(arguments, keys).await)
}

async fn drive(arguments: &Arguments, keys: Vec<String>) -> Result<Ended> {
    let pool = database(&arguments.database).await?;
    let client = kms::client(&arguments.endpoint, &keys).await?;
    let queue = format!("keys of {}", std::process::id());
    let config = Config::default().queue(&queue).batch_size(arguments.batch).lock_tasks(false);
    let backend: PostgresStorage<String> = PostgresStorage::new(&pool).with_config(config);

    let (from, cpu_before) = (clock::boottime(), own_cpu_s()?);
    push(&pool, &queue, &keys).await?;
    let worker = WorkerBuilder::new(queue.as_str())
        .backend(backend)
        .concurrency(IN_FLIGHT)
        .parallelize(tokio::spawn)
        .data(client)
        .data(Arc::new(AtomicUsize::new(keys.len())))
        // A failed task would be tried again and again.
        .on_event(|worker, event| {
            if let Event::Error(error) = event {
                eprintln!("{error}");
                _ = worker.stop();
            }
        })
        .build(task);
    // It ends when what it has done is stored.
    worker.run().await.context("the worker")?;
    let (seconds, cpu_s) = (clock::boottime().since(from).as_secs_f64(), own_cpu_s()? - cpu_before);
    let done: i64 = sqlx::query_scalar("SELECT count(*) FROM apalis.jobs WHERE job_type = $1 AND status = 'Done'")
        .bind(&queue)
        .fetch_one(&pool)
        .await
        .context("the results")?;
    ensure!(usize::try_from(done)? == keys.len(), "{done} of {} tasks are stored as done", keys.len());
    Ok(Ended { keys: keys.len(), seconds, cpu_s })
}

/// The database with the queue's tables.
async fn database(url: &str) -> Result<PgPool> {
    if !Postgres::database_exists(url).await.context("the database server")? {
        Postgres::create_database(url).await.context("the database cannot be made")?;
    }
    let pool = PgPool::connect(url).await.context("the database")?;
    PostgresStorage::setup(&pool).await.context("the queue's tables")?;
    Ok(pool)
}

async fn push(pool: &PgPool, queue: &str, keys: &[String]) -> Result<()> {
    let tasks: Vec<PgTask> =
        keys.iter().map(|key| Ok(TaskBuilder::new(serde_json::to_vec(key)?).build())).collect::<Result<_>>()?;
    let mut tx = pool.begin().await.context("a transaction")?;
    push_tasks(&mut *tx, queue, tasks).await.context("the tasks are not taken")?;
    tx.commit().await.context("the tasks are not taken")
}

/// One key; the last one ends the worker.
async fn task(
    key: String,
    client: Data<Client>,
    left: Data<Arc<AtomicUsize>>,
    worker: WorkerContext,
) -> Result<(), BoxDynError> {
    kms::enable(&client, &key).await?;
    if left.fetch_sub(1, Ordering::Relaxed) == 1 {
        worker.stop()?;
    }
    Ok(())
}
