//! `GET /api/v1/cckm/aws/templates/{id}`: one policy template, by id or name.

use axum::{
    Json,
    extract::State,
    response::{IntoResponse, Response},
};
use keyfleet_proto::jobs::v1 as proto;

use super::{TemplateForm, TemplatePath};
use crate::{app::App, auth::Caller, error::ApiError};

/// One policy template.
#[utoipa::path(get, path = "/api/v1/cckm/aws/templates/{id}", operation_id = "get_template", tag = "Policy templates",
    params(("id" = String, Path, description = "Its id or name")),
    responses((status = 200, description = "The template", body = TemplateForm)))]
pub(crate) async fn get(
    State(app): State<App>,
    caller: Caller,
    TemplatePath(template): TemplatePath,
) -> Result<Response, ApiError> {
    let request =
        proto::GetTemplateRequest { rights: Some(caller.rights()), tenant: caller.tenant.to_string(), template };
    let found = app
        .scheduler
        .read_by(
            || app.scheduler.templates(),
            |mut client| {
                let request = request.clone();
                async move { client.get_template(request).await }
            },
        )
        .await?;
    Ok(Json(TemplateForm::of(found)?).into_response())
}
