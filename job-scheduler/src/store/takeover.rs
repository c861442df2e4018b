//! What a new leader reads before it leads.

use job_model::JobId;
use time::OffsetDateTime;

use super::{Error, Store, as_u32};

/// One lane of an unfinished job.
#[derive(Clone, Debug)]
pub struct LaneRow {
    /// The job.
    pub job: JobId,
    /// Its number in the job.
    pub lane: u16,
    /// The AWS account.
    pub account: String,
    /// The Region.
    pub region: String,
    /// Tasks past the cursor.
    pub undispatched: u32,
    /// Dispatched tasks that have not ended: seq and key.
    pub open: Vec<(u32, String)>,
}

/// A write of the last minutes.
#[derive(Clone, Debug)]
pub struct WriteRow {
    /// The job that wrote.
    pub job: JobId,
    /// The key as KMS knows it.
    pub key: String,
    /// The account of its lane.
    pub account: String,
    /// The Region of its lane.
    pub region: String,
    /// When the task ended.
    pub at: OffsetDateTime,
}

impl Store {
    /// The lanes of one unfinished job, with their dispatched and unfinished tasks.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn lanes_of(&self, job: JobId) -> Result<Vec<LaneRow>, Error> {
        let lanes = sqlx::query!(
            "SELECT lane, account, region, next_seq, low_seq, undispatched FROM job_lanes
             WHERE job_id = $1 ORDER BY lane",
            job.as_uuid()
        )
        .fetch_all(&self.pool)
        .await?;
        let mut found = Vec::with_capacity(lanes.len());
        for lane in lanes {
            // By the primary key, between the lane's marks: about one window of rows.
            let open = sqlx::query!(
                r#"SELECT seq, coalesce(aws_key, key) AS "key!" FROM tasks
                   WHERE job_id = $1 AND seq >= $3 AND seq < $4 AND lane = $2 AND state = 'pending' ORDER BY seq"#,
                job.as_uuid(),
                lane.lane,
                lane.low_seq,
                lane.next_seq
            )
            .fetch_all(&self.pool)
            .await?;
            found.push(LaneRow {
                job,
                lane: u16::try_from(lane.lane).unwrap_or(0),
                account: lane.account,
                region: lane.region,
                undispatched: as_u32(lane.undispatched),
                open: open.into_iter().map(|row| (as_u32(row.seq), row.key)).collect(),
            });
        }
        Ok(found)
    }

    /// The writes since `since`, and the jobs that made them, oldest first.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn writes_since(&self, since: OffsetDateTime) -> Result<Vec<WriteRow>, Error> {
        let mut tx = self.begin().await?;
        sqlx::query("SET LOCAL statement_timeout = '30s'").execute(&mut *tx).await?;
        let rows = sqlx::query!(
            r#"SELECT t.job_id, coalesce(t.aws_key, t.key) AS "key!", l.account, l.region, t.finished_at AS "finished_at!"
               FROM jobs j JOIN tasks t ON t.job_id = j.id
                    JOIN job_lanes l ON l.job_id = t.job_id AND l.lane = t.lane
               WHERE j.updated_at >= $1 AND t.wrote AND t.finished_at >= $1 ORDER BY t.finished_at"#,
            since
        )
        .fetch_all(&mut *tx)
        .await?;
        tx.commit().await?;
        Ok(rows
            .into_iter()
            .map(|row| WriteRow {
                job: JobId::from_uuid(row.job_id),
                key: row.key,
                account: row.account,
                region: row.region,
                at: row.finished_at,
            })
            .collect())
    }

    /// What a job asked for, whether it has finished or not.
    ///
    /// # Errors
    /// [`Error::Database`], [`Error::Inconsistent`].
    pub async fn job_any_tenant(&self, id: JobId) -> Result<Option<super::jobs::Job>, Error> {
        let tenant = sqlx::query_scalar!("SELECT tenant FROM jobs WHERE id = $1", id.as_uuid())
            .fetch_optional(&self.pool)
            .await?;
        match tenant.map(|tenant| tenant.parse()) {
            None => Ok(None),
            Some(Ok(tenant)) => self.job_get(&tenant, id).await,
            Some(Err(_)) => Err(Error::Inconsistent { table: "jobs", column: "tenant", row: id.to_string() }),
        }
    }
}
