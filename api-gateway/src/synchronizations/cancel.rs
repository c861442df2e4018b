//! `POST /api/v1/cckm/aws/synchronization-jobs/{id}/cancel`: end one where it is. It only reads, so there is nothing to
//! wait for.

use axum::{
    Json,
    extract::State,
    response::{IntoResponse, Response},
};
use keyfleet_proto::estate::v1 as proto;

use super::{SynchronizationForm, SynchronizationPath};
use crate::{app::App, auth::Caller, error::ApiError};

/// Cancel a synchronization.
///
/// What it has read stays, and no key is marked gone. One that has ended stays as it ended. Any body is ignored.
#[utoipa::path(post, path = "/api/v1/cckm/aws/synchronization-jobs/{id}/cancel", operation_id = "cancel_synchronization", tag = "Keys",
    params(("id" = String, Path, description = "Its id")),
    responses((status = 200, description = "The synchronization, ended", body = SynchronizationForm)))]
pub(crate) async fn cancel(
    State(app): State<App>,
    caller: Caller,
    SynchronizationPath(id): SynchronizationPath,
) -> Result<Response, ApiError> {
    let request =
        proto::GetSynchronizationRequest { rights: Some(caller.rights()), tenant: caller.tenant.to_string(), id };
    let ended = app
        .scheduler
        .read_by(
            || app.scheduler.synchronizations(),
            |mut client| {
                let request = request.clone();
                async move { client.cancel_synchronization(request).await }
            },
        )
        .await?;
    Ok(Json(SynchronizationForm::of(ended)).into_response())
}
