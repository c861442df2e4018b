//! `POST /api/v1/cckm/aws/synchronization-jobs`: bring the registered keys up to date with KMS.

use axum::{Json, extract::State, response::Response};
use keyfleet_proto::estate::v1 as proto;
use serde::Deserialize;

use super::SynchronizationForm;
use crate::{
    app::App,
    auth::Caller,
    content::JsonBody,
    error::{ApiError, Success},
};

/// What a client sends
#[derive(Deserialize, utoipa::ToSchema)]
pub(crate) struct NewSynchronization {
    /// Containers, by name or id
    kms: Option<Vec<String>>,
    /// Regions of these; all of each container when absent
    regions: Option<Vec<String>>,
    /// Instead: all containers and Regions
    synchronize_all: Option<bool>,
}

/// Start a synchronization.
///
/// It runs by itself; poll it until it is no longer in progress. Refused with 409 while one runs for one of the containers.
#[utoipa::path(post, path = "/api/v1/cckm/aws/synchronization-jobs", operation_id = "create_synchronization", tag = "Keys", request_body = NewSynchronization,
    responses((status = 201, description = "The synchronization", body = SynchronizationForm)))]
pub(crate) async fn create(
    State(app): State<App>,
    caller: Caller,
    JsonBody(new): JsonBody<NewSynchronization>,
) -> Result<Response, ApiError> {
    let request = proto::CreateSynchronizationRequest {
        rights: Some(caller.rights()),
        tenant: caller.tenant.to_string(),
        created_by: caller.subject,
        kms: new.kms.unwrap_or_default(),
        regions: new.regions.unwrap_or_default(),
        all: new.synchronize_all.unwrap_or(false),
    };
    let mut client = app.scheduler.synchronizations().await?;
    let made = app.scheduler.once(client.create_synchronization(request)).await?;
    Ok(Success::Created.of(Json(SynchronizationForm::of(made))))
}
