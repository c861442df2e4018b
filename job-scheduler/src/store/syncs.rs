//! Synchronizations: made, moved on page by page, and ended.
//!
//! The place of each part (a step and KMS's marker) is written in the transaction that writes its page, so a new leader
//! goes on behind the last page that was stored, and a page that was read twice is stored once.

mod read;

use job_model::{ContainerId, SyncId, Tenant};
use sqlx::{Acquire as _, PgConnection, Postgres, Transaction};
use time::OffsetDateTime;

pub use read::{Part, Sync, SyncQuery};

use super::{
    Error, Store, as_i32, containers, guard,
    keys::{self, Shelf},
};
use crate::board::{NewWalk, Page, Step, WalkId};

/// Keys marked and aliases removed in one transaction of a sweep at the most.
const SWEEP: i64 = 2_000;

/// One account and Region to synchronize.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewPart {
    /// The container's name.
    pub kms: String,
    /// The AWS account.
    pub account: String,
    /// The Region.
    pub region: String,
}

/// A synchronization to be made.
#[derive(Clone, Debug)]
pub struct NewSync {
    /// A UUIDv7.
    pub id: SyncId,
    /// Whose it is.
    pub tenant: Tenant,
    /// The subject of the caller's token.
    pub created_by: String,
    /// The containers' names.
    pub kms: Vec<String>,
    /// And ids.
    pub containers: Vec<ContainerId>,
    /// As given.
    pub regions: Vec<String>,
    /// Everything was asked for.
    pub all: bool,
    /// By number.
    pub parts: Vec<NewPart>,
    /// The caller's clock.
    pub now: OffsetDateTime,
}

/// What became of a new synchronization.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Begun {
    /// It runs.
    New,
    /// One of its containers is being synchronized.
    Runs,
    /// This container was archived or deleted meanwhile.
    ContainerClosed(ContainerId),
}

/// How the entries of a page are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Each {
    /// In one statement.
    Together,
    /// Each in a statement of its own, and without those that the database refuses: for a page that it refuses whole.
    Alone,
}

/// Where a part goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Onward {
    /// The next page.
    Page(Step, String),
    /// All pages are stored: what was not seen is to be marked.
    Sweep,
    /// The part is elsewhere than the page: canceled, or moved on by another try.
    Stale,
}

/// A part that has not ended.
#[derive(Clone, Debug)]
pub enum Unfinished {
    /// Pages are left.
    Walk(NewWalk),
    /// Only its sweep is left.
    Sweep(WalkId),
}

const fn word(step: Step) -> &'static str {
    match step {
        Step::Keys => "keys",
        Step::Aliases => "aliases",
    }
}

impl Store {
    /// Makes it. To be awaited in a task that nobody cancels (sqlx issue 4393).
    ///
    /// # Errors
    /// [`Error::LostLeadership`], [`Error::Database`].
    pub async fn sync_insert(&self, epoch: u32, sync: &NewSync) -> Result<Begun, Error> {
        let mut tx = self.begin().await?;
        guard(&mut tx, epoch).await?;
        if let Some(closed) = containers::hold(&mut tx, &sync.containers).await? {
            return Ok(Begun::ContainerClosed(closed));
        }
        sqlx::query!(
            "INSERT INTO synchronizations (id, tenant, created_by, kms, regions, synchronize_all, status, created_at, updated_at)
             VALUES ($1, $2, $3, $4, $5, $6, 'in_progress', $7, $7)",
            sync.id.as_uuid(),
            sync.tenant.as_str(),
            sync.created_by,
            &sync.kms,
            &sync.regions,
            sync.all,
            sync.now,
        )
        .execute(&mut *tx)
        .await?;
        let numbers: Vec<i16> = (0..).take(sync.parts.len()).collect();
        let kms: Vec<String> = sync.parts.iter().map(|part| part.kms.clone()).collect();
        let accounts: Vec<String> = sync.parts.iter().map(|part| part.account.clone()).collect();
        let regions: Vec<String> = sync.parts.iter().map(|part| part.region.clone()).collect();
        // Also in other Regions. Two that begin at the same moment and share none may both run, which harms nobody.
        let runs: bool = sqlx::query_scalar(
            "SELECT EXISTS (SELECT 1 FROM synchronization_parts
                            WHERE account = ANY($1) AND step IN ('keys', 'aliases', 'sweep'))",
        )
        .bind(&accounts)
        .fetch_one(&mut *tx)
        .await?;
        if runs {
            return Ok(Begun::Runs);
        }
        // By synchronization_parts_running: one that runs there leaves no room.
        let made = sqlx::query!(
            "INSERT INTO synchronization_parts (synchronization_id, part, kms, account, region, step)
             SELECT $1, part, kms, account, region, 'keys'
             FROM unnest($2::smallint[], $3::text[], $4::text[], $5::text[]) AS r (part, kms, account, region)
             ORDER BY account, region
             ON CONFLICT DO NOTHING",
            sync.id.as_uuid(),
            &numbers,
            &kms,
            &accounts,
            &regions,
        )
        .execute(&mut *tx)
        .await?
        .rows_affected();
        if usize::try_from(made).ok() != Some(sync.parts.len()) {
            return Ok(Begun::Runs);
        }
        tx.commit().await?;
        Ok(Begun::New)
    }

    /// Ends one where it is; what has ended stays. `false` when the tenant has none of this id.
    ///
    /// # Errors
    /// [`Error::LostLeadership`], [`Error::Database`].
    pub async fn sync_cancel(
        &self,
        epoch: u32,
        tenant: &Tenant,
        id: SyncId,
        now: OffsetDateTime,
    ) -> Result<bool, Error> {
        let mut tx = self.begin().await?;
        guard(&mut tx, epoch).await?;
        let Some(status) = sqlx::query_scalar!(
            "SELECT status FROM synchronizations WHERE id = $1 AND tenant = $2 FOR NO KEY UPDATE",
            id.as_uuid(),
            tenant.as_str()
        )
        .fetch_optional(&mut *tx)
        .await?
        else {
            return Ok(false);
        };
        if status == "in_progress" {
            sqlx::query!(
                "UPDATE synchronization_parts SET step = 'canceled'
                 WHERE synchronization_id = $1 AND step IN ('keys', 'aliases', 'sweep')",
                id.as_uuid()
            )
            .execute(&mut *tx)
            .await?;
            end(&mut tx, id, "canceled", now).await?;
        }
        tx.commit().await?;
        Ok(true)
    }

    /// What a new leader takes up.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn syncs_unfinished(&self) -> Result<Vec<Unfinished>, Error> {
        let rows = sqlx::query!(
            "SELECT synchronization_id, part, account, region, step, marker FROM synchronization_parts
             WHERE step IN ('keys', 'aliases', 'sweep') ORDER BY synchronization_id, part"
        )
        .fetch_all(&self.pool)
        .await?;
        Ok(rows
            .into_iter()
            .map(|row| {
                let id = WalkId {
                    sync: SyncId::from_uuid(row.synchronization_id),
                    part: u16::try_from(row.part).unwrap_or(0),
                };
                let step = match row.step.as_str() {
                    "keys" => Step::Keys,
                    "aliases" => Step::Aliases,
                    _ => return Unfinished::Sweep(id),
                };
                let (account, region) = (row.account.into(), row.region.into());
                Unfinished::Walk(NewWalk { id, account, region, step, marker: row.marker })
            })
            .collect())
    }

    /// Writes a page and moves its part on. What is left out of a page written in part counts as skipped.
    ///
    /// # Errors
    /// [`Error::LostLeadership`], [`Error::Database`], [`Error::Inconsistent`].
    pub async fn sync_page_store(
        &self,
        epoch: u32,
        walk: &NewWalk,
        page: Page,
        each: Each,
        trusted_from: OffsetDateTime,
        now: OffsetDateTime,
    ) -> Result<Onward, Error> {
        let mut tx = self.begin().await?;
        guard(&mut tx, epoch).await?;
        let Some((shelf, step, marker)) = hold(&mut tx, walk.id).await? else { return Ok(Onward::Stale) };
        if step != word(walk.step) || marker != walk.marker {
            return Ok(Onward::Stale);
        }
        let (found, refused, onward) = match page {
            Page::Keys { keys, next, skipped } => {
                let found = keys.len();
                let mut refused = 0;
                for keys in each.of(keys) {
                    let mut part = tx.begin().await?;
                    let written = keys::upsert(&mut part, &shelf, keys, trusted_from, now).await;
                    refused += settle(part, written, each).await?;
                }
                let onward =
                    next.map_or(Onward::Page(Step::Aliases, String::new()), |next| Onward::Page(Step::Keys, next));
                (found - refused, skipped.saturating_add(u32::try_from(refused).unwrap_or(u32::MAX)), onward)
            }
            Page::Aliases { aliases, next } => {
                for aliases in each.of(aliases) {
                    let mut part = tx.begin().await?;
                    let written = keys::upsert_aliases(&mut part, &shelf, aliases).await;
                    settle(part, written, each).await?;
                }
                (0, 0, next.map_or(Onward::Sweep, |next| Onward::Page(Step::Aliases, next)))
            }
        };
        let (step, marker) = match &onward {
            Onward::Page(step, marker) => (word(*step), marker.as_str()),
            Onward::Sweep | Onward::Stale => ("sweep", ""),
        };
        sqlx::query!(
            "UPDATE synchronization_parts SET step = $3, marker = $4, keys = keys + $5, skipped = skipped + $6
             WHERE synchronization_id = $1 AND part = $2",
            walk.id.sync.as_uuid(),
            number(walk.id),
            step,
            marker,
            i32::try_from(found).unwrap_or(i32::MAX),
            as_i32(refused),
        )
        .execute(&mut *tx)
        .await?;
        sqlx::query!("UPDATE synchronizations SET updated_at = $2 WHERE id = $1", walk.id.sync.as_uuid(), now)
            .execute(&mut *tx)
            .await?;
        tx.commit().await?;
        Ok(onward)
    }

    /// Marks some of what a part did not see; answers whether there is more. Then the part is done.
    ///
    /// # Errors
    /// [`Error::LostLeadership`], [`Error::Database`], [`Error::Inconsistent`].
    pub async fn sync_sweep(&self, epoch: u32, id: WalkId, now: OffsetDateTime) -> Result<bool, Error> {
        let mut tx = self.begin().await?;
        guard(&mut tx, epoch).await?;
        let Some((shelf, step, _)) = hold(&mut tx, id).await? else { return Ok(false) };
        if step != "sweep" {
            return Ok(false);
        }
        let more = keys::sweep(&mut tx, &shelf, SWEEP, now).await?;
        if !more {
            finish_part(&mut tx, id, "done", None, now).await?;
        }
        tx.commit().await?;
        Ok(more)
    }

    /// Ends a part that cannot go on; what it has read stays, and nothing is marked gone.
    ///
    /// # Errors
    /// [`Error::LostLeadership`], [`Error::Database`], [`Error::Inconsistent`].
    pub async fn sync_fail(&self, epoch: u32, id: WalkId, detail: &str, now: OffsetDateTime) -> Result<(), Error> {
        let mut tx = self.begin().await?;
        guard(&mut tx, epoch).await?;
        if hold(&mut tx, id).await?.is_some_and(|(_, step, _)| ["keys", "aliases", "sweep"].contains(&step.as_str())) {
            finish_part(&mut tx, id, "failed", Some(detail), now).await?;
        }
        tx.commit().await?;
        Ok(())
    }
}

impl Each {
    fn of<T>(self, entries: Vec<T>) -> Vec<Vec<T>> {
        match self {
            Self::Together => vec![entries],
            Self::Alone => entries.into_iter().map(|entry| vec![entry]).collect(),
        }
    }
}

/// Keeps what was written since the savepoint, or gives it up where the database refuses it for good; answers how many
/// entries that cost.
async fn settle(part: Transaction<'_, Postgres>, written: Result<(), Error>, each: Each) -> Result<usize, Error> {
    match written {
        Ok(()) => part.commit().await.map(|()| 0).map_err(Error::from),
        Err(error) if each == Each::Alone && error.is_lasting() => {
            tracing::error!(%error, "An entry of a synchronized page cannot be stored; it is skipped.");
            part.rollback().await?;
            Ok(1)
        }
        Err(error) => Err(error),
    }
}

fn number(id: WalkId) -> i16 {
    i16::try_from(id.part).unwrap_or(i16::MAX)
}

/// Locks the synchronization, so that it ends once, and reads where the part is.
async fn hold(connection: &mut PgConnection, id: WalkId) -> Result<Option<(Shelf, String, String)>, Error> {
    let row = sqlx::query!(
        "SELECT s.tenant, p.account, p.region, p.step, p.marker
         FROM synchronizations s JOIN synchronization_parts p ON p.synchronization_id = s.id
         WHERE s.id = $1 AND p.part = $2 FOR NO KEY UPDATE OF s",
        id.sync.as_uuid(),
        number(id)
    )
    .fetch_optional(connection)
    .await?;
    row.map(|row| {
        let tenant = row.tenant.parse().map_err(|_| Error::Inconsistent {
            table: "synchronizations",
            column: "tenant",
            row: id.sync.to_string(),
        })?;
        Ok((Shelf { tenant, account: row.account, region: row.region, sync: id.sync }, row.step, row.marker))
    })
    .transpose()
}

/// Ends the part, and with the last one the synchronization.
async fn finish_part(
    connection: &mut PgConnection,
    id: WalkId,
    step: &str,
    detail: Option<&str>,
    now: OffsetDateTime,
) -> Result<(), Error> {
    sqlx::query!(
        "UPDATE synchronization_parts SET step = $3, detail = $4 WHERE synchronization_id = $1 AND part = $2",
        id.sync.as_uuid(),
        number(id),
        step,
        detail
    )
    .execute(&mut *connection)
    .await?;
    let left = sqlx::query!(
        r#"SELECT count(*) FILTER (WHERE step IN ('keys', 'aliases', 'sweep')) AS "open!",
                  count(*) FILTER (WHERE step = 'failed') AS "failed!"
           FROM synchronization_parts WHERE synchronization_id = $1"#,
        id.sync.as_uuid()
    )
    .fetch_one(&mut *connection)
    .await?;
    if left.open == 0 {
        end(connection, id.sync, if left.failed > 0 { "error" } else { "completed" }, now).await?;
    }
    Ok(())
}

async fn end(connection: &mut PgConnection, id: SyncId, status: &str, now: OffsetDateTime) -> Result<(), Error> {
    sqlx::query!(
        "UPDATE synchronizations SET status = $2, updated_at = $3, completed_at = $3
         WHERE id = $1 AND status = 'in_progress'",
        id.as_uuid(),
        status,
        now
    )
    .execute(connection)
    .await?;
    Ok(())
}
