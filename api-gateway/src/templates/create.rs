//! `POST /api/v1/cckm/aws/templates`: keep a key policy under a name.

use axum::{Json, extract::State, response::Response};
use keyfleet_proto::jobs::v1 as proto;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{TemplateForm, policy};
use crate::{
    app::App,
    auth::Caller,
    content::JsonBody,
    error::{ApiError, Success},
};

/// The longest name, in characters.
const LONGEST_NAME: usize = 255;

/// What a client sends
#[derive(Deserialize, utoipa::ToSchema)]
pub(crate) struct NewTemplate {
    /// 1 to 255 characters
    #[schema(value_type = String, required, min_length = 1, max_length = 255)]
    name: Option<String>,
    /// The container it is for, by name or id; the default one when absent
    kms: Option<String>,
    /// Instead of it: the AWS account of a container
    account_id: Option<String>,
    /// The key policy: an object, or a string that holds one; at most 32 KB. Instead of it the lists below, of which a
    /// policy is made; without any of them AWS's default policy
    #[schema(value_type = Option<Object>)]
    policy: Option<Box<RawValue>>,
    /// IAM users who administer keys: names or ARNs
    key_admins: Option<Vec<String>>,
    /// IAM roles that administer keys
    key_admins_roles: Option<Vec<String>>,
    /// IAM users who use keys
    key_users: Option<Vec<String>>,
    /// IAM roles that use keys
    key_users_roles: Option<Vec<String>>,
    /// Other AWS accounts that use keys: 12 digits each
    external_accounts: Option<Vec<String>>,
}

/// Create a policy template.
#[utoipa::path(post, path = "/api/v1/cckm/aws/templates", operation_id = "create_template", tag = "Policy templates", request_body = NewTemplate,
    responses((status = 201, description = "The template", body = TemplateForm)))]
pub(crate) async fn create(
    State(app): State<App>,
    caller: Caller,
    JsonBody(new): JsonBody<NewTemplate>,
) -> Result<Response, ApiError> {
    let lists = [&new.key_admins, &new.key_admins_roles, &new.key_users, &new.key_users_roles, &new.external_accounts];
    let grants = lists.iter().any(|list| list.is_some()).then(|| proto::Grants {
        key_admins: new.key_admins.clone().unwrap_or_default(),
        key_admins_roles: new.key_admins_roles.clone().unwrap_or_default(),
        key_users: new.key_users.clone().unwrap_or_default(),
        key_users_roles: new.key_users_roles.clone().unwrap_or_default(),
        external_accounts: new.external_accounts.clone().unwrap_or_default(),
    });
    let request = proto::CreateTemplateRequest {
        rights: Some(caller.rights()),
        tenant: caller.tenant.to_string(),
        name: name(new.name)?,
        policy: new.policy.as_deref().map(policy::text).transpose()?.unwrap_or_default(),
        created_by: caller.subject,
        kms: named("kms", new.kms)?,
        account_id: named("account_id", new.account_id)?,
        grants,
    };
    let mut client = app.scheduler.templates().await?;
    let template = app.scheduler.once(client.create_template(request)).await?;
    Ok(Success::Created.of(Json(TemplateForm::of(template)?)))
}

fn name(name: Option<String>) -> Result<String, ApiError> {
    let bad = |why: &str| Err(ApiError::BadRequest(format!("name: {why}")));
    match name {
        None => bad("is missing"),
        Some(name) if name.trim().is_empty() => bad("is empty"),
        Some(name) if name.chars().count() > LONGEST_NAME => bad("is longer than 255 characters"),
        Some(name) if name.contains('\0') => bad("has a NUL character"),
        Some(name) => Ok(name),
    }
}

/// A name that may be absent, but not empty.
fn named(field: &str, name: Option<String>) -> Result<String, ApiError> {
    match name {
        None => Ok(String::new()),
        Some(name) if name.is_empty() => Err(ApiError::BadRequest(format!("{field}: is empty"))),
        Some(name) if name.contains('\0') => Err(ApiError::BadRequest(format!("{field}: has a NUL character"))),
        Some(name) => Ok(name),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_there_and_not_too_long() {
        assert_eq!(name(Some("ä".repeat(255))).unwrap().chars().count(), 255);
        for bad in [None, Some(String::new()), Some(" ".to_owned()), Some("x".repeat(256)), Some("a\0".to_owned())] {
            assert!(name(bad).is_err());
        }
        assert_eq!(named("kms", None).unwrap(), "");
        assert!(named("kms", Some(String::new())).is_err());
    }
}
