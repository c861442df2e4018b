//! Creating a job: one transaction inserts its tasks as they stream in, and at the end, guarded, the job itself.
//!
//! The long part (a million rows take seconds) runs without the leadership row, so that it delays no takeover. Only the
//! last, short step holds it. A transaction that is dropped leaves nothing behind.

use job_model::{ContainerId, JobId, Operation, Tenant, forecast::IMPOSSIBLE, ids::TemplateId};
use sqlx::{PgConnection, Postgres, QueryBuilder, Transaction, types::Uuid};
use time::OffsetDateTime;

use super::{
    Error, Store, as_i32, as_u32, containers, guard,
    keys::{self, KeyFilter},
};

/// A task to be inserted.
#[derive(Debug)]
pub struct NewTask {
    /// Its place in the caller's order.
    pub seq: u32,
    /// The job's lane, or `None` when the text names no key of any container.
    pub lane: Option<u16>,
    /// The key as the caller wrote it.
    pub key: String,
    /// The key's id in AWS, where `key` is the id of a registered resource.
    pub aws_key: Option<String>,
    /// Why a task without a lane has failed.
    pub detail: Option<String>,
}

/// One account and Region of a job.
#[derive(Clone, Debug)]
pub struct NewLane {
    /// The AWS account.
    pub account: String,
    /// The Region.
    pub region: String,
    /// How many of the job's tasks go there.
    pub tasks: u32,
}

/// The job itself.
#[derive(Clone, Debug)]
pub struct NewJob {
    /// A UUIDv7.
    pub id: JobId,
    /// Whose it is.
    pub tenant: Tenant,
    /// The subject of the caller's token.
    pub created_by: String,
    /// What to do.
    pub operation: Operation,
    /// As given.
    pub days: Option<u32>,
    /// As given.
    pub policy_template_id: Option<String>,
    /// The template's text.
    pub policy: Option<String>,
    /// Acts whatever was read.
    pub force: bool,
    /// Observes and decides only.
    pub dry_run: bool,
    /// Tasks per second at the most; above 0.
    pub max_rate: Option<f64>,
    /// Its keys may be registered.
    pub follows: bool,
    /// What its keys were selected by, a JSON object.
    pub selector: Option<String>,
    /// By number.
    pub lanes: Vec<NewLane>,
    /// The containers of its keys, and the default one for keys that nobody knows.
    pub containers: Vec<ContainerId>,
    /// All tasks.
    pub total: u32,
    /// Those without a lane.
    pub failed: u32,
    /// The caller's clock.
    pub now: OffsetDateTime,
}

/// A caller's key for safe repetition.
#[derive(Clone, Debug)]
pub struct Idempotency {
    /// The header's value.
    pub key: String,
    /// SHA-256 of the body.
    pub body_digest: Vec<u8>,
}

/// What became of a commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Created {
    /// The job exists.
    New,
    /// The key was used before, with the same body, for this job.
    Before(JobId),
    /// The key was used before, with another body.
    OtherBody,
    /// The tenant has as many unfinished jobs as it may.
    TooMany,
    /// This container was archived or deleted meanwhile.
    ContainerClosed(ContainerId),
}

/// A job that is being created.
pub struct Draft {
    tx: Transaction<'static, Postgres>,
    job: JobId,
}

impl Store {
    /// Begins to create a job. Call this and what follows from a task that nobody cancels midway: a cancelled `begin`
    /// can leave its connection inside the transaction (sqlx issue 4393).
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn draft_begin(&self, job: JobId) -> Result<Draft, Error> {
        let mut tx = self.begin().await?;
        // The keys arrive at the caller's pace.
        sqlx::query("SET LOCAL idle_in_transaction_session_timeout = '60s'").execute(&mut *tx).await?;
        Ok(Draft { tx, job })
    }
}

impl Draft {
    /// Inserts tasks; at most a few thousand at once.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn tasks_insert(&mut self, tasks: Vec<NewTask>, now: OffsetDateTime) -> Result<(), Error> {
        let mut seqs = Vec::with_capacity(tasks.len());
        let mut lanes = Vec::with_capacity(tasks.len());
        let mut keys = Vec::with_capacity(tasks.len());
        let mut details = Vec::with_capacity(tasks.len());
        let mut aws_keys = Vec::with_capacity(tasks.len());
        for task in tasks {
            seqs.push(as_i32(task.seq));
            lanes.push(task.lane.map_or(-1, |lane| i16::try_from(lane).unwrap_or(i16::MAX)));
            keys.push(task.key);
            details.push(task.detail);
            aws_keys.push(task.aws_key);
        }
        sqlx::query!(
            "INSERT INTO tasks (job_id, seq, lane, key, aws_key, state, detail, finished_at)
             SELECT $1, seq, lane, key, aws_key,
                    CASE WHEN lane < 0 THEN 'failed' ELSE 'pending' END,
                    detail,
                    CASE WHEN lane < 0 THEN $6::timestamptz END
             FROM unnest($2::int[], $3::smallint[], $4::text[], $5::text[], $7::text[])
                  AS t (seq, lane, key, detail, aws_key)",
            self.job.as_uuid(),
            &seqs,
            &lanes,
            &keys,
            &details as &[Option<String>],
            now,
            &aws_keys as &[Option<String>],
        )
        .execute(&mut *self.tx)
        .await?;
        Ok(())
    }

    /// One task for each key that has the template, named by its ARN; answers their lanes. One statement, so that it
    /// sees one moment, and nothing of it is held here.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn tasks_of_template(&mut self, template: TemplateId) -> Result<Vec<NewLane>, Error> {
        sqlx::query("SET LOCAL statement_timeout = '60s'").execute(&mut *self.tx).await?;
        let rows = sqlx::query!(
            r#"WITH found AS (
                   SELECT account, region, key_id,
                          (row_number() OVER (ORDER BY account, region, key_id) - 1)::int AS seq,
                          (dense_rank() OVER (ORDER BY account, region) - 1)::smallint AS lane
                   FROM template_uses WHERE template_id = $2),
               made AS (
                   INSERT INTO tasks (job_id, seq, lane, key, state)
                   SELECT $1, seq, lane,
                          'arn:' || CASE WHEN region LIKE 'cn-%' THEN 'aws-cn' WHEN region LIKE 'us-gov-%' THEN 'aws-us-gov'
                                         ELSE 'aws' END || ':kms:' || region || ':' || account || ':key/' || key_id,
                          'pending'
                   FROM found)
               SELECT account, region, count(*)::int AS "tasks!" FROM found
               GROUP BY lane, account, region ORDER BY lane"#,
            self.job.as_uuid(),
            template.as_uuid(),
        )
        .fetch_all(&mut *self.tx)
        .await?;
        sqlx::query("SET LOCAL statement_timeout = '2s'").execute(&mut *self.tx).await?;
        Ok(rows
            .into_iter()
            .map(|row| NewLane { account: row.account, region: row.region, tasks: as_u32(row.tasks) })
            .collect())
    }

    /// One task for each registered key that matches, named by its ARN; answers their lanes. One statement, so that it
    /// sees one moment, and nothing of it is held here.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn tasks_select(&mut self, tenant: &Tenant, filter: &KeyFilter) -> Result<Vec<NewLane>, Error> {
        sqlx::query("SET LOCAL statement_timeout = '60s'").execute(&mut *self.tx).await?;
        let mut query = QueryBuilder::<Postgres>::new(
            "WITH found AS (
                 SELECT k.arn, k.account, k.region,
                        (row_number() OVER (ORDER BY k.account, k.region, k.key_id) - 1)::int AS seq,
                        (dense_rank() OVER (ORDER BY k.account, k.region) - 1)::smallint AS lane
                 FROM keys k",
        );
        keys::push_filter(&mut query, tenant, filter);
        query.push("), made AS (INSERT INTO tasks (job_id, seq, lane, key, state) SELECT ");
        query.push_bind(self.job.as_uuid());
        query.push(
            ", seq, lane, arn, 'pending' FROM found)
             SELECT account, region, count(*)::int FROM found GROUP BY lane, account, region ORDER BY lane",
        );
        let rows: Vec<(String, String, i32)> = query.build_query_as().fetch_all(&mut *self.tx).await?;
        sqlx::query("SET LOCAL statement_timeout = '2s'").execute(&mut *self.tx).await?;
        Ok(rows.into_iter().map(|(account, region, tasks)| NewLane { account, region, tasks: as_u32(tasks) }).collect())
    }

    /// Commits what was done beside a job, without one.
    ///
    /// # Errors
    /// [`Error::LostLeadership`], [`Error::Database`].
    pub async fn commit_without_job(mut self, epoch: u32) -> Result<(), Error> {
        guard(&mut self.tx, epoch).await?;
        self.tx.commit().await?;
        Ok(())
    }

    /// The draft's connection, inside its transaction.
    pub(super) fn connection(&mut self) -> &mut PgConnection {
        &mut self.tx
    }

    /// Whether keys are registered that live in any of these lanes. By the unique index of keys.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn any_registered(&mut self, lanes: &[NewLane]) -> Result<bool, Error> {
        let accounts: Vec<String> = lanes.iter().map(|lane| lane.account.clone()).collect();
        let regions: Vec<String> = lanes.iter().map(|lane| lane.region.clone()).collect();
        Ok(sqlx::query_scalar!(
            r#"SELECT EXISTS (SELECT 1 FROM unnest($1::text[], $2::text[]) AS l (account, region)
                              WHERE EXISTS (SELECT 1 FROM keys k WHERE k.account = l.account AND k.region = l.region))
               AS "any!""#,
            &accounts,
            &regions
        )
        .fetch_one(&mut *self.tx)
        .await?)
    }

    /// Inserts the job and commits; only [`Created::New`] leaves anything behind.
    ///
    /// # Errors
    /// [`Error::LostLeadership`]; [`Error::Database`], after which the job may exist all the same.
    pub async fn commit(
        mut self,
        epoch: u32,
        job: &NewJob,
        idempotency: Option<&Idempotency>,
        max_running: u32,
    ) -> Result<Created, Error> {
        let tx = &mut *self.tx;
        guard(tx, epoch).await?;
        if let Some(idempotency) = idempotency
            && let Some(found) = claim(tx, job, idempotency).await?
        {
            return Ok(found);
        }
        if let Some(closed) = containers::hold(tx, &job.containers).await? {
            return Ok(Created::ContainerClosed(closed));
        }
        let running = sqlx::query_scalar!(
            r#"SELECT count(*) AS "count!" FROM jobs WHERE tenant = $1 AND state <> 'finished'"#,
            job.tenant.as_str()
        )
        .fetch_one(&mut *tx)
        .await?;
        if running >= i64::from(max_running) {
            return Ok(Created::TooMany);
        }
        insert(tx, job).await?;
        self.tx.commit().await?;
        Ok(Created::New)
    }
}

/// Takes the idempotency key for this job, or finds whose it is. A key in use by a transaction that has not ended is
/// waited for (at most the statement timeout).
async fn claim(
    connection: &mut PgConnection,
    job: &NewJob,
    idempotency: &Idempotency,
) -> Result<Option<Created>, Error> {
    let inserted = sqlx::query!(
        "INSERT INTO idempotency_keys (tenant, created_by, key, body_digest, job_id, created_at)
         VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT DO NOTHING",
        job.tenant.as_str(),
        job.created_by,
        idempotency.key,
        idempotency.body_digest,
        job.id.as_uuid(),
        job.now,
    )
    .execute(&mut *connection)
    .await?;
    if inserted.rows_affected() == 1 {
        return Ok(None);
    }
    let found = sqlx::query!(
        "SELECT body_digest, job_id FROM idempotency_keys WHERE tenant = $1 AND created_by = $2 AND key = $3",
        job.tenant.as_str(),
        job.created_by,
        idempotency.key,
    )
    .fetch_one(&mut *connection)
    .await?;
    Ok(Some(if found.body_digest == idempotency.body_digest {
        Created::Before(JobId::from_uuid(found.job_id))
    } else {
        Created::OtherBody
    }))
}

async fn insert(connection: &mut PgConnection, job: &NewJob) -> Result<(), Error> {
    // A job none of whose keys is known has ended when it begins.
    let over = job.failed == job.total;
    let containers: Vec<Uuid> = job.containers.iter().map(ContainerId::as_uuid).collect();
    sqlx::query!(
        "INSERT INTO jobs (id, tenant, created_by, operation, days, policy_template_id, policy, force, state, result,
                           total, failed, created_at, updated_at, completed_at, follows, selector, max_rate,
                           dry_run, containers)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8,
                 CASE WHEN $9 THEN 'finished' ELSE 'running' END, CASE WHEN $9 THEN 'error' END,
                 $10, $11, $12::timestamptz, $12::timestamptz, CASE WHEN $9 THEN $12::timestamptz END, $13, $14, $15,
                 $16, $17)",
        job.id.as_uuid(),
        job.tenant.as_str(),
        job.created_by,
        job.operation.as_str(),
        job.days.map(as_i32),
        job.policy_template_id,
        job.policy,
        job.force,
        over,
        as_i32(job.total),
        as_i32(job.failed),
        job.now,
        job.follows,
        job.selector,
        job.max_rate,
        job.dry_run,
        &containers,
    )
    .execute(&mut *connection)
    .await?;
    if job.dry_run && job.failed > 0 {
        sqlx::query!(
            "UPDATE tasks SET detail = $2 || detail WHERE job_id = $1 AND lane = -1",
            job.id.as_uuid(),
            IMPOSSIBLE
        )
        .execute(&mut *connection)
        .await?;
    }
    let numbers: Vec<i16> = (0..).take(job.lanes.len()).collect();
    let accounts: Vec<String> = job.lanes.iter().map(|lane| lane.account.clone()).collect();
    let regions: Vec<String> = job.lanes.iter().map(|lane| lane.region.clone()).collect();
    let tasks: Vec<i32> = job.lanes.iter().map(|lane| as_i32(lane.tasks)).collect();
    sqlx::query!(
        "INSERT INTO job_lanes (job_id, lane, account, region, undispatched)
         SELECT $1, lane, account, region, tasks
         FROM unnest($2::smallint[], $3::text[], $4::text[], $5::int[]) AS t (lane, account, region, tasks)",
        job.id.as_uuid(),
        &numbers,
        &accounts,
        &regions,
        &tasks,
    )
    .execute(&mut *connection)
    .await?;
    Ok(())
}
