//! `GET /api/v1/cckm/aws/kms/{id}`: one container, by id or name.

use axum::{
    Json,
    extract::State,
    response::{IntoResponse, Response},
};

use super::{ContainerForm, ContainerPath};
use crate::{app::App, auth::Caller, error::ApiError};

/// One container.
#[utoipa::path(get, path = "/api/v1/cckm/aws/kms/{id}", operation_id = "get_container", tag = "Containers",
    params(("id" = String, Path, description = "Its id or name")),
    responses((status = 200, description = "The container", body = ContainerForm)))]
pub(crate) async fn get(State(app): State<App>, caller: Caller, path: ContainerPath) -> Result<Response, ApiError> {
    let request = path.asked_by(&caller);
    let found = app
        .scheduler
        .read_by(
            || app.scheduler.containers(),
            |mut client| {
                let request = request.clone();
                async move { client.get_container(request).await }
            },
        )
        .await?;
    Ok(Json(ContainerForm::of(found)).into_response())
}
