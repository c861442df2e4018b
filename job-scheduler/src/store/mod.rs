//! The truth: jobs, tasks, templates, sessions and leadership in Postgres. All SQL of the service lives in this folder.
//!
//! Invariant: every write of a leader runs in a transaction that holds the leadership row of its epoch FOR KEY SHARE, so
//! that a takeover waits for it and nothing of an old leader lands after one. Times come from the caller, never from
//! the database's clock.

pub mod acls;
pub mod audit;
pub mod containers;
pub mod create;
pub mod follow;
pub mod jobs;
pub mod keys;
pub mod leadership;
pub mod report;
pub mod retention;
pub mod sessions;
pub mod syncs;
pub mod takeover;
pub mod tasks;
pub mod templates;
pub mod workers;

use std::time::Duration;

use sqlx::{
    PgConnection, PgPool, Postgres, Transaction,
    postgres::{PgConnectOptions, PgPoolOptions},
};

/// What can go wrong in the store.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Another leader has taken over; nothing was written.
    #[error("another scheduler has taken over")]
    LostLeadership,
    /// The database refused or could not be reached. Trying again may help.
    #[error("the database: {0}")]
    Database(#[from] sqlx::Error),
    /// A row contradicts what this program wrote.
    #[error("inconsistent row in {table}: column {column} of {row}")]
    Inconsistent {
        /// The table.
        table: &'static str,
        /// The column.
        column: &'static str,
        /// The row's id.
        row: String,
    },
}

/// SQLSTATE classes that say that what was written is what is wrong (PostgreSQL manual, appendix A): 21 cardinality
/// violation, 22 data exception, 23 integrity constraint violation, 54 program limit exceeded.
const LASTING: [&str; 4] = ["21", "22", "23", "54"];

impl Error {
    /// Whether the database refuses what was written for what it is, so that the same will be refused again.
    pub fn is_lasting(&self) -> bool {
        match self {
            Self::Database(sqlx::Error::Encode(_)) => true,
            Self::Database(error) => error
                .as_database_error()
                .and_then(sqlx::error::DatabaseError::code)
                .is_some_and(|code| LASTING.iter().any(|class| code.starts_with(class))),
            Self::LostLeadership | Self::Inconsistent { .. } => false,
        }
    }
}

/// Pools of connections. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Store {
    pool: PgPool,
    /// For what goes by the keys of rows and is waited for, or done often ([`BY_KEY`]).
    by_key: PgPool,
}

/// How many connections one scheduler keeps at the most, and how many beside them for what goes by key.
const CONNECTIONS: u32 = 16;
const CONNECTIONS_BY_KEY: u32 = 8;

/// Rows are looked up by index and in no other way. The planner would rather read a table whole while it is small, and keeps
/// that plan when it has grown: then each batch of statuses read all tasks there are, until the next ANALYZE. And as there is but
/// one way, it is planned once and not each time.
const BY_KEY: [(&str, &str); 4] = [
    ("enable_seqscan", "off"),
    ("enable_hashjoin", "off"),
    ("enable_mergejoin", "off"),
    ("plan_cache_mode", "force_generic_plan"),
];

/// Begins a transaction in a task of its own. A caller may leave at any moment, and the driver forgets a `BEGIN` whose answer
/// nobody waited for: its connection would go back to the pool inside a transaction, and what is written by it next, and
/// believed to be committed, would be rolled back.
async fn undisturbed(
    begin: impl Future<Output = Result<Transaction<'static, Postgres>, sqlx::Error>> + Send + 'static,
) -> Result<Transaction<'static, Postgres>, Error> {
    match tokio::spawn(begin).await {
        Ok(begun) => Ok(begun?),
        Err(_ended) => Err(Error::Database(sqlx::Error::WorkerCrashed)),
    }
}

async fn begin(pool: PgPool) -> Result<Transaction<'static, Postgres>, Error> {
    undisturbed(async move { pool.begin().await }).await
}

impl Store {
    /// Pools that connect when they are first used. Every statement and every pause inside a transaction is bounded to
    /// two seconds, so that no lock outlives a stuck client.
    pub fn new(options: PgConnectOptions) -> Self {
        let options = options.application_name("keyfleet-scheduler").options([
            ("statement_timeout", "2s"),
            ("lock_timeout", "2s"),
            ("idle_in_transaction_session_timeout", "2s"),
            ("tcp_user_timeout", "5s"),
        ]);
        let pool = PgPoolOptions::new()
            .acquire_timeout(Duration::from_secs(2))
            .test_before_acquire(false)
            .max_lifetime(Duration::from_secs(30 * 60));
        Self {
            by_key: pool.clone().max_connections(CONNECTIONS_BY_KEY).connect_lazy_with(options.clone().options(BY_KEY)),
            pool: pool.max_connections(CONNECTIONS).connect_lazy_with(options),
        }
    }

    /// Wraps a pool that exists, for tests.
    pub fn from_pool(pool: PgPool) -> Self {
        Self { by_key: pool.clone(), pool }
    }

    /// A transaction.
    async fn begin(&self) -> Result<Transaction<'static, Postgres>, Error> {
        begin(self.pool.clone()).await
    }

    /// A transaction that reads one state of everything, and changes nothing.
    async fn begin_read(&self) -> Result<Transaction<'static, Postgres>, Error> {
        let pool = self.pool.clone();
        undisturbed(async move { pool.begin_with("BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY").await }).await
    }

    /// Applies the migrations that are missing.
    ///
    /// # Errors
    /// When the database cannot be reached or an applied migration was changed.
    pub async fn migrate(&self) -> Result<(), sqlx::migrate::MigrateError> {
        sqlx::migrate!("../migrations").run(&self.pool).await
    }

    /// Asks the database whether it answers.
    ///
    /// # Errors
    /// [`Error::Database`] when it does not.
    pub async fn ping(&self) -> Result<(), Error> {
        sqlx::query("SELECT 1").execute(&self.pool).await?;
        Ok(())
    }

    /// Closes all connections.
    pub async fn close(&self) {
        self.pool.close().await;
        self.by_key.close().await;
    }
}

/// Holds the leadership row of `epoch` for the rest of the transaction.
async fn guard(connection: &mut PgConnection, epoch: u32) -> Result<(), Error> {
    sqlx::query_scalar!(r#"SELECT 1 AS "one!" FROM leadership WHERE epoch = $1 FOR KEY SHARE"#, as_i32(epoch))
        .fetch_optional(connection)
        .await?
        .map(|_: i32| ())
        .ok_or(Error::LostLeadership)
}

/// Postgres has no unsigned integers; ours stay below 2^31.
fn as_i32(value: u32) -> i32 {
    i32::try_from(value).unwrap_or(i32::MAX)
}

/// The other way: what this program wrote is never negative.
fn as_u32(value: i32) -> u32 {
    u32::try_from(value).unwrap_or(0)
}
