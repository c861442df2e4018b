//! Policy templates in their simplest form.

use job_model::{Tenant, ids::TemplateId};
use time::OffsetDateTime;

use super::{Error, Store};

/// A policy template.
#[derive(Clone, Debug)]
pub struct Template {
    /// Its id.
    pub id: TemplateId,
    /// Its name, one of a kind in its tenant.
    pub name: String,
    /// The key policy, JSON text.
    pub policy: String,
    /// When it was made.
    pub created_at: OffsetDateTime,
}

impl Store {
    /// Stores a template; `false` when the tenant has one of that name.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn template_insert(&self, tenant: &Tenant, template: &Template, created_by: &str) -> Result<bool, Error> {
        let done = sqlx::query!(
            "INSERT INTO policy_templates (id, tenant, name, policy, created_by, created_at)
             VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (tenant, name) DO NOTHING",
            template.id.as_uuid(),
            tenant.as_str(),
            template.name,
            template.policy,
            created_by,
            template.created_at,
        )
        .execute(&self.pool)
        .await?;
        Ok(done.rows_affected() == 1)
    }

    /// A page of the tenant's templates by name, and how many match.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn template_page(
        &self,
        tenant: &Tenant,
        id: Option<TemplateId>,
        name: Option<&str>,
        skip: u32,
        limit: u32,
    ) -> Result<(u64, Vec<Template>), Error> {
        let id = id.map(|id| id.as_uuid());
        let total = sqlx::query_scalar!(
            r#"SELECT count(*) AS "count!" FROM policy_templates
               WHERE tenant = $1 AND ($2::uuid IS NULL OR id = $2) AND ($3::text IS NULL OR name = $3)"#,
            tenant.as_str(),
            id,
            name,
        )
        .fetch_one(&self.pool)
        .await?;
        let rows = sqlx::query!(
            "SELECT id, name, policy, created_at FROM policy_templates
             WHERE tenant = $1 AND ($2::uuid IS NULL OR id = $2) AND ($3::text IS NULL OR name = $3)
             ORDER BY name OFFSET $4 LIMIT $5",
            tenant.as_str(),
            id,
            name,
            i64::from(skip),
            i64::from(limit),
        )
        .fetch_all(&self.pool)
        .await?;
        let templates = rows
            .into_iter()
            .map(|row| Template {
                id: TemplateId::from_uuid(row.id),
                name: row.name,
                policy: row.policy,
                created_at: row.created_at,
            })
            .collect();
        Ok((u64::try_from(total).unwrap_or(0), templates))
    }
}
