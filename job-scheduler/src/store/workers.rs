//! The workers that may hold a lease of this or an earlier leader.

use job_model::WorkerId;

use super::{Error, Store, as_i32, guard};

impl Store {
    /// Remembers a worker before its first lease under this leader.
    ///
    /// # Errors
    /// [`Error::LostLeadership`], [`Error::Database`].
    pub async fn worker_register(&self, epoch: u32, worker: WorkerId, name: &str) -> Result<(), Error> {
        let mut tx = self.begin().await?;
        guard(&mut tx, epoch).await?;
        sqlx::query!(
            "INSERT INTO workers (id, name, epoch) VALUES ($1, $2, $3)
             ON CONFLICT (id) DO UPDATE SET epoch = EXCLUDED.epoch",
            worker.as_uuid(),
            name,
            as_i32(epoch),
        )
        .execute(&mut *tx)
        .await?;
        tx.commit().await?;
        Ok(())
    }

    /// Forgets workers whose lease and last request have ended.
    ///
    /// # Errors
    /// [`Error::LostLeadership`], [`Error::Database`].
    pub async fn workers_remove(&self, epoch: u32, workers: &[WorkerId]) -> Result<(), Error> {
        let ids: Vec<_> = workers.iter().map(WorkerId::as_uuid).collect();
        let mut tx = self.begin().await?;
        guard(&mut tx, epoch).await?;
        sqlx::query!("DELETE FROM workers WHERE id = ANY($1)", &ids).execute(&mut *tx).await?;
        tx.commit().await?;
        Ok(())
    }

    /// The workers of earlier leaders.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn workers_of_earlier_leaders(&self, epoch: u32) -> Result<Vec<WorkerId>, Error> {
        let ids =
            sqlx::query_scalar!("SELECT id FROM workers WHERE epoch < $1", as_i32(epoch)).fetch_all(&self.pool).await?;
        Ok(ids.into_iter().map(WorkerId::from_uuid).collect())
    }
}
