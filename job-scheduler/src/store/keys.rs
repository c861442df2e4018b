//! Registered keys: what KMS told of them last, and what jobs of ours changed since.

use std::collections::{BTreeMap, HashMap};

use job_model::{ResourceId, SyncId, Tenant, ids::TemplateId};
use sqlx::{PgConnection, Postgres, QueryBuilder, types::Uuid};
use time::OffsetDateTime;

use super::{Error, Store};

/// A key as KMS described it.
#[derive(Clone, Debug, PartialEq)]
pub struct SeenKey {
    /// Its id in KMS.
    pub key_id: String,
    /// Its ARN.
    pub arn: String,
    /// Its state, in AWS's word.
    pub state: String,
    /// When it is deleted.
    pub deletion_date: Option<OffsetDateTime>,
    /// What else was told, a JSON object in AWS's names.
    pub metadata: serde_json::Value,
    /// Its tags.
    pub tags: BTreeMap<String, String>,
}

/// An alias of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeenAlias {
    /// With `alias/`.
    pub name: String,
    /// Its key's id in KMS.
    pub key_id: String,
}

/// Whose keys a page is of.
#[derive(Clone, Debug)]
pub struct Shelf {
    /// The tenant of the container.
    pub tenant: Tenant,
    /// The AWS account.
    pub account: String,
    /// The Region.
    pub region: String,
    /// The synchronization that sees them.
    pub sync: SyncId,
}

/// A registered key.
#[derive(Clone, Debug, PartialEq)]
pub struct Key {
    /// The resource's id.
    pub id: ResourceId,
    /// The AWS account.
    pub account: String,
    /// The Region.
    pub region: String,
    /// Its id in KMS.
    pub key_id: String,
    /// Its ARN.
    pub arn: String,
    /// Its state, in AWS's word.
    pub state: String,
    /// When it is deleted.
    pub deletion_date: Option<OffsetDateTime>,
    /// What else KMS tells, a JSON object in AWS's names.
    pub metadata: serde_json::Value,
    /// Its tags.
    pub tags: HashMap<String, String>,
    /// With `alias/`.
    pub aliases: Vec<String>,
    /// The last whole synchronization did not find it.
    pub gone: bool,
    /// The template that a job put on it last.
    pub template: Option<TemplateId>,
    /// When it was registered.
    pub created_at: OffsetDateTime,
    /// When something of it changed here.
    pub updated_at: OffsetDateTime,
    /// When KMS told of it last.
    pub synced_at: OffsetDateTime,
}

/// Which keys; several values of one field mean any of them.
#[derive(Clone, Debug, Default)]
pub struct KeyFilter {
    /// Resource ids.
    pub ids: Vec<ResourceId>,
    /// Ids in KMS.
    pub key_ids: Vec<String>,
    /// ARNs.
    pub arns: Vec<String>,
    /// Aliases, with `alias/`.
    pub aliases: Vec<String>,
    /// Aliases that begin so, with `alias/`.
    pub alias_prefix: Option<String>,
    /// AWS accounts; `Some` of none matches nothing.
    pub accounts: Option<Vec<String>>,
    /// Regions.
    pub regions: Vec<String>,
    /// States, in AWS's words.
    pub states: Vec<String>,
    /// Enabled, or not.
    pub enabled: Option<bool>,
    /// Gone, or not.
    pub gone: Option<bool>,
    /// Each with all its pairs.
    pub tags: Vec<HashMap<String, String>>,
    /// Templates that a job put on them last.
    pub templates: Vec<TemplateId>,
    /// Origins, in AWS's words.
    pub origins: Vec<String>,
    /// Fields of the metadata, with dots between the names on the way to each, and the texts any of which each must
    /// have: all must.
    pub described: Vec<(String, Vec<String>)>,
    /// Partitions, as ARNs have them.
    pub partitions: Vec<String>,
}

/// What keys can be sorted by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeySort {
    /// The resource's id.
    Id,
    /// When it was registered.
    CreatedAt,
    /// When it changed here.
    UpdatedAt,
    /// Its id in KMS.
    KeyId,
    /// Its ARN.
    Arn,
    /// Its Region.
    Region,
    /// Its state.
    State,
    /// Its first alias.
    Alias,
    /// Whether it is enabled.
    Enabled,
    /// When KMS made it.
    CreationDate,
    /// Where its material is from.
    Origin,
}

impl KeySort {
    const fn expression(self) -> &'static str {
        match self {
            Self::Id => "k.id",
            Self::CreatedAt => "k.created_at",
            Self::UpdatedAt => "k.updated_at",
            Self::KeyId => "k.key_id",
            Self::Arn => "k.arn",
            Self::Region => "k.region",
            Self::State => "k.state",
            Self::Alias => {
                "(SELECT min(a.alias) FROM key_aliases a WHERE a.account = k.account AND a.region = k.region
                    AND a.key_id = k.key_id AND a.tenant = k.tenant)"
            }
            Self::Enabled => "(k.state = 'Enabled')",
            Self::CreationDate => "k.metadata ->> 'CreationDate'",
            Self::Origin => "k.metadata ->> 'Origin'",
        }
    }
}

#[derive(sqlx::FromRow)]
struct KeyRow {
    id: Uuid,
    account: String,
    region: String,
    key_id: String,
    arn: String,
    state: String,
    deletion_date: Option<OffsetDateTime>,
    metadata: sqlx::types::Json<serde_json::Value>,
    tags: sqlx::types::Json<HashMap<String, String>>,
    aliases: Vec<String>,
    gone: bool,
    template_id: Option<Uuid>,
    created_at: OffsetDateTime,
    updated_at: OffsetDateTime,
    synced_at: OffsetDateTime,
}

impl From<KeyRow> for Key {
    fn from(row: KeyRow) -> Self {
        Self {
            id: ResourceId::from_uuid(row.id),
            account: row.account,
            region: row.region,
            key_id: row.key_id,
            arn: row.arn,
            state: row.state,
            deletion_date: row.deletion_date,
            metadata: row.metadata.0,
            tags: row.tags.0,
            aliases: row.aliases,
            gone: row.gone,
            template: row.template_id.map(TemplateId::from_uuid),
            created_at: row.created_at,
            updated_at: row.updated_at,
            synced_at: row.synced_at,
        }
    }
}

/// The aliases go by key_aliases_by_key, the template by the primary key of template_uses.
const COLUMNS: &str = "SELECT k.id, k.account, k.region, k.key_id, k.arn, k.state, k.deletion_date, k.metadata, k.tags,
           ARRAY(SELECT a.alias::text FROM key_aliases a WHERE a.account = k.account AND a.region = k.region
                   AND a.key_id = k.key_id AND a.tenant = k.tenant ORDER BY a.alias) AS aliases,
           k.gone,
           (SELECT u.template_id FROM template_uses u WHERE u.account = k.account AND u.region = k.region
              AND u.key_id = k.key_id) AS template_id,
           k.created_at, k.updated_at, k.synced_at
    FROM keys k";

impl Store {
    /// One key of the tenant.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn key_get(&self, tenant: &Tenant, id: ResourceId) -> Result<Option<Key>, Error> {
        let filter = KeyFilter { ids: vec![id], ..KeyFilter::default() };
        Ok(self.key_page(tenant, &filter, &[], 0, 1).await?.1.pop())
    }

    /// A page of the tenant's keys, newest first unless sorted, and how many match.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn key_page(
        &self,
        tenant: &Tenant,
        filter: &KeyFilter,
        sort: &[(KeySort, bool)],
        skip: u32,
        limit: u32,
    ) -> Result<(u64, Vec<Key>), Error> {
        let mut count = QueryBuilder::<Postgres>::new("SELECT count(*) FROM keys k");
        push_filter(&mut count, tenant, filter);
        let total: i64 = count.build_query_scalar().fetch_one(&self.pool).await?;
        let mut page = QueryBuilder::<Postgres>::new(COLUMNS);
        push_filter(&mut page, tenant, filter);
        page.push(" ORDER BY ");
        for (by, descends) in sort {
            page.push(by.expression()).push(if *descends { " DESC, " } else { " ASC, " });
        }
        page.push("k.created_at DESC, k.id DESC OFFSET ").push_bind(i64::from(skip));
        page.push(" LIMIT ").push_bind(i64::from(limit));
        let rows: Vec<KeyRow> = page.build_query_as().fetch_all(&self.pool).await?;
        Ok((u64::try_from(total).unwrap_or(0), rows.into_iter().map(Key::from).collect()))
    }

    /// Where keys named by resource ids live: account, Region and id in KMS.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn keys_resolve(
        &self,
        tenant: &Tenant,
        ids: &[Uuid],
    ) -> Result<HashMap<Uuid, (String, String, String)>, Error> {
        let rows = sqlx::query!(
            "SELECT id, account, region, key_id FROM keys WHERE id = ANY($1) AND tenant = $2",
            ids,
            tenant.as_str()
        )
        .fetch_all(&self.pool)
        .await?;
        Ok(rows.into_iter().map(|row| (row.id, (row.account, row.region, row.key_id))).collect())
    }

    /// Whether the tenant has any registered key.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn keys_any(&self, tenant: &Tenant) -> Result<bool, Error> {
        Ok(sqlx::query_scalar!(r#"SELECT EXISTS (SELECT 1 FROM keys WHERE tenant = $1) AS "any!""#, tenant.as_str())
            .fetch_one(&self.pool)
            .await?)
    }
}

/// Writes what a page told. A key that a job of ours wrote to after `trusted_from` keeps the state that the job left:
/// reads may lag behind writes.
pub(super) async fn upsert(
    connection: &mut PgConnection,
    shelf: &Shelf,
    keys: Vec<SeenKey>,
    trusted_from: OffsetDateTime,
    now: OffsetDateTime,
) -> Result<(), Error> {
    let ids: Vec<Uuid> = keys.iter().map(|_| Uuid::now_v7()).collect();
    let mut key_ids = Vec::with_capacity(keys.len());
    let mut arns = Vec::with_capacity(keys.len());
    let mut states = Vec::with_capacity(keys.len());
    let mut dates = Vec::with_capacity(keys.len());
    let mut metadata = Vec::with_capacity(keys.len());
    let mut tags = Vec::with_capacity(keys.len());
    for key in keys {
        key_ids.push(key.key_id);
        arns.push(key.arn);
        states.push(key.state);
        dates.push(key.deletion_date);
        metadata.push(key.metadata);
        tags.push(serde_json::json!(key.tags));
    }
    sqlx::query!(
        "INSERT INTO keys AS k (id, tenant, account, region, key_id, arn, state, deletion_date, metadata, tags,
                                created_at, updated_at, synced_at, seen_by)
         SELECT id, $1, $2, $3, key_id, arn, state, deletion_date, metadata, tags, $4, $4, $4, $5
         FROM unnest($6::uuid[], $7::text[], $8::text[], $9::text[], $10::timestamptz[], $11::jsonb[], $12::jsonb[])
              AS r (id, key_id, arn, state, deletion_date, metadata, tags)
         ORDER BY key_id
         ON CONFLICT (account, region, key_id, tenant) DO UPDATE
         SET arn = excluded.arn, metadata = excluded.metadata, tags = excluded.tags, gone = false,
             synced_at = excluded.synced_at, seen_by = excluded.seen_by,
             state = CASE WHEN k.written_at > $13 THEN k.state ELSE excluded.state END,
             deletion_date = CASE WHEN k.written_at > $13 THEN k.deletion_date ELSE excluded.deletion_date END,
             updated_at = CASE WHEN k.gone OR k.arn <> excluded.arn OR k.metadata <> excluded.metadata
                                 OR k.tags <> excluded.tags
                                 OR (k.written_at > $13) IS NOT TRUE
                                    AND (k.state, k.deletion_date)
                                        IS DISTINCT FROM (excluded.state, excluded.deletion_date)
                               THEN excluded.updated_at ELSE k.updated_at END",
        shelf.tenant.as_str(),
        shelf.account,
        shelf.region,
        now,
        shelf.sync.as_uuid(),
        &ids,
        &key_ids,
        &arns,
        &states,
        &dates as &[Option<OffsetDateTime>],
        &metadata,
        &tags,
        trusted_from,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Writes what a page of aliases told.
pub(super) async fn upsert_aliases(
    connection: &mut PgConnection,
    shelf: &Shelf,
    aliases: Vec<SeenAlias>,
) -> Result<(), Error> {
    let (names, keys): (Vec<_>, Vec<_>) = aliases.into_iter().map(|alias| (alias.name, alias.key_id)).unzip();
    sqlx::query!(
        r#"INSERT INTO key_aliases (tenant, account, region, alias, key_id, seen_by)
           SELECT $1, $2, $3, alias, key_id, $4 FROM unnest($5::text[], $6::text[]) AS r (alias, key_id) ORDER BY alias
           ON CONFLICT (account, region, alias, tenant) DO UPDATE
           SET key_id = excluded.key_id, seen_by = excluded.seen_by"#,
        shelf.tenant.as_str(),
        shelf.account,
        shelf.region,
        shelf.sync.as_uuid(),
        &names,
        &keys,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Marks some of what the synchronization did not see; answers whether there may be more.
pub(super) async fn sweep(
    connection: &mut PgConnection,
    shelf: &Shelf,
    batch: i64,
    now: OffsetDateTime,
) -> Result<bool, Error> {
    let gone = sqlx::query!(
        "UPDATE keys SET gone = true, updated_at = $6
         WHERE id IN (SELECT id FROM keys WHERE account = $1 AND region = $2 AND tenant = $3 AND seen_by <> $4
                        AND NOT gone ORDER BY key_id LIMIT $5)",
        shelf.account,
        shelf.region,
        shelf.tenant.as_str(),
        shelf.sync.as_uuid(),
        batch,
        now,
    )
    .execute(&mut *connection)
    .await?
    .rows_affected();
    let removed = sqlx::query!(
        "DELETE FROM key_aliases WHERE (account, region, alias, tenant) IN (
             SELECT account, region, alias, tenant FROM key_aliases
             WHERE account = $1 AND region = $2 AND tenant = $3 AND seen_by <> $4 LIMIT $5)",
        shelf.account,
        shelf.region,
        shelf.tenant.as_str(),
        shelf.sync.as_uuid(),
        batch,
    )
    .execute(&mut *connection)
    .await?
    .rows_affected();
    let batch = u64::try_from(batch).unwrap_or(u64::MAX);
    Ok(gone == batch || removed == batch)
}

/// The conditions of a filter on `keys k`.
pub(super) fn push_filter(builder: &mut QueryBuilder<Postgres>, tenant: &Tenant, filter: &KeyFilter) {
    builder.push(" WHERE k.tenant = ").push_bind(tenant.as_str().to_owned());
    let mut any = |column: &str, values: Vec<String>| {
        if !values.is_empty() {
            builder.push(" AND ").push(column).push(" = ANY(").push_bind(values).push(")");
        }
    };
    any("k.key_id", filter.key_ids.clone());
    any("k.arn", filter.arns.clone());
    any("k.region", filter.regions.clone());
    any("k.state", filter.states.clone());
    any("k.metadata ->> 'Origin'", filter.origins.clone());
    any("split_part(k.arn, ':', 2)", filter.partitions.clone());
    for (field, values) in &filter.described {
        builder.push(" AND k.metadata #>> string_to_array(").push_bind(field.clone());
        builder.push(", '.') = ANY(").push_bind(values.clone()).push(")");
    }
    if !filter.ids.is_empty() {
        let ids: Vec<Uuid> = filter.ids.iter().map(ResourceId::as_uuid).collect();
        builder.push(" AND k.id = ANY(").push_bind(ids).push(")");
    }
    if let Some(accounts) = &filter.accounts {
        builder.push(" AND k.account = ANY(").push_bind(accounts.clone()).push(")");
    }
    if let Some(enabled) = filter.enabled {
        builder.push(" AND (k.state = 'Enabled') = ").push_bind(enabled);
    }
    if let Some(gone) = filter.gone {
        builder.push(" AND k.gone = ").push_bind(gone);
    }
    if !filter.tags.is_empty() {
        builder.push(" AND (false");
        for tags in &filter.tags {
            builder.push(" OR k.tags @> ").push_bind(sqlx::types::Json(tags.clone()));
        }
        builder.push(")");
    }
    if !filter.templates.is_empty() {
        let ids: Vec<Uuid> = filter.templates.iter().map(TemplateId::as_uuid).collect();
        builder.push(
            " AND EXISTS (SELECT 1 FROM template_uses u WHERE u.account = k.account AND u.region = k.region
                            AND u.key_id = k.key_id AND u.template_id = ANY(",
        );
        builder.push_bind(ids).push("))");
    }
    let alias = " AND EXISTS (SELECT 1 FROM key_aliases a WHERE a.account = k.account AND a.region = k.region
                                AND a.key_id = k.key_id AND a.tenant = k.tenant AND ";
    if !filter.aliases.is_empty() {
        builder.push(alias).push("a.alias = ANY(").push_bind(filter.aliases.clone()).push("))");
    }
    if let Some(prefix) = &filter.alias_prefix {
        builder.push(alias).push("starts_with(a.alias, ").push_bind(prefix.clone()).push("))");
    }
}
