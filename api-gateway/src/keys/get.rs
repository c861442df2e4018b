//! `GET /api/v1/cckm/aws/keys/{id}`: one registered key.

use axum::{
    Json,
    extract::{Path, State},
    response::{IntoResponse, Response},
};
use keyfleet_proto::estate::v1 as proto;

use super::KeyForm;
use crate::{app::App, auth::Caller, error::ApiError};

/// One registered key.
#[utoipa::path(get, path = "/api/v1/cckm/aws/keys/{id}", operation_id = "get_key", tag = "Keys",
    params(("id" = String, Path, description = "The registered resource's id, a UUID")),
    responses((status = 200, description = "The key", body = KeyForm)))]
pub(crate) async fn get(
    State(app): State<App>,
    caller: Caller,
    path: Result<Path<String>, axum::extract::rejection::PathRejection>,
) -> Result<Response, ApiError> {
    let none = || ApiError::NotFound("there is no key of this id".to_owned());
    let Path(id) = path.map_err(|_| none())?;
    let request = proto::GetKeyRequest { rights: Some(caller.rights()), tenant: caller.tenant.to_string(), id };
    let key = app
        .scheduler
        .read_by(
            || app.scheduler.keys(),
            |mut client| {
                let request = request.clone();
                async move { client.get_key(request).await }
            },
        )
        .await?;
    Ok(Json(KeyForm::of(key)?).into_response())
}
