//! `GET /api/v1/cckm/aws/synchronization-jobs/{id}`: how far one is.

use axum::{
    Json,
    extract::State,
    response::{IntoResponse, Response},
};
use keyfleet_proto::estate::v1 as proto;

use super::{SynchronizationForm, SynchronizationPath};
use crate::{app::App, auth::Caller, error::ApiError};

/// One synchronization.
#[utoipa::path(get, path = "/api/v1/cckm/aws/synchronization-jobs/{id}", operation_id = "get_synchronization", tag = "Keys",
    params(("id" = String, Path, description = "Its id")),
    responses((status = 200, description = "The synchronization", body = SynchronizationForm)))]
pub(crate) async fn get(
    State(app): State<App>,
    caller: Caller,
    SynchronizationPath(id): SynchronizationPath,
) -> Result<Response, ApiError> {
    let request =
        proto::GetSynchronizationRequest { rights: Some(caller.rights()), tenant: caller.tenant.to_string(), id };
    let found = app
        .scheduler
        .read_by(
            || app.scheduler.synchronizations(),
            |mut client| {
                let request = request.clone();
                async move { client.get_synchronization(request).await }
            },
        )
        .await?;
    Ok(Json(SynchronizationForm::of(found)).into_response())
}
