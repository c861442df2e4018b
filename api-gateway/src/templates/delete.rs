//! `DELETE /api/v1/cckm/aws/templates/{id}`: forget a policy template. Keys keep their policy, and jobs their text.

use axum::{extract::State, response::Response};
use keyfleet_proto::jobs::v1 as proto;

use super::TemplatePath;
use crate::{
    app::App,
    auth::Caller,
    error::{ApiError, Success},
};

/// Delete a policy template.
///
/// Keys keep their policy, and jobs that were made with it the text they were made with.
#[utoipa::path(delete, path = "/api/v1/cckm/aws/templates/{id}", operation_id = "delete_template", tag = "Policy templates",
    params(("id" = String, Path, description = "Its id or name")),
    responses((status = 204, description = "It is gone")))]
pub(crate) async fn delete(
    State(app): State<App>,
    caller: Caller,
    TemplatePath(template): TemplatePath,
) -> Result<Response, ApiError> {
    let request =
        proto::DeleteTemplateRequest { rights: Some(caller.rights()), tenant: caller.tenant.to_string(), template };
    let mut client = app.scheduler.templates().await?;
    app.scheduler.once(client.delete_template(request)).await?;
    Ok(Success::NoContent.of(()))
}
