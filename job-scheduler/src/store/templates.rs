//! Policy templates, and which keys have them.

use job_model::{Tenant, ids::TemplateId};
use sqlx::{PgConnection, PgExecutor, Postgres, QueryBuilder, types::Uuid};
use time::OffsetDateTime;

use super::{Error, Store, create::Draft};
use crate::policies::Grants;

/// A policy template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    /// Its id.
    pub id: TemplateId,
    /// Its name, one of a kind in its tenant.
    pub name: String,
    /// The only AWS account it is for.
    pub account: Option<String>,
    /// The key policy, JSON text.
    pub policy: String,
    /// Whom the policy was made for; `None` when it was given as a document.
    pub grants: Option<Grants>,
    /// When it was made.
    pub created_at: OffsetDateTime,
    /// When it was last changed.
    pub updated_at: OffsetDateTime,
    /// Some key has it.
    pub verified: bool,
}

/// Which templates a list is asked for.
#[derive(Clone, Debug, Default)]
pub struct TemplateQuery {
    /// Only this one.
    pub id: Option<TemplateId>,
    /// Only the one of this name.
    pub name: Option<String>,
    /// Only those for one of these accounts.
    pub accounts: Option<Vec<String>>,
    /// Only those for one of these accounts, and with `true` those for any; `None` for all.
    pub seen: Option<(Vec<String>, bool)>,
    /// Only those that some key has, or none.
    pub verified: Option<bool>,
    /// In this order; by name otherwise.
    pub sort: Option<(TemplateSort, bool)>,
    /// Leaves out so many.
    pub skip: u32,
    /// And takes so many.
    pub limit: u32,
}

/// What templates can be sorted by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TemplateSort {
    /// `name`
    Name,
    /// `createdAt`
    CreatedAt,
    /// `updatedAt`
    UpdatedAt,
}

impl TemplateSort {
    const fn column(self) -> &'static str {
        match self {
            Self::Name => "name",
            Self::CreatedAt => "created_at",
            Self::UpdatedAt => "coalesce(updated_at, created_at)",
        }
    }
}

#[derive(sqlx::FromRow)]
struct TemplateRow {
    id: Uuid,
    name: String,
    account_id: Option<String>,
    policy: String,
    key_admins: Option<Vec<String>>,
    key_admins_roles: Option<Vec<String>>,
    key_users: Option<Vec<String>>,
    key_users_roles: Option<Vec<String>>,
    external_accounts: Option<Vec<String>>,
    created_at: OffsetDateTime,
    updated_at: Option<OffsetDateTime>,
    verified: bool,
}

/// All that a [`TemplateRow`] has. The subquery goes by template_uses_by_template.
const COLUMNS: &str = "SELECT id, name, account_id, policy, key_admins, key_admins_roles, key_users, key_users_roles,
           external_accounts, created_at, updated_at,
           EXISTS (SELECT 1 FROM template_uses u WHERE u.template_id = policy_templates.id) AS verified
    FROM policy_templates";

impl From<TemplateRow> for Template {
    fn from(row: TemplateRow) -> Self {
        let grants = row.key_admins.map(|key_admins| Grants {
            key_admins,
            key_admins_roles: row.key_admins_roles.unwrap_or_default(),
            key_users: row.key_users.unwrap_or_default(),
            key_users_roles: row.key_users_roles.unwrap_or_default(),
            external_accounts: row.external_accounts.unwrap_or_default(),
        });
        Self {
            id: TemplateId::from_uuid(row.id),
            name: row.name,
            account: row.account_id,
            policy: row.policy,
            grants,
            created_at: row.created_at,
            updated_at: row.updated_at.unwrap_or(row.created_at),
            verified: row.verified,
        }
    }
}

impl Store {
    /// Stores a template; `false` when the tenant has one of that name.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn template_insert(&self, tenant: &Tenant, template: &Template, created_by: &str) -> Result<bool, Error> {
        let grants = template.grants.as_ref();
        let done = sqlx::query!(
            "INSERT INTO policy_templates (id, tenant, name, policy, created_by, created_at, updated_at, account_id,
                                           key_admins, key_admins_roles, key_users, key_users_roles, external_accounts)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13) ON CONFLICT (tenant, name) DO NOTHING",
            template.id.as_uuid(),
            tenant.as_str(),
            template.name,
            template.policy,
            created_by,
            template.created_at,
            template.updated_at,
            template.account,
            grants.map(|grants| grants.key_admins.as_slice()),
            grants.map(|grants| grants.key_admins_roles.as_slice()),
            grants.map(|grants| grants.key_users.as_slice()),
            grants.map(|grants| grants.key_users_roles.as_slice()),
            grants.map(|grants| grants.external_accounts.as_slice()),
        )
        .execute(&self.pool)
        .await?;
        Ok(done.rows_affected() == 1)
    }

    /// The tenant's template of this id or name. A name that reads like another one's id gives way to it.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn template_get(&self, tenant: &Tenant, id_or_name: &str) -> Result<Option<Template>, Error> {
        find(&self.pool, tenant, id_or_name, "").await
    }

    /// A page of the tenant's templates, and how many match.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn template_page(&self, tenant: &Tenant, query: &TemplateQuery) -> Result<(u64, Vec<Template>), Error> {
        let mut count = QueryBuilder::<Postgres>::new("SELECT count(*) FROM policy_templates");
        filter(&mut count, tenant, query);
        let total: i64 = count.build_query_scalar().fetch_one(&self.pool).await?;
        let mut page = QueryBuilder::<Postgres>::new(COLUMNS);
        filter(&mut page, tenant, query);
        let (by, descends) = query.sort.unwrap_or((TemplateSort::Name, false));
        page.push(" ORDER BY ").push(by.column()).push(if descends { " DESC" } else { " ASC" });
        page.push(", id OFFSET ").push_bind(i64::from(query.skip));
        page.push(" LIMIT ").push_bind(i64::from(query.limit));
        let rows: Vec<TemplateRow> = page.build_query_as().fetch_all(&self.pool).await?;
        Ok((u64::try_from(total).unwrap_or(0), rows.into_iter().map(Template::from).collect()))
    }

    /// Removes a template; `false` when there is none. Jobs that were made with it keep its text.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn template_delete(&self, tenant: &Tenant, id: TemplateId) -> Result<bool, Error> {
        let done =
            sqlx::query!("DELETE FROM policy_templates WHERE tenant = $1 AND id = $2", tenant.as_str(), id.as_uuid())
                .execute(&self.pool)
                .await?;
        Ok(done.rows_affected() == 1)
    }
}

impl Draft {
    /// The tenant's template of this id or name, held until the draft ends.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn template_lock(&mut self, tenant: &Tenant, id_or_name: &str) -> Result<Option<Template>, Error> {
        find(self.connection(), tenant, id_or_name, " FOR NO KEY UPDATE OF policy_templates").await
    }

    /// Changes a locked template's policy and what it was made for.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn template_change(&mut self, template: &Template) -> Result<(), Error> {
        change(self.connection(), template).await
    }
}

async fn change(connection: &mut PgConnection, template: &Template) -> Result<(), Error> {
    let grants = template.grants.as_ref();
    sqlx::query!(
        "UPDATE policy_templates
         SET policy = $2, updated_at = $3, key_admins = $4, key_admins_roles = $5, key_users = $6, key_users_roles = $7,
             external_accounts = $8
         WHERE id = $1",
        template.id.as_uuid(),
        template.policy,
        template.updated_at,
        grants.map(|grants| grants.key_admins.as_slice()),
        grants.map(|grants| grants.key_admins_roles.as_slice()),
        grants.map(|grants| grants.key_users.as_slice()),
        grants.map(|grants| grants.key_users_roles.as_slice()),
        grants.map(|grants| grants.external_accounts.as_slice()),
    )
    .execute(connection)
    .await?;
    Ok(())
}

async fn find(
    executor: impl PgExecutor<'_>,
    tenant: &Tenant,
    id_or_name: &str,
    lock: &str,
) -> Result<Option<Template>, Error> {
    let id: Option<Uuid> = (id_or_name.len() == 36).then(|| id_or_name.parse().ok()).flatten();
    let mut query = QueryBuilder::<Postgres>::new(COLUMNS);
    query.push(" WHERE tenant = ").push_bind(tenant.as_str());
    query.push(" AND (name = ").push_bind(id_or_name);
    query.push(" OR id = ").push_bind(id);
    query.push(") ORDER BY (id IS NOT DISTINCT FROM ").push_bind(id);
    query.push(") DESC LIMIT 1").push(lock);
    let row: Option<TemplateRow> = query.build_query_as().fetch_optional(executor).await?;
    Ok(row.map(Template::from))
}

fn filter(builder: &mut QueryBuilder<Postgres>, tenant: &Tenant, query: &TemplateQuery) {
    builder.push(" WHERE tenant = ").push_bind(tenant.as_str().to_owned());
    if let Some(id) = query.id {
        builder.push(" AND id = ").push_bind(id.as_uuid());
    }
    if let Some(name) = &query.name {
        builder.push(" AND name = ").push_bind(name.clone());
    }
    if let Some(accounts) = &query.accounts {
        builder.push(" AND account_id = ANY(").push_bind(accounts.clone()).push(")");
    }
    if let Some((accounts, for_any)) = &query.seen {
        builder.push(" AND CASE WHEN account_id IS NULL THEN ").push_bind(*for_any);
        builder.push(" ELSE account_id = ANY(").push_bind(accounts.clone()).push(") END");
    }
    if let Some(verified) = query.verified {
        builder.push(" AND EXISTS (SELECT 1 FROM template_uses u WHERE u.template_id = policy_templates.id) = ");
        builder.push_bind(verified);
    }
}
