//! Final statuses, written in batches with the jobs' counts in the same statement.

use std::time::Duration;

use job_model::{JobId, TaskRef, TaskState};
use sqlx::PgConnection;
use time::OffsetDateTime;

use super::{
    Error, Store, as_i32, begin,
    follow::{self, Follow},
};

/// A task's end.
#[derive(Clone, Debug)]
pub struct FinalTask {
    /// Which.
    pub task: TaskRef,
    /// One of [`TaskState::FINAL`].
    pub state: TaskState,
    /// Of a failed one.
    pub detail: Option<String>,
    /// Tries.
    pub attempts: u32,
    /// Needed no call.
    pub already: bool,
    /// A mutating request was, or may have been, sent.
    pub wrote: bool,
    /// The key's state as first seen.
    pub state_before: Option<String>,
    /// How long the last try took. When it ended is told by the clock of who writes, for clocks of workers may differ.
    pub took: Option<Duration>,
    /// What else it changes.
    pub follow: Option<Follow>,
}

/// Told in place of a text that cannot be stored.
const UNSTORABLE: &str = "(its text cannot be stored)";
/// The longest word that is taken for an error code.
const LONGEST_CODE: usize = 100;

impl FinalTask {
    /// The same end without all that came from outside and that the database may refuse.
    pub fn bare(&self) -> Self {
        let detail = self.detail.as_deref().map(|detail| {
            let code = detail.split(':').next().unwrap_or_default();
            let is_code =
                (1..=LONGEST_CODE).contains(&code.len()) && code.bytes().all(|byte| byte.is_ascii_alphanumeric());
            format!("{}: {UNSTORABLE}", if is_code { code } else { "Unknown" })
        });
        Self { detail, state_before: None, took: None, follow: None, ..self.clone() }
    }
}

impl Store {
    /// Writes final statuses; a task that has ended before keeps its first. Answers the jobs whose counts changed.
    ///
    /// # Errors
    /// [`Error::LostLeadership`] when nothing was written; [`Error::Database`], after which all may have been.
    pub async fn task_finish_batch(
        &self,
        epoch: u32,
        batch: &[FinalTask],
        now: OffsetDateTime,
    ) -> Result<Vec<JobId>, Error> {
        if batch.iter().all(|task| task.follow.is_none()) {
            let mut connection = self.by_key.acquire().await?;
            return finish(&mut connection, epoch, batch, now).await;
        }
        let mut tx = begin(self.by_key.clone()).await?;
        let jobs = finish(&mut tx, epoch, batch, now).await?;
        follow::apply(&mut tx, batch, now).await?;
        tx.commit().await?;
        Ok(jobs)
    }
}

async fn finish(
    connection: &mut PgConnection,
    epoch: u32,
    batch: &[FinalTask],
    now: OffsetDateTime,
) -> Result<Vec<JobId>, Error> {
    let jobs: Vec<_> = batch.iter().map(|t| t.task.job.as_uuid()).collect();
    let seqs: Vec<_> = batch.iter().map(|t| as_i32(t.task.seq)).collect();
    let states: Vec<_> = batch.iter().map(|t| t.state.as_str().to_owned()).collect();
    let details: Vec<_> = batch.iter().map(|t| t.detail.clone()).collect();
    let attempts: Vec<_> = batch.iter().map(|t| as_i32(t.attempts)).collect();
    let already: Vec<_> = batch.iter().map(|t| t.already).collect();
    let wrote: Vec<_> = batch.iter().map(|t| t.wrote).collect();
    let before: Vec<_> = batch.iter().map(|t| t.state_before.clone()).collect();
    let started: Vec<_> = batch.iter().map(|t| t.took.map(|took| now - took)).collect();
    // One statement is one round trip. The guard's row is locked first; a batch that finds no leadership row
    // changes nothing, which the first column tells.
    let rows = sqlx::query!(
        r#"WITH guard AS (SELECT epoch FROM leadership WHERE epoch = $1 FOR KEY SHARE),
                    done AS (
                        UPDATE tasks t
                        SET state = r.state, detail = r.detail, attempts = r.attempts, already = r.already,
                            wrote = r.wrote, state_before = r.state_before, started_at = r.started_at,
                            finished_at = $11
                        FROM unnest($2::uuid[], $3::int[], $4::text[], $5::text[], $6::int[], $7::bool[], $8::bool[],
                                    $9::text[], $10::timestamptz[])
                             AS r (job_id, seq, state, detail, attempts, already, wrote, state_before, started_at),
                             guard
                        WHERE t.job_id = r.job_id AND t.seq = r.seq AND t.state = 'pending'
                        RETURNING t.job_id, t.state, t.already),
                    sums AS (
                        SELECT job_id,
                               count(*) FILTER (WHERE state = 'succeeded')::int AS succeeded,
                               count(*) FILTER (WHERE state = 'failed')::int AS failed,
                               count(*) FILTER (WHERE state = 'canceled')::int AS canceled,
                               count(*) FILTER (WHERE already)::int AS already
                        FROM done GROUP BY job_id),
                    counted AS (
                        UPDATE jobs j
                        SET succeeded = j.succeeded + s.succeeded, failed = j.failed + s.failed,
                            canceled = j.canceled + s.canceled, already = j.already + s.already,
                            updated_at = greatest(j.updated_at, $11)
                        FROM sums s WHERE j.id = s.job_id
                        RETURNING j.id)
               SELECT (SELECT count(*) FROM guard) AS "guarded!", id AS "id?" FROM (SELECT 1) AS one
               LEFT JOIN counted ON true"#,
        as_i32(epoch),
        &jobs,
        &seqs,
        &states,
        &details as &[Option<String>],
        &attempts,
        &already,
        &wrote,
        &before as &[Option<String>],
        &started as &[Option<OffsetDateTime>],
        now,
    )
    .fetch_all(connection)
    .await?;
    match rows.first() {
        Some(row) if row.guarded == 1 => Ok(rows.into_iter().filter_map(|row| row.id).map(JobId::from_uuid).collect()),
        Some(_) | None => Err(Error::LostLeadership),
    }
}
