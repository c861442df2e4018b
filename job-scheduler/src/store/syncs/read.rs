//! Synchronizations as they are asked for: one, or a page of a tenant's.

use job_model::{SyncId, Tenant};
use sqlx::{Postgres, QueryBuilder, types::Uuid};
use time::OffsetDateTime;

use crate::store::{Error, Store, as_u32};

/// A synchronization as it is read.
#[derive(Clone, Debug)]
pub struct Sync {
    /// Its id.
    pub id: SyncId,
    /// The containers' names.
    pub kms: Vec<String>,
    /// As given.
    pub regions: Vec<String>,
    /// Everything was asked for.
    pub all: bool,
    /// `in_progress`, `completed`, `error` or `canceled`.
    pub status: String,
    /// By number.
    pub parts: Vec<Part>,
    /// Times.
    pub created_at: OffsetDateTime,
    /// The last page.
    pub updated_at: OffsetDateTime,
    /// Absent until it has ended.
    pub completed_at: Option<OffsetDateTime>,
}

/// One part as it is read.
#[derive(Clone, Debug)]
pub struct Part {
    /// The container's name, as it was then.
    pub kms: String,
    /// The AWS account.
    pub account: String,
    /// The Region.
    pub region: String,
    /// The step's word.
    pub step: String,
    /// Of a failed one: `<code>: <text>`.
    pub detail: Option<String>,
    /// Keys found so far.
    pub keys: u32,
    /// Keys that KMS refused to describe.
    pub skipped: u32,
}

/// Which synchronizations a list is asked for.
#[derive(Clone, Debug, Default)]
pub struct SyncQuery {
    /// Only this one.
    pub id: Option<SyncId>,
    /// Only those in this status.
    pub status: Option<String>,
    /// Only those of no other accounts than these; `None` for all.
    pub seen: Option<Vec<String>>,
    /// Only those of one of these accounts.
    pub accounts: Option<Vec<String>>,
    /// Leaves out so many.
    pub skip: u32,
    /// And takes so many.
    pub limit: u32,
}

#[derive(sqlx::FromRow)]
struct SyncRow {
    id: Uuid,
    kms: Vec<String>,
    regions: Vec<String>,
    synchronize_all: bool,
    status: String,
    created_at: OffsetDateTime,
    updated_at: OffsetDateTime,
    completed_at: Option<OffsetDateTime>,
}

impl Store {
    /// One of the tenant's.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn sync_get(&self, tenant: &Tenant, id: SyncId) -> Result<Option<Sync>, Error> {
        let query = SyncQuery { id: Some(id), limit: 1, ..SyncQuery::default() };
        Ok(self.sync_page(tenant, &query).await?.1.pop())
    }

    /// A page of the tenant's, newest first, and how many match.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn sync_page(&self, tenant: &Tenant, query: &SyncQuery) -> Result<(u64, Vec<Sync>), Error> {
        let mut count = QueryBuilder::<Postgres>::new("SELECT count(*) FROM synchronizations");
        filter(&mut count, tenant, query);
        let total: i64 = count.build_query_scalar().fetch_one(&self.pool).await?;
        let mut page = QueryBuilder::<Postgres>::new(
            "SELECT id, kms, regions, synchronize_all, status, created_at, updated_at, completed_at FROM synchronizations",
        );
        filter(&mut page, tenant, query);
        page.push(" ORDER BY created_at DESC, id DESC OFFSET ").push_bind(i64::from(query.skip));
        page.push(" LIMIT ").push_bind(i64::from(query.limit));
        let rows: Vec<SyncRow> = page.build_query_as().fetch_all(&self.pool).await?;
        let ids: Vec<Uuid> = rows.iter().map(|row| row.id).collect();
        let parts = sqlx::query!(
            "SELECT synchronization_id, kms, account, region, step, detail, keys, skipped FROM synchronization_parts
             WHERE synchronization_id = ANY($1) ORDER BY synchronization_id, part",
            &ids
        )
        .fetch_all(&self.pool)
        .await?;
        let parts_of = |id| {
            let mine = parts.iter().filter(|part| part.synchronization_id == id);
            mine.map(|part| Part {
                kms: part.kms.clone(),
                account: part.account.clone(),
                region: part.region.clone(),
                step: part.step.clone(),
                detail: part.detail.clone(),
                keys: as_u32(part.keys),
                skipped: as_u32(part.skipped),
            })
            .collect()
        };
        let found = rows
            .into_iter()
            .map(|row| Sync {
                id: SyncId::from_uuid(row.id),
                parts: parts_of(row.id),
                kms: row.kms,
                regions: row.regions,
                all: row.synchronize_all,
                status: row.status,
                created_at: row.created_at,
                updated_at: row.updated_at,
                completed_at: row.completed_at,
            })
            .collect();
        Ok((u64::try_from(total).unwrap_or(0), found))
    }
}

fn filter(builder: &mut QueryBuilder<Postgres>, tenant: &Tenant, query: &SyncQuery) {
    builder.push(" WHERE tenant = ").push_bind(tenant.as_str().to_owned());
    if let Some(id) = query.id {
        builder.push(" AND id = ").push_bind(id.as_uuid());
    }
    if let Some(status) = &query.status {
        builder.push(" AND status = ").push_bind(status.clone());
    }
    // Both by the primary key of synchronization_parts.
    let parts = " (SELECT 1 FROM synchronization_parts p WHERE p.synchronization_id = synchronizations.id AND ";
    if let Some(seen) = &query.seen {
        builder.push(" AND NOT EXISTS").push(parts).push("p.account <> ALL(").push_bind(seen.clone()).push("))");
    }
    if let Some(accounts) = &query.accounts {
        builder.push(" AND EXISTS").push(parts).push("p.account = ANY(").push_bind(accounts.clone()).push("))");
    }
}
