//! Policy templates in their simplest form: a name and a key policy, for `applypolicytemplate`.

pub(crate) mod create;
pub(crate) mod list;

use keyfleet_proto::jobs::v1 as proto;
use serde::Serialize;
use serde_json::value::RawValue;

use crate::{error::ApiError, times::rfc3339};

/// A policy template
#[derive(Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct TemplateForm {
    id: String,
    #[schema(example = "kylo:kylo:cckm:template:0190a1b2-0000-7000-8000-000000000000")]
    uri: String,
    #[schema(example = "kylo:kylo:admin:accounts:kylo")]
    account: String,
    /// RFC 3339, UTC, microseconds
    created_at: String,
    name: String,
    /// The key policy, an object
    #[schema(value_type = Object)]
    policy: Box<RawValue>,
}

impl TemplateForm {
    fn of(template: proto::Template) -> Result<Self, ApiError> {
        let policy = RawValue::from_string(template.policy).map_err(|error| {
            tracing::error!(template = template.id, %error, "A stored policy is not JSON.");
            ApiError::Internal
        })?;
        let account = template.tenant.split(':').next().unwrap_or_default();
        Ok(Self {
            uri: format!("{}:cckm:template:{}", template.tenant, template.id),
            account: format!("{}:admin:accounts:{account}", template.tenant),
            id: template.id,
            created_at: rfc3339(template.created_at_us),
            name: template.name,
            policy,
        })
    }
}
