//! `POST /api/v1/cckm/aws/kms/{id}/archive`: take a container out of service.

use axum::{
    Json,
    extract::State,
    response::{IntoResponse, Response},
};

use super::{ContainerForm, ContainerPath};
use crate::{app::App, auth::Caller, error::ApiError};

/// Archive a container.
///
/// No new job takes keys of it and it is not synchronized, until it is recovered; what runs goes on. Archiving again changes nothing. Any body is ignored. For admins only.
#[utoipa::path(post, path = "/api/v1/cckm/aws/kms/{id}/archive", operation_id = "archive_container", tag = "Containers",
    params(("id" = String, Path, description = "Its id or name")),
    responses((status = 200, description = "The container", body = ContainerForm)))]
pub(crate) async fn archive(State(app): State<App>, caller: Caller, path: ContainerPath) -> Result<Response, ApiError> {
    let request = path.asked_by(&caller);
    let archived = app
        .scheduler
        .read_by(
            || app.scheduler.containers(),
            |mut client| {
                let request = request.clone();
                async move { client.archive_container(request).await }
            },
        )
        .await?;
    Ok(Json(ContainerForm::of(archived)).into_response())
}
