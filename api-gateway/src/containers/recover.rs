//! `POST /api/v1/cckm/aws/kms/{id}/recover`: take an archived container back into service.

use axum::{
    Json,
    extract::State,
    response::{IntoResponse, Response},
};

use super::{ContainerForm, ContainerPath};
use crate::{app::App, auth::Caller, error::ApiError};

/// Recover an archived container.
///
/// One that is not archived stays as it is. Any body is ignored. For admins only.
#[utoipa::path(post, path = "/api/v1/cckm/aws/kms/{id}/recover", operation_id = "recover_container", tag = "Containers",
    params(("id" = String, Path, description = "Its id or name")),
    responses((status = 200, description = "The container", body = ContainerForm)))]
pub(crate) async fn recover(State(app): State<App>, caller: Caller, path: ContainerPath) -> Result<Response, ApiError> {
    let request = path.asked_by(&caller);
    let recovered = app
        .scheduler
        .read_by(
            || app.scheduler.containers(),
            |mut client| {
                let request = request.clone();
                async move { client.recover_container(request).await }
            },
        )
        .await?;
    Ok(Json(ContainerForm::of(recovered)).into_response())
}
