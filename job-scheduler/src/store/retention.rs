//! Removes what is old, a batch at a time, so that no removal holds many locks.

use time::OffsetDateTime;

use super::{Error, Store, guard};

/// Tasks removed at once.
const BATCH: i64 = 5_000;

impl Store {
    /// Removes one batch of finished jobs older than `before`; answers whether there may be more. The tasks go first,
    /// so that a job that is still listed may be missing some of them for a moment, and none is left without its job.
    ///
    /// # Errors
    /// [`Error::LostLeadership`], [`Error::Database`].
    pub async fn job_remove_batch(&self, epoch: u32, before: OffsetDateTime) -> Result<bool, Error> {
        let mut tx = self.begin().await?;
        guard(&mut tx, epoch).await?;
        let Some(job) = sqlx::query_scalar!(
            "SELECT id FROM jobs WHERE updated_at < $1 AND state = 'finished' ORDER BY updated_at LIMIT 1",
            before
        )
        .fetch_optional(&mut *tx)
        .await?
        else {
            return Ok(false);
        };
        let removed = sqlx::query!(
            "DELETE FROM tasks WHERE job_id = $1 AND seq IN
                 (SELECT seq FROM tasks WHERE job_id = $1 ORDER BY seq LIMIT $2)",
            job,
            BATCH
        )
        .execute(&mut *tx)
        .await?;
        if i64::try_from(removed.rows_affected()).unwrap_or(BATCH) < BATCH {
            sqlx::query!("DELETE FROM job_lanes WHERE job_id = $1", job).execute(&mut *tx).await?;
            sqlx::query!("DELETE FROM jobs WHERE id = $1", job).execute(&mut *tx).await?;
        }
        tx.commit().await?;
        Ok(true)
    }

    /// Removes idempotency keys older than `before`.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn idempotency_keys_remove(&self, before: OffsetDateTime) -> Result<u64, Error> {
        let done =
            sqlx::query!("DELETE FROM idempotency_keys WHERE created_at < $1", before).execute(&self.pool).await?;
        Ok(done.rows_affected())
    }

    /// Removes synchronizations that ended before the moment; there are few, each with few parts.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn syncs_remove(&self, before: OffsetDateTime) -> Result<(), Error> {
        sqlx::query("DELETE FROM synchronizations WHERE completed_at < $1").bind(before).execute(&self.pool).await?;
        Ok(())
    }
}
