//! Containers. Who may do what with their keys is in [`acls`](super::acls).
//!
//! A job takes a container's keys only while the container is there and not archived: it holds the container's row FOR
//! SHARE from its last step to its commit ([`hold`]). Archiving and deleting change the row, so they wait for that commit
//! and then see the job, or come first and are seen.

use job_model::{ContainerId, Tenant};
use sqlx::{PgConnection, types::Uuid};
use time::OffsetDateTime;

use super::{Error, Store, guard};
use crate::containers::{Container, DEFAULT_ID};

/// What became of a new container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Inserted {
    /// It exists.
    New,
    /// The tenant has one of this name.
    NameTaken,
    /// There is one for this account.
    AccountTaken,
}

/// What became of a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Changed {
    /// It is so.
    Done,
    /// There is no such container.
    Unknown,
    /// The tenant has another of this name.
    NameTaken,
}

/// What became of a delete.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deleted {
    /// It is gone, and what was known of its keys with it.
    Done,
    /// There is no such container.
    Unknown,
    /// A job of its account has not finished.
    JobsRun,
    /// A synchronization of its account runs.
    Synchronizes,
}

/// What of a container changes; `None` stays.
#[derive(Clone, Debug, Default)]
pub struct ContainerChange {
    /// See [`Container::name`].
    pub name: Option<String>,
    /// See [`Container::regions`].
    pub regions: Option<Vec<String>>,
    /// See [`Container::connection`].
    pub connection: Option<String>,
    /// See [`Container::role_arn`].
    pub role_arn: Option<String>,
    /// See [`Container::external_id`].
    pub external_id: Option<String>,
}

impl Store {
    /// All that tenants have created, oldest first, without their ACLs.
    ///
    /// # Errors
    /// [`Error::Database`], [`Error::Inconsistent`].
    pub async fn containers_all(&self) -> Result<Vec<Container>, Error> {
        let rows = sqlx::query!(
            "SELECT id, tenant, name, account, regions, connection, assume_role_arn, assume_role_external_id, archived,
                    created_at, updated_at
             FROM containers ORDER BY created_at, id"
        )
        .fetch_all(&self.pool)
        .await?;
        rows.into_iter()
            .map(|row| {
                let tenant: Tenant = row.tenant.parse().map_err(|_| Error::Inconsistent {
                    table: "containers",
                    column: "tenant",
                    row: row.id.to_string(),
                })?;
                Ok(Container {
                    id: ContainerId::from_uuid(row.id),
                    tenant,
                    name: row.name,
                    account: row.account,
                    regions: row.regions,
                    connection: row.connection,
                    role_arn: row.assume_role_arn,
                    external_id: row.assume_role_external_id,
                    archived: row.archived,
                    acls: Vec::new(),
                    created_at: row.created_at,
                    updated_at: row.updated_at,
                })
            })
            .collect()
    }

    /// Makes a container. To be awaited, as all changes here, in a task that nobody cancels (sqlx issue 4393).
    ///
    /// # Errors
    /// [`Error::LostLeadership`], [`Error::Database`].
    pub async fn container_insert(
        &self,
        epoch: u32,
        container: &Container,
        created_by: &str,
    ) -> Result<Inserted, Error> {
        let mut tx = self.begin().await?;
        guard(&mut tx, epoch).await?;
        let done = sqlx::query!(
            "INSERT INTO containers (id, tenant, name, account, regions, connection, assume_role_arn,
                                     assume_role_external_id, archived, created_by, created_at, updated_at)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12) ON CONFLICT DO NOTHING",
            container.id.as_uuid(),
            container.tenant.as_str(),
            container.name,
            container.account,
            &container.regions,
            container.connection,
            container.role_arn,
            container.external_id,
            container.archived,
            created_by,
            container.created_at,
            container.updated_at,
        )
        .execute(&mut *tx)
        .await?;
        if done.rows_affected() == 1 {
            tx.commit().await?;
            return Ok(Inserted::New);
        }
        let named = sqlx::query_scalar!(
            r#"SELECT EXISTS (SELECT 1 FROM containers WHERE tenant = $1 AND name = $2) AS "named!""#,
            container.tenant.as_str(),
            container.name
        )
        .fetch_one(&mut *tx)
        .await?;
        Ok(if named { Inserted::NameTaken } else { Inserted::AccountTaken })
    }

    /// Changes what is given.
    ///
    /// # Errors
    /// [`Error::LostLeadership`], [`Error::Database`].
    pub async fn container_update(
        &self,
        epoch: u32,
        id: ContainerId,
        change: &ContainerChange,
        now: OffsetDateTime,
    ) -> Result<Changed, Error> {
        let mut tx = self.begin().await?;
        guard(&mut tx, epoch).await?;
        let done = sqlx::query!(
            "UPDATE containers
             SET name = coalesce($2, name), regions = coalesce($3, regions), connection = coalesce($4, connection),
                 assume_role_arn = coalesce($5, assume_role_arn),
                 assume_role_external_id = coalesce($6, assume_role_external_id), updated_at = $7
             WHERE id = $1",
            id.as_uuid(),
            change.name.as_deref(),
            change.regions.as_deref(),
            change.connection.as_deref(),
            change.role_arn.as_deref(),
            change.external_id.as_deref(),
            now,
        )
        .execute(&mut *tx)
        .await;
        match done {
            Ok(done) if done.rows_affected() == 0 => Ok(Changed::Unknown),
            Ok(_) => {
                tx.commit().await?;
                Ok(Changed::Done)
            }
            Err(sqlx::Error::Database(error)) if error.is_unique_violation() => Ok(Changed::NameTaken),
            Err(error) => Err(error.into()),
        }
    }

    /// Archives a container, or takes it back into use.
    ///
    /// # Errors
    /// [`Error::LostLeadership`], [`Error::Database`].
    pub async fn container_archive(
        &self,
        epoch: u32,
        id: ContainerId,
        archived: bool,
        now: OffsetDateTime,
    ) -> Result<Changed, Error> {
        let mut tx = self.begin().await?;
        guard(&mut tx, epoch).await?;
        let done = sqlx::query!(
            "UPDATE containers SET updated_at = CASE WHEN archived = $2 THEN updated_at ELSE $3 END, archived = $2
             WHERE id = $1",
            id.as_uuid(),
            archived,
            now,
        )
        .execute(&mut *tx)
        .await?;
        if done.rows_affected() == 0 {
            return Ok(Changed::Unknown);
        }
        tx.commit().await?;
        Ok(Changed::Done)
    }

    /// Deletes a container that nothing runs in, and with it what was known of its keys: the keys, their aliases, which
    /// template each has.
    ///
    /// All in one transaction, so that no key is ever seen without its container, and nothing is left over that another
    /// container of the account would find. A million keys take seconds, in which the container takes no new job; so
    /// the leadership is guarded only at the end.
    ///
    /// # Errors
    /// [`Error::LostLeadership`], [`Error::Database`].
    pub async fn container_delete(&self, epoch: u32, id: ContainerId) -> Result<Deleted, Error> {
        let mut tx = self.begin().await?;
        let found = sqlx::query!("SELECT tenant, account FROM containers WHERE id = $1 FOR UPDATE", id.as_uuid())
            .fetch_optional(&mut *tx)
            .await?;
        let Some(found) = found else { return Ok(Deleted::Unknown) };
        // By jobs_unfinished and the primary key of job_lanes.
        let jobs = sqlx::query_scalar!(
            r#"SELECT EXISTS (SELECT 1 FROM jobs j JOIN job_lanes l ON l.job_id = j.id
                              WHERE j.state <> 'finished' AND l.account = $1) AS "run!""#,
            found.account
        )
        .fetch_one(&mut *tx)
        .await?;
        if jobs {
            return Ok(Deleted::JobsRun);
        }
        // By synchronization_parts_running.
        let synchronizes = sqlx::query_scalar!(
            r#"SELECT EXISTS (SELECT 1 FROM synchronization_parts
                              WHERE account = $1 AND step IN ('keys', 'aliases', 'sweep')) AS "run!""#,
            found.account
        )
        .fetch_one(&mut *tx)
        .await?;
        if synchronizes {
            return Ok(Deleted::Synchronizes);
        }
        sqlx::query("SET LOCAL statement_timeout = '60s'").execute(&mut *tx).await?;
        sqlx::query!("DELETE FROM keys WHERE account = $1 AND tenant = $2", found.account, found.tenant)
            .execute(&mut *tx)
            .await?;
        sqlx::query!("DELETE FROM key_aliases WHERE account = $1 AND tenant = $2", found.account, found.tenant)
            .execute(&mut *tx)
            .await?;
        sqlx::query!("DELETE FROM template_uses WHERE account = $1", found.account).execute(&mut *tx).await?;
        sqlx::query("SET LOCAL statement_timeout = '2s'").execute(&mut *tx).await?;
        guard(&mut tx, epoch).await?;
        sqlx::query!("DELETE FROM container_acls WHERE container_id = $1", id.as_uuid()).execute(&mut *tx).await?;
        sqlx::query!("DELETE FROM containers WHERE id = $1", id.as_uuid()).execute(&mut *tx).await?;
        tx.commit().await?;
        Ok(Deleted::Done)
    }
}

/// Holds these containers as they are until the transaction ends; answers one that is gone or archived. The default
/// one, which no transaction can change, needs no holding.
pub(super) async fn hold(
    connection: &mut PgConnection,
    containers: &[ContainerId],
) -> Result<Option<ContainerId>, Error> {
    let wanted: Vec<Uuid> = containers.iter().filter(|id| **id != DEFAULT_ID).map(ContainerId::as_uuid).collect();
    if wanted.is_empty() {
        return Ok(None);
    }
    let held = sqlx::query_scalar!(
        "SELECT id FROM containers WHERE id = ANY($1) AND NOT archived ORDER BY id FOR SHARE",
        &wanted
    )
    .fetch_all(connection)
    .await?;
    Ok(wanted.into_iter().find(|id| !held.contains(id)).map(ContainerId::from_uuid))
}
