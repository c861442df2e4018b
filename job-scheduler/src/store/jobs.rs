//! Jobs: read, list, abort, finish.

use job_model::{ContainerId, JobId, JobState, Operation, OverallStatus, Request, Tenant};
use sqlx::{PgExecutor, Postgres, QueryBuilder, types::Uuid};
use time::OffsetDateTime;

use super::{
    Error, Store, as_i32, as_u32,
    tasks::{self, Task},
};

/// A job as it is read.
#[derive(Clone, Debug)]
pub struct Job {
    /// Its id.
    pub id: JobId,
    /// Whose it is.
    pub tenant: Tenant,
    /// Who made it.
    pub created_by: String,
    /// What it does.
    pub operation: Operation,
    /// As given.
    pub days: Option<u32>,
    /// As given.
    pub policy_template_id: Option<String>,
    /// The template's text.
    pub policy: Option<String>,
    /// Acts whatever is read.
    pub force: bool,
    /// Where it stands.
    pub state: JobState,
    /// A caller has canceled it.
    pub abort: bool,
    /// How it ended; `InProgress` until it has.
    pub status: OverallStatus,
    /// All tasks.
    pub total: u32,
    /// Ended so.
    pub succeeded: u32,
    /// Ended so.
    pub failed: u32,
    /// Ended so; after an abort also what was never dispatched.
    pub canceled: u32,
    /// Of the succeeded, those that needed no call.
    pub already: u32,
    /// Times.
    pub created_at: OffsetDateTime,
    /// The last change of any count or state.
    pub updated_at: OffsetDateTime,
    /// Absent until it has ended.
    pub completed_at: Option<OffsetDateTime>,
    /// Its keys may be registered.
    pub follows: bool,
    /// What its keys were selected by, a JSON object.
    pub selector: Option<String>,
    /// Tasks per second at the most.
    pub max_rate: Option<f64>,
    /// Observes and decides only.
    pub dry_run: bool,
    /// Who may use all of these may see and stop it.
    pub containers: Vec<ContainerId>,
}

impl Job {
    /// What it asks of each key.
    ///
    /// # Errors
    /// [`Error::Inconsistent`] when a policy job has no policy.
    pub fn request(&self) -> Result<Request, Error> {
        Ok(match self.operation {
            Operation::EnableKey => Request::EnableKey,
            Operation::DisableKey => Request::DisableKey,
            Operation::CancelKeyDeletion => Request::CancelKeyDeletion,
            Operation::ScheduleKeyDeletion => {
                Request::ScheduleKeyDeletion { days: self.days.unwrap_or(Request::DEFAULT_DAYS) }
            }
            Operation::ApplyPolicyTemplate => {
                let policy = self.policy.as_deref().ok_or_else(|| inconsistent("policy", self.id.as_uuid()))?;
                Request::ApplyPolicy { policy: policy.into() }
            }
        })
    }
}

#[derive(sqlx::FromRow)]
struct JobRow {
    id: Uuid,
    tenant: String,
    created_by: String,
    operation: String,
    days: Option<i32>,
    policy_template_id: Option<String>,
    policy: Option<String>,
    force: bool,
    state: String,
    abort: bool,
    result: Option<String>,
    total: i32,
    succeeded: i32,
    failed: i32,
    canceled: i32,
    already: i32,
    created_at: OffsetDateTime,
    updated_at: OffsetDateTime,
    completed_at: Option<OffsetDateTime>,
    follows: bool,
    selector: Option<String>,
    max_rate: Option<f64>,
    dry_run: bool,
    containers: Vec<Uuid>,
}

fn inconsistent(column: &'static str, id: Uuid) -> Error {
    Error::Inconsistent { table: "jobs", column, row: id.to_string() }
}

impl TryFrom<JobRow> for Job {
    type Error = Error;
    fn try_from(row: JobRow) -> Result<Self, Error> {
        let id = row.id;
        Ok(Self {
            id: JobId::from_uuid(id),
            tenant: row.tenant.parse().map_err(|_| inconsistent("tenant", id))?,
            created_by: row.created_by,
            operation: row.operation.parse().map_err(|_| inconsistent("operation", id))?,
            days: row.days.map(as_u32),
            policy_template_id: row.policy_template_id,
            policy: row.policy,
            force: row.force,
            state: row.state.parse().map_err(|_| inconsistent("state", id))?,
            abort: row.abort,
            status: match row.result {
                None => OverallStatus::InProgress,
                Some(result) => result.parse().map_err(|_| inconsistent("result", id))?,
            },
            total: as_u32(row.total),
            succeeded: as_u32(row.succeeded),
            failed: as_u32(row.failed),
            canceled: as_u32(row.canceled),
            already: as_u32(row.already),
            created_at: row.created_at,
            updated_at: row.updated_at,
            completed_at: row.completed_at,
            follows: row.follows,
            selector: row.selector,
            max_rate: row.max_rate,
            dry_run: row.dry_run,
            containers: row.containers.into_iter().map(ContainerId::from_uuid).collect(),
        })
    }
}

/// What a list is asked for.
#[derive(Clone, Debug)]
pub struct ListQuery {
    /// Whose jobs.
    pub tenant: Tenant,
    /// Only those all of whose containers are among these; `None` for all.
    pub permitted: Option<Vec<ContainerId>>,
    /// Only this one.
    pub id: Option<JobId>,
    /// Only these.
    pub status: Option<OverallStatus>,
    /// In this order; newest first when empty.
    pub sort: Vec<(SortBy, Descending)>,
    /// Leaves out so many.
    pub skip: u32,
    /// And takes so many.
    pub limit: u32,
}

/// Whether a sort key descends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Descending(pub bool);

/// What jobs can be sorted by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SortBy {
    /// `id`
    Id,
    /// `createdAt`
    CreatedAt,
    /// `updatedAt`
    UpdatedAt,
    /// `completed_at`
    CompletedAt,
    /// `overall_status`
    OverallStatus,
    /// `operation`
    Operation,
    /// `abort`
    Abort,
}

impl SortBy {
    const fn column(self) -> &'static str {
        match self {
            Self::Id => "id",
            Self::CreatedAt => "created_at",
            Self::UpdatedAt => "updated_at",
            Self::CompletedAt => "completed_at",
            Self::OverallStatus => "coalesce(result, 'in_progress')",
            Self::Operation => "operation",
            Self::Abort => "abort",
        }
    }
}

/// What an abort found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Aborted {
    /// The job ran and now stops, or was stopping.
    Stopping,
    /// It had ended; only its flag is set.
    Finished,
    /// There is no such job.
    Unknown,
}

/// What a finish found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finish {
    /// The job is finished now.
    Done,
    /// It had finished before, or is gone.
    Before,
    /// Some of its tasks have no final status in the database.
    Incomplete,
}

impl Store {
    /// One job of the tenant.
    ///
    /// # Errors
    /// [`Error::Database`], [`Error::Inconsistent`].
    pub async fn job_get(&self, tenant: &Tenant, id: JobId) -> Result<Option<Job>, Error> {
        fetch(&self.pool, tenant, id).await
    }

    /// One job of the tenant and, if it has at most `most` tasks, these: in one snapshot, so that its counts and their
    /// statuses agree. To be awaited in a task that nobody cancels: a cancelled `begin` can leave its connection inside
    /// the transaction (sqlx issue 4393).
    ///
    /// # Errors
    /// [`Error::Database`], [`Error::Inconsistent`].
    pub async fn job_get_with_tasks(
        &self,
        tenant: &Tenant,
        id: JobId,
        most: u32,
    ) -> Result<Option<(Job, Vec<Task>)>, Error> {
        let mut tx = self.begin_read().await?;
        let Some(job) = fetch(&mut *tx, tenant, id).await? else { return Ok(None) };
        let tasks = if job.total <= most { tasks::fetch_page(&mut *tx, id, 0, most).await? } else { Vec::new() };
        tx.commit().await?;
        Ok(Some((job, tasks)))
    }

    /// All jobs that have not ended: what a new leader takes up.
    ///
    /// # Errors
    /// [`Error::Database`], [`Error::Inconsistent`].
    pub async fn jobs_unfinished(&self) -> Result<Vec<Job>, Error> {
        sqlx::query_as!(
            JobRow,
            "SELECT id, tenant, created_by, operation, days, policy_template_id, policy, force, state, abort, result,
                    total, succeeded, failed, canceled, already, created_at, updated_at, completed_at, follows,
                    selector, max_rate, dry_run, containers
             FROM jobs WHERE state <> 'finished' ORDER BY id"
        )
        .fetch_all(&self.pool)
        .await?
        .into_iter()
        .map(Job::try_from)
        .collect()
    }

    /// A page of the tenant's jobs, and how many match.
    ///
    /// # Errors
    /// [`Error::Database`], [`Error::Inconsistent`].
    pub async fn job_list(&self, query: &ListQuery) -> Result<(u64, Vec<Job>), Error> {
        // Sorted and passed over as ids, by an index alone where one serves the order; only the page is read whole.
        let mut page = QueryBuilder::<Postgres>::new(
            "SELECT id, tenant, created_by, operation, days, policy_template_id, NULL::text AS policy, force, state,
                    abort, result, total, succeeded, failed, canceled, already, created_at, updated_at, completed_at, follows,
                    selector, max_rate, dry_run, containers
             FROM jobs WHERE id IN (SELECT id FROM jobs",
        );
        filter(&mut page, query);
        order(&mut page, query);
        page.push(" OFFSET ").push_bind(i64::from(query.skip));
        page.push(" LIMIT ").push_bind(i64::from(query.limit)).push(")");
        order(&mut page, query);
        let rows: Vec<JobRow> = page.build_query_as().fetch_all(&self.pool).await?;
        let jobs = rows.into_iter().map(Job::try_from).collect::<Result<Vec<_>, _>>()?;
        let total = match last_page(query, jobs.len()) {
            Some(total) => total,
            None => {
                // By jobs_counted.
                let mut count = QueryBuilder::<Postgres>::new("SELECT count(*) FROM jobs");
                filter(&mut count, query);
                let total: i64 = count.build_query_scalar().fetch_one(&self.pool).await?;
                u64::try_from(total).unwrap_or(0)
            }
        };
        Ok((total, jobs))
    }

    /// Sets the abort flag. From this commit on nothing more is dispatched, and what was not is canceled: no row is
    /// written for it, only the count.
    ///
    /// # Errors
    /// [`Error::LostLeadership`], [`Error::Database`].
    pub async fn job_abort(
        &self,
        epoch: u32,
        id: JobId,
        canceled_by: &str,
        now: OffsetDateTime,
    ) -> Result<Aborted, Error> {
        // One statement is one round trip. The job's row is locked before its lanes', as a dispatch does, and what is locked is
        // read as the lock left it: the cursors are those of the last dispatch.
        let row = sqlx::query!(
            r#"WITH guard AS (SELECT epoch FROM leadership WHERE epoch = $1 FOR KEY SHARE),
                    found AS (SELECT j.id, j.state FROM jobs j, guard WHERE j.id = $2 FOR NO KEY UPDATE OF j),
                    lanes AS (SELECT l.undispatched FROM job_lanes l JOIN found ON l.job_id = found.id
                              WHERE found.state = 'running' FOR UPDATE OF l),
                    running AS (
                        UPDATE jobs j
                        SET abort = true, state = 'stopping', canceled_by = $3, updated_at = $4,
                            canceled = (SELECT coalesce(sum(undispatched), 0) FROM lanes)
                        FROM found WHERE j.id = found.id AND found.state = 'running'),
                    finished AS (
                        UPDATE jobs j SET abort = true
                        FROM found WHERE j.id = found.id AND found.state = 'finished' AND NOT j.abort)
               SELECT (SELECT count(*) FROM guard) AS "guarded!", (SELECT state FROM found) AS state"#,
            as_i32(epoch),
            id.as_uuid(),
            canceled_by,
            now
        )
        .fetch_one(&self.by_key)
        .await?;
        if row.guarded == 0 {
            return Err(Error::LostLeadership);
        }
        let Some(state) = row.state else { return Ok(Aborted::Unknown) };
        Ok(match state.parse().map_err(|_| inconsistent("state", id.as_uuid()))? {
            JobState::Running | JobState::Stopping => Aborted::Stopping,
            JobState::Finished => Aborted::Finished,
        })
    }

    /// Finishes a job all of whose tasks have ended.
    ///
    /// # Errors
    /// [`Error::LostLeadership`], [`Error::Database`].
    pub async fn job_finish(&self, epoch: u32, id: JobId, now: OffsetDateTime) -> Result<Finish, Error> {
        // In one statement, as the abort. Whatever of an aborted job has no status by now was never tried.
        let row = sqlx::query!(
            r#"WITH guard AS (SELECT epoch FROM leadership WHERE epoch = $1 FOR KEY SHARE),
                    done AS (
                        UPDATE jobs j
                        SET state = 'finished', canceled = total - succeeded - failed, updated_at = $3, completed_at = $3,
                            result = CASE WHEN total > succeeded + failed THEN 'canceled'
                                          WHEN succeeded = 0 AND failed > 0 THEN 'error'
                                          ELSE 'completed' END
                        FROM guard
                        WHERE j.id = $2 AND j.state <> 'finished' AND (j.abort OR succeeded + failed + canceled = total)
                        RETURNING 1)
               SELECT (SELECT count(*) FROM guard) AS "guarded!", (SELECT count(*) FROM done) AS "done!",
                      EXISTS (SELECT 1 FROM jobs WHERE id = $2 AND state <> 'finished') AS "was_unfinished!""#,
            as_i32(epoch),
            id.as_uuid(),
            now
        )
        .fetch_one(&self.by_key)
        .await?;
        match (row.guarded, row.done, row.was_unfinished) {
            (0, ..) => Err(Error::LostLeadership),
            (_, 1.., _) => Ok(Finish::Done),
            (_, _, true) => Ok(Finish::Incomplete),
            (_, _, false) => Ok(Finish::Before),
        }
    }
}

async fn fetch(executor: impl PgExecutor<'_>, tenant: &Tenant, id: JobId) -> Result<Option<Job>, Error> {
    sqlx::query_as!(
        JobRow,
        "SELECT id, tenant, created_by, operation, days, policy_template_id, policy, force, state, abort, result,
                total, succeeded, failed, canceled, already, created_at, updated_at, completed_at, follows,
                    selector, max_rate, dry_run, containers
         FROM jobs WHERE tenant = $1 AND id = $2",
        tenant.as_str(),
        id.as_uuid()
    )
    .fetch_optional(executor)
    .await?
    .map(Job::try_from)
    .transpose()
}

/// How many match, where the page tells it: its end is the list's.
fn last_page(query: &ListQuery, listed: usize) -> Option<u64> {
    let listed = u64::try_from(listed).ok()?;
    let ends = listed < u64::from(query.limit) && (listed > 0 || query.skip == 0);
    ends.then(|| u64::from(query.skip) + listed)
}

fn order(builder: &mut QueryBuilder<Postgres>, query: &ListQuery) {
    builder.push(" ORDER BY ");
    for (by, Descending(descending)) in &query.sort {
        builder.push(by.column()).push(if *descending { " DESC, " } else { " ASC, " });
    }
    // By jobs_by_tenant, when nothing else is asked for.
    builder.push("created_at DESC, id DESC");
}

fn filter(builder: &mut QueryBuilder<Postgres>, query: &ListQuery) {
    builder.push(" WHERE tenant = ").push_bind(query.tenant.as_str().to_owned());
    // No index has the containers, so that this reads every row of the tenant: those who may use all are not asked.
    if let Some(permitted) = &query.permitted {
        let ids: Vec<Uuid> = permitted.iter().map(ContainerId::as_uuid).collect();
        builder.push(" AND containers <@ ").push_bind(ids);
    }
    if let Some(id) = query.id {
        builder.push(" AND id = ").push_bind(id.as_uuid());
    }
    match query.status {
        None => {}
        Some(OverallStatus::InProgress) => {
            builder.push(" AND result IS NULL");
        }
        Some(status @ (OverallStatus::Completed | OverallStatus::Error | OverallStatus::Canceled)) => {
            builder.push(" AND result = ").push_bind(status.as_str());
        }
    }
}
