//! `DELETE /api/v1/cckm/aws/kms/{id}`: forget a container and its registered keys. AWS is not told.

use axum::{extract::State, response::Response};

use super::ContainerPath;
use crate::{
    app::App,
    auth::Caller,
    error::{ApiError, Success},
};

/// Delete a container.
///
/// Its registered keys are forgotten with it; the keys in AWS stay as they are. Refused with 409 while a job or a synchronization of it runs. For admins only.
#[utoipa::path(delete, path = "/api/v1/cckm/aws/kms/{id}", operation_id = "delete_container", tag = "Containers",
    params(("id" = String, Path, description = "Its id or name")),
    responses((status = 204, description = "It is gone")))]
pub(crate) async fn delete(State(app): State<App>, caller: Caller, path: ContainerPath) -> Result<Response, ApiError> {
    let mut client = app.scheduler.containers().await?;
    app.scheduler.once(client.delete_container(path.asked_by(&caller))).await?;
    Ok(Success::NoContent.of(()))
}
