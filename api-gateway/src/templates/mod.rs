//! Policy templates: one file per call, and what the calls share.

pub(crate) mod create;
pub(crate) mod delete;
pub(crate) mod get;
pub(crate) mod list;
mod policy;
pub(crate) mod update;

use axum::extract::{FromRequestParts, Path};
use http::request::Parts;
use keyfleet_proto::jobs::v1 as proto;
use serde::Serialize;
use serde_json::value::RawValue;

use crate::{error::ApiError, times::rfc3339};

/// A policy template
#[derive(Serialize, utoipa::ToSchema)]
pub(crate) struct TemplateForm {
    id: String,
    #[schema(example = "kylo:kylo:cckm:template:0190a1b2-0000-7000-8000-000000000000")]
    uri: String,
    #[schema(example = "kylo:kylo:admin:accounts:kylo")]
    account: String,
    /// RFC 3339, UTC, microseconds
    #[serde(rename = "createdAt")]
    created_at: String,
    #[serde(rename = "updatedAt")]
    updated_at: String,
    name: String,
    /// The name of the container it is for, null when there is none
    kms: Option<String>,
    /// The AWS account it is for, null for any
    account_id: Option<String>,
    #[schema(example = "aws")]
    cloud_name: &'static str,
    #[schema(example = "template")]
    policy_type: &'static str,
    /// Some key has it
    is_verified: bool,
    /// IAM users who administer keys
    #[serde(rename = "key-admins")]
    key_admins: Vec<String>,
    /// IAM roles that administer keys
    #[serde(rename = "key-admins-roles")]
    key_admins_roles: Vec<String>,
    /// IAM users who use keys
    key_users: Vec<String>,
    /// IAM roles that use keys
    key_users_roles: Vec<String>,
    /// Other AWS accounts that use keys
    external_accounts: Vec<String>,
    /// The key policy, an object
    #[schema(value_type = Object)]
    policy: Box<RawValue>,
    /// Of a change with auto_push: the bulk job that pushes the policy
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pushed_by: Option<String>,
}

impl TemplateForm {
    fn of(template: proto::Template) -> Result<Self, ApiError> {
        let policy = RawValue::from_string(template.policy).map_err(|error| {
            tracing::error!(template = template.id, %error, "A stored policy is not JSON.");
            ApiError::Internal
        })?;
        let account = template.tenant.split(':').next().unwrap_or_default();
        let some = |text: String| (!text.is_empty()).then_some(text);
        let grants = template.grants.unwrap_or_default();
        Ok(Self {
            uri: format!("{}:cckm:template:{}", template.tenant, template.id),
            account: format!("{}:admin:accounts:{account}", template.tenant),
            id: template.id,
            created_at: rfc3339(template.created_at_us),
            updated_at: rfc3339(template.updated_at_us),
            name: template.name,
            kms: some(template.kms),
            account_id: some(template.account_id),
            cloud_name: "aws",
            policy_type: "template",
            is_verified: template.verified,
            key_admins: grants.key_admins,
            key_admins_roles: grants.key_admins_roles,
            key_users: grants.key_users,
            key_users_roles: grants.key_users_roles,
            external_accounts: grants.external_accounts,
            policy,
            pushed_by: None,
        })
    }
}

/// The template a path names, by id or name. What no name can be is one that nobody has.
pub(crate) struct TemplatePath(String);

impl<S: Send + Sync> FromRequestParts<S> for TemplatePath {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let path = Path::<String>::from_request_parts(parts, state).await;
        path.ok()
            .map(|Path(text)| text)
            .filter(|text| !text.contains('\0'))
            .map(Self)
            .ok_or_else(|| ApiError::NotFound("there is no template of this id or name".to_owned()))
    }
}
