//! Who leads: one row with holder, epoch and a renewal counter.
//!
//! No wall clocks are compared. A standby takes over when the counter has not changed for a full term by its own clock;
//! the UPDATE names the counter it saw, so that of two standbys one wins and a renewal in between defeats both.

use uuid::Uuid;

use super::{Error, Store, as_i32, as_u32};

/// The leadership row as it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leadership {
    /// Grows by one with each takeover.
    pub epoch: u32,
    /// Who leads, or led.
    pub holder: Option<Uuid>,
    /// Grows by one with each renewal.
    pub renewal: i64,
    /// The holder has stepped down by itself.
    pub released: bool,
}

impl Store {
    /// Reads the row.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn leadership_read(&self) -> Result<Leadership, Error> {
        let row = sqlx::query!("SELECT epoch, holder, renewal, released FROM leadership WHERE singleton")
            .fetch_one(&self.pool)
            .await?;
        Ok(Leadership { epoch: as_u32(row.epoch), holder: row.holder, renewal: row.renewal, released: row.released })
    }

    /// Takes over from `seen`; answers the new epoch, or `None` when the row has changed since.
    ///
    /// # Errors
    /// [`Error::Database`]; the takeover may then have happened, and is seen by reading the row.
    pub async fn leadership_take(&self, seen: &Leadership, me: Uuid) -> Result<Option<u32>, Error> {
        let epoch = sqlx::query_scalar!(
            "UPDATE leadership SET epoch = epoch + 1, holder = $3, renewal = 0, released = false
             WHERE epoch = $1 AND renewal = $2 RETURNING epoch",
            as_i32(seen.epoch),
            seen.renewal,
            me,
        )
        .fetch_optional(&self.pool)
        .await?;
        Ok(epoch.map(as_u32))
    }

    /// Renews the leadership of `epoch`.
    ///
    /// # Errors
    /// [`Error::LostLeadership`] when another leads.
    pub async fn leadership_renew(&self, epoch: u32) -> Result<(), Error> {
        let done = sqlx::query!("UPDATE leadership SET renewal = renewal + 1 WHERE epoch = $1", as_i32(epoch))
            .execute(&self.pool)
            .await?;
        if done.rows_affected() == 1 { Ok(()) } else { Err(Error::LostLeadership) }
    }

    /// Steps down: a standby need not wait for the term's end before it leads, only before it gives work out.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn leadership_release(&self, epoch: u32) -> Result<(), Error> {
        sqlx::query!("UPDATE leadership SET released = true, renewal = renewal + 1 WHERE epoch = $1", as_i32(epoch))
            .execute(&self.pool)
            .await?;
        Ok(())
    }
}
