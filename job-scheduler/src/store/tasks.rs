//! Tasks: dispatched by moving a cursor, and read in pages.

use std::collections::HashMap;

use job_model::{JobId, TaskState};
use sqlx::{PgExecutor, types::Uuid};
use time::OffsetDateTime;

use super::{Error, Store, as_i32, as_u32, guard};

/// A task as it is read.
#[derive(Clone, Debug)]
pub struct Task {
    /// Its place in the caller's order.
    pub seq: u32,
    /// The key as the caller wrote it.
    pub key: String,
    /// Where it stands; what an abort found undispatched or never tried reads `Canceled`.
    pub state: TaskState,
    /// Of a failed one: `<KMS error code>: <text>`.
    pub detail: Option<String>,
    /// Tries so far.
    pub attempts: u32,
    /// Needed no call.
    pub already: bool,
    /// The key's state as first seen.
    pub state_before: Option<String>,
    /// When its last try began.
    pub started_at: Option<OffsetDateTime>,
    /// When it ended.
    pub finished_at: Option<OffsetDateTime>,
}

/// How a task ended, and no more.
#[derive(Clone, Debug)]
pub struct Ended {
    /// Its place in the caller's order.
    pub seq: u32,
    /// The key as the caller wrote it.
    pub key: String,
    /// One of [`TaskState::FINAL`].
    pub state: TaskState,
    /// Of a failed one: `<KMS error code>: <text>`.
    pub detail: Option<String>,
}

/// What a dispatch took.
#[derive(Clone, Debug, Default)]
pub struct Dispatched {
    /// The tasks past the old cursor, each with its key as KMS knows it.
    pub tasks: Vec<(u32, String)>,
    /// How many lie past the new one.
    pub left: u32,
}

struct TaskRow {
    job_id: Uuid,
    seq: i32,
    key: String,
    state: String,
    detail: Option<String>,
    attempts: i32,
    already: bool,
    state_before: Option<String>,
    started_at: Option<OffsetDateTime>,
    finished_at: Option<OffsetDateTime>,
}

fn inconsistent_state(job: Uuid, seq: i32) -> Error {
    Error::Inconsistent { table: "tasks", column: "state", row: format!("{job}/{seq}") }
}

impl TryFrom<TaskRow> for Task {
    type Error = Error;
    fn try_from(row: TaskRow) -> Result<Self, Error> {
        Ok(Self {
            seq: as_u32(row.seq),
            state: row.state.parse().map_err(|_| inconsistent_state(row.job_id, row.seq))?,
            key: row.key,
            detail: row.detail,
            attempts: as_u32(row.attempts),
            already: row.already,
            state_before: row.state_before,
            started_at: row.started_at,
            finished_at: row.finished_at,
        })
    }
}

impl Store {
    /// Moves the cursor of one lane of a running job past up to `limit` tasks and answers them. Write-ahead: they may
    /// be published once this has committed, and nothing past the cursor ever was. An aborted job gives nothing.
    ///
    /// `from` is the cursor as the caller knows it: when a commit's answer was lost the row's is further on, and the
    /// tasks between are answered instead. `low` is its mark below which no task of the lane is unfinished.
    ///
    /// # Errors
    /// [`Error::LostLeadership`], [`Error::Database`].
    pub async fn task_dispatch(
        &self,
        epoch: u32,
        job: JobId,
        lane: u16,
        limit: u32,
        from: u32,
        low: u32,
    ) -> Result<Dispatched, Error> {
        let lane = i16::try_from(lane).unwrap_or(i16::MAX);
        let mut tx = self.begin().await?;
        guard(&mut tx, epoch).await?;
        // The job's row is locked against an abort, the lane's against another dispatch.
        let Some(cursor) = sqlx::query!(
            "SELECT l.next_seq, l.undispatched FROM jobs j JOIN job_lanes l ON l.job_id = j.id
             WHERE j.id = $1 AND j.state = 'running' AND NOT j.abort AND l.lane = $2
             FOR SHARE OF j FOR UPDATE OF l",
            job.as_uuid(),
            lane
        )
        .fetch_optional(&mut *tx)
        .await?
        else {
            return Ok(Dispatched::default());
        };
        if cursor.next_seq < as_i32(from) {
            // A confirmed commit is gone: the database did not keep its word.
            return Err(Error::Inconsistent { table: "job_lanes", column: "next_seq", row: format!("{job}/{lane}") });
        }
        if cursor.next_seq > as_i32(from) {
            let missed = sqlx::query!(
                r#"SELECT seq, coalesce(aws_key, key) AS "key!" FROM tasks
                   WHERE job_id = $1 AND seq >= $2 AND seq < $3 AND lane = $4 AND state = 'pending' ORDER BY seq"#,
                job.as_uuid(),
                as_i32(from),
                cursor.next_seq,
                lane
            )
            .fetch_all(&mut *tx)
            .await?;
            if !missed.is_empty() {
                let tasks = missed.into_iter().map(|row| (as_u32(row.seq), row.key)).collect();
                return Ok(Dispatched { tasks, left: as_u32(cursor.undispatched) });
            }
        }
        let rows: Vec<(i32, String)> = if lane == 0 {
            // By the primary key: nearly every task of nearly every job is in lane 0.
            sqlx::query!(
                r#"SELECT seq, coalesce(aws_key, key) AS "key!" FROM tasks
                   WHERE job_id = $1 AND seq >= $2 AND lane = 0 ORDER BY seq LIMIT $3"#,
                job.as_uuid(),
                cursor.next_seq,
                i64::from(limit)
            )
            .fetch_all(&mut *tx)
            .await?
            .into_iter()
            .map(|row| (row.seq, row.key))
            .collect()
        } else {
            // By tasks_by_lane.
            sqlx::query!(
                r#"SELECT seq, coalesce(aws_key, key) AS "key!" FROM tasks
                   WHERE job_id = $1 AND lane = $2 AND lane > 0 AND seq >= $3 ORDER BY seq LIMIT $4"#,
                job.as_uuid(),
                lane,
                cursor.next_seq,
                i64::from(limit)
            )
            .fetch_all(&mut *tx)
            .await?
            .into_iter()
            .map(|row| (row.seq, row.key))
            .collect()
        };
        let Some((last, _)) = rows.last() else {
            return Ok(Dispatched::default());
        };
        let left = cursor.undispatched - i32::try_from(rows.len()).unwrap_or(i32::MAX);
        sqlx::query!(
            "UPDATE job_lanes SET next_seq = $3, undispatched = $4, low_seq = greatest(low_seq, $5)
             WHERE job_id = $1 AND lane = $2",
            job.as_uuid(),
            lane,
            last + 1,
            left,
            as_i32(low)
        )
        .execute(&mut *tx)
        .await?;
        tx.commit().await?;
        Ok(Dispatched { tasks: rows.into_iter().map(|(seq, key)| (as_u32(seq), key)).collect(), left: as_u32(left) })
    }

    /// Up to `limit` tasks of a job from `from` on, in the order of seq.
    ///
    /// # Errors
    /// [`Error::Database`], [`Error::Inconsistent`].
    pub async fn task_page(&self, job: JobId, from: u32, limit: u32) -> Result<Vec<Task>, Error> {
        fetch_page(&self.pool, job, from, limit).await
    }

    /// How the first tasks of a finished job ended. Somebody waits for it: it is read by connections that plan nothing anew, and
    /// without what the job and its lanes tell of one that goes on.
    ///
    /// # Errors
    /// [`Error::Database`], [`Error::Inconsistent`].
    pub async fn tasks_ended(&self, job: JobId, most: u32) -> Result<Vec<Ended>, Error> {
        // Of a finished job what has no status was never tried.
        let rows = sqlx::query!(
            r#"SELECT seq, key, detail, CASE state WHEN 'pending' THEN 'canceled' ELSE state END AS "state!"
               FROM tasks WHERE job_id = $1 ORDER BY seq LIMIT $2"#,
            job.as_uuid(),
            i64::from(most)
        )
        .fetch_all(&self.by_key)
        .await?;
        rows.into_iter()
            .map(|row| {
                let state = row.state.parse().map_err(|_| inconsistent_state(job.as_uuid(), row.seq))?;
                Ok(Ended { seq: as_u32(row.seq), key: row.key, state, detail: row.detail })
            })
            .collect()
    }

    /// The keys alone, likewise.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn task_keys(&self, job: JobId, from: u32, limit: u32) -> Result<Vec<(u32, String)>, Error> {
        let rows = sqlx::query!(
            "SELECT seq, key FROM tasks WHERE job_id = $1 AND seq >= $2 ORDER BY seq LIMIT $3",
            job.as_uuid(),
            as_i32(from),
            i64::from(limit)
        )
        .fetch_all(&self.pool)
        .await?;
        Ok(rows.into_iter().map(|row| (as_u32(row.seq), row.key)).collect())
    }

    /// The tasks of many jobs, the first `most` of each in the order of seq, in one snapshot.
    ///
    /// # Errors
    /// [`Error::Database`], [`Error::Inconsistent`].
    pub async fn tasks_of(&self, jobs: &[JobId], most: u32) -> Result<HashMap<JobId, Vec<Task>>, Error> {
        let mut by_job: HashMap<JobId, Vec<Task>> = HashMap::new();
        for row in fetch_rows(&self.pool, jobs, 0, most).await? {
            by_job.entry(JobId::from_uuid(row.job_id)).or_default().push(row.try_into()?);
        }
        Ok(by_job)
    }

    /// Tasks of a job in one state, and nothing else, in the order of seq.
    ///
    /// # Errors
    /// [`Error::Database`], [`Error::Inconsistent`].
    pub async fn task_page_in(&self, job: JobId, state: TaskState, skip: u32, limit: u32) -> Result<Vec<Task>, Error> {
        sqlx::query_as!(
            TaskRow,
            r#"SELECT job_id, seq, key, detail, attempts, already, state_before, started_at, state AS "state!",
                      coalesce(finished_at, CASE WHEN state = 'pending' AND abort THEN completed_at END) AS "finished_at?"
               FROM (SELECT t.*, j.abort, j.completed_at, CASE WHEN t.state = 'pending' AND j.abort AND (j.state = 'finished' OR t.seq >= l.next_seq)
                                      THEN 'canceled' ELSE t.state END AS seen
                     FROM tasks t JOIN jobs j ON j.id = t.job_id
                          LEFT JOIN job_lanes l ON l.job_id = t.job_id AND l.lane = t.lane
                     WHERE t.job_id = $1) AS seen
               WHERE seen = $2 ORDER BY seq OFFSET $3 LIMIT $4"#,
            job.as_uuid(),
            state.as_str(),
            i64::from(skip),
            i64::from(limit)
        )
        .fetch_all(&self.pool)
        .await?
        .into_iter()
        .map(|row| Task::try_from(row).map(|task| Task { state, ..task }))
        .collect()
    }
}

pub(super) async fn fetch_page(
    executor: impl PgExecutor<'_>,
    job: JobId,
    from: u32,
    limit: u32,
) -> Result<Vec<Task>, Error> {
    fetch_rows(executor, &[job], from, limit).await?.into_iter().map(Task::try_from).collect()
}

/// Up to `limit` tasks of each of the jobs from `from` on. By the primary keys: the limit inside keeps the planner, which
/// knows little of so uneven a table, from reading any other job's rows.
async fn fetch_rows(
    executor: impl PgExecutor<'_>,
    jobs: &[JobId],
    from: u32,
    limit: u32,
) -> Result<Vec<TaskRow>, Error> {
    let ids: Vec<Uuid> = jobs.iter().map(JobId::as_uuid).collect();
    Ok(sqlx::query_as!(
        TaskRow,
        r#"SELECT page.job_id, page.seq, page.key, page.detail, page.attempts, page.already, page.state_before,
                  page.started_at, page.finished_at AS "finished_at?", page.state AS "state!"
           FROM unnest($1::uuid[]) AS wanted (id) CROSS JOIN LATERAL (
               SELECT t.job_id, t.seq, t.key, t.detail, t.attempts, t.already, t.state_before, t.started_at,
                      coalesce(t.finished_at, CASE WHEN t.state = 'pending' AND j.abort THEN j.completed_at END) AS finished_at,
                      CASE WHEN t.state = 'pending' AND j.abort AND (j.state = 'finished' OR t.seq >= l.next_seq)
                           THEN 'canceled' ELSE t.state END AS state
               FROM tasks t JOIN jobs j ON j.id = t.job_id
                    LEFT JOIN job_lanes l ON l.job_id = t.job_id AND l.lane = t.lane
               WHERE t.job_id = wanted.id AND t.seq >= $2 ORDER BY t.seq LIMIT $3) AS page
           ORDER BY page.job_id, page.seq"#,
        &ids,
        as_i32(from),
        i64::from(limit)
    )
    .fetch_all(executor)
    .await?)
}
