//! `GET /api/v1/cckm/aws/synchronization-jobs`: the tenant's synchronizations.

use axum::{
    Json,
    extract::State,
    response::{IntoResponse, Response},
};
use keyfleet_proto::estate::v1 as proto;

use super::SynchronizationForm;
use crate::{app::App, auth::Caller, error::ApiError, listing::Listing, page::Params};

/// The synchronizations of the caller's tenant, newest first.
///
/// A parameter that does not exist is ignored.
#[utoipa::path(get, path = "/api/v1/cckm/aws/synchronization-jobs", operation_id = "list_synchronizations", tag = "Keys",
    params(("skip" = Option<u32>, Query, description = "Synchronizations to leave out; 0"),
        ("limit" = Option<i32>, Query, description = "Synchronizations to give, 0 to 2,000, or -1 for 2,000; 10"),
        ("id" = Option<String>, Query, description = "Only the one of this id"),
        ("overall_status" = Option<String>, Query, description = "Only those that are in_progress, completed, error or canceled"),
        ("kms" = Option<String>, Query, description = "Only those of this container; may be repeated")),
    responses((status = 200, description = "The synchronizations", body = Listing<SynchronizationForm>)))]
pub(crate) async fn list(State(app): State<App>, caller: Caller, params: Params) -> Result<Response, ApiError> {
    let page = params.page()?;
    params.no_nul()?;
    let text = |name| params.first(name).unwrap_or_default().to_owned();
    let status = text("overall_status");
    if !["", "in_progress", "completed", "error", "canceled"].contains(&status.as_str()) {
        return Err(ApiError::BadRequest(format!(
            "overall_status: must be in_progress, completed, error or canceled, not {status:?}"
        )));
    }
    let request = proto::ListSynchronizationsRequest {
        rights: Some(caller.rights()),
        tenant: caller.tenant.to_string(),
        skip: page.skip,
        limit: page.limit,
        id: text("id"),
        overall_status: status,
        kms: params.all("kms"),
    };
    let found = app
        .scheduler
        .read_by(
            || app.scheduler.synchronizations(),
            |mut client| {
                let request = request.clone();
                async move { client.list_synchronizations(request).await }
            },
        )
        .await?;
    let rows = found.synchronizations.into_iter().map(SynchronizationForm::of).collect();
    Ok(Json(Listing::new(page, found.total, rows)).into_response())
}
