//! `PATCH /api/v1/cckm/aws/templates/{id}`: change a template's policy, and push it to the keys that have it.

use axum::{Json, extract::State, response::Response};
use keyfleet_proto::jobs::v1 as proto;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{TemplateForm, TemplatePath, policy};
use crate::{
    app::App,
    auth::Caller,
    content::JsonBody,
    error::{ApiError, Success},
};

/// What is to change; what is absent stays
#[derive(Deserialize, utoipa::ToSchema)]
pub(crate) struct TemplateChange {
    /// The key policy; takes the place of the lists
    #[schema(value_type = Option<Object>)]
    policy: Option<Box<RawValue>>,
    /// IAM users who administer keys; the policy is made anew of this and the other lists
    key_admins: Option<Vec<String>>,
    /// IAM roles that administer keys
    key_admins_roles: Option<Vec<String>>,
    /// IAM users who use keys
    key_users: Option<Vec<String>>,
    /// IAM roles that use keys
    key_users_roles: Option<Vec<String>>,
    /// Other AWS accounts that use keys
    external_accounts: Option<Vec<String>>,
    /// Put the policy on all keys that a job has put this template on last; pushed_by of the answer names the job that
    /// does
    auto_push: Option<bool>,
}

/// Change a policy template.
///
/// Without auto_push keys keep the policy that they have.
#[utoipa::path(patch, path = "/api/v1/cckm/aws/templates/{id}", operation_id = "update_template", tag = "Policy templates", request_body = TemplateChange,
    params(("id" = String, Path, description = "Its id or name")),
    responses((status = 200, description = "The template", body = TemplateForm)))]
pub(crate) async fn update(
    State(app): State<App>,
    caller: Caller,
    TemplatePath(template): TemplatePath,
    JsonBody(change): JsonBody<TemplateChange>,
) -> Result<Response, ApiError> {
    let names = |list: Option<Vec<String>>| list.map(|names| proto::Names { names });
    let request = proto::UpdateTemplateRequest {
        rights: Some(caller.rights()),
        tenant: caller.tenant.to_string(),
        template,
        updated_by: caller.subject,
        policy: change.policy.as_deref().map(policy::text).transpose()?.unwrap_or_default(),
        key_admins: names(change.key_admins),
        key_admins_roles: names(change.key_admins_roles),
        key_users: names(change.key_users),
        key_users_roles: names(change.key_users_roles),
        external_accounts: names(change.external_accounts),
        auto_push: change.auto_push.unwrap_or(false),
    };
    let mut client = app.scheduler.templates().await?;
    let answer = app.scheduler.once(client.update_template(request)).await?;
    let template = answer.template.ok_or(ApiError::Internal)?;
    let form = TemplateForm {
        pushed_by: (!answer.pushed_by.is_empty()).then_some(answer.pushed_by),
        ..TemplateForm::of(template)?
    };
    Ok(Success::Ok.of(Json(form)))
}
