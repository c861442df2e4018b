//! A key as the API writes it: the resource's own fields, and `aws_param` in AWS's names.

use keyfleet_proto::estate::v1 as proto;
use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::{error::ApiError, times::rfc3339};

/// A registered key
#[derive(Serialize, utoipa::ToSchema)]
pub(crate) struct KeyForm {
    id: String,
    #[schema(example = "kylo:kylo:cckm:aws-key:0190a1b2-0000-7000-8000-000000000000")]
    uri: String,
    #[schema(example = "kylo:kylo:admin:accounts:kylo")]
    account: String,
    /// When it was registered: RFC 3339, UTC, microseconds
    #[serde(rename = "createdAt")]
    created_at: String,
    /// When something of it changed
    #[serde(rename = "updatedAt")]
    updated_at: String,
    /// When KMS told of it last
    synced_at: String,
    #[schema(example = "aws")]
    cloud_name: &'static str,
    /// Its container's name
    kms: String,
    kms_id: String,
    region: String,
    /// The last whole synchronization did not find it
    gone: bool,
    /// When it is deleted, null while it is not to be
    deletion_date: Option<String>,
    /// The policy template that a job put on it last, null for none
    cckm_policy_template_id: Option<String>,
    /// What KMS tells of it, in AWS's names
    #[schema(value_type = Object)]
    aws_param: Value,
}

impl KeyForm {
    pub(crate) fn of(key: proto::Key) -> Result<Self, ApiError> {
        let account = key.tenant.split(':').next().unwrap_or_default();
        Ok(Self {
            uri: format!("{}:cckm:aws-key:{}", key.tenant, key.id),
            account: format!("{}:admin:accounts:{account}", key.tenant),
            created_at: rfc3339(key.created_at_us),
            updated_at: rfc3339(key.updated_at_us),
            synced_at: rfc3339(key.synced_at_us),
            cloud_name: partition(&key.arn),
            gone: key.gone,
            deletion_date: key.deletion_date_us.map(rfc3339),
            cckm_policy_template_id: Some(key.policy_template_id.clone()).filter(|id| !id.is_empty()),
            aws_param: aws_param(&key)?,
            id: key.id,
            kms: key.kms,
            kms_id: key.kms_id,
            region: key.region,
        })
    }
}

/// The cloud, by the ARN's partition.
fn partition(arn: &str) -> &'static str {
    match arn.split(':').nth(1) {
        Some("aws-cn") => "aws-cn",
        Some("aws-us-gov") => "aws-us-gov",
        Some(_) | None => "aws",
    }
}

fn aws_param(key: &proto::Key) -> Result<Value, ApiError> {
    let mut all: Map<String, Value> = serde_json::from_str(&key.metadata).map_err(|error| {
        tracing::error!(key = key.id, %error, "A key's stored description is no JSON object.");
        ApiError::Internal
    })?;
    let mut tags: Vec<_> = key.tags.iter().collect();
    tags.sort_unstable();
    let tags: Vec<Value> = tags.into_iter().map(|(name, value)| json!({"TagKey": name, "TagValue": value})).collect();
    for (name, value) in [
        ("Alias", json!(key.aliases)),
        ("Arn", json!(key.arn)),
        ("Enabled", json!(key.state == "Enabled")),
        // CCKM writes it so, AWS the other way.
        ("KeyID", json!(key.key_id)),
        ("KeyId", json!(key.key_id)),
        ("KeyState", json!(key.state)),
        ("Tags", json!(tags)),
    ] {
        all.insert(name.to_owned(), value);
    }
    if let Some(date) = key.deletion_date_us {
        all.insert("DeletionDate".to_owned(), json!(rfc3339(date)));
    }
    Ok(Value::Object(all))
}
