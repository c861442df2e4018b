//! `GET /api/v1/cckm/aws/templates`: the tenant's policy templates.

use axum::{
    Json,
    extract::State,
    response::{IntoResponse, Response},
};
use keyfleet_proto::jobs::v1 as proto;

use super::TemplateForm;
use crate::{app::App, auth::BulkCaller, error::ApiError, listing::Listing, page::Params};

/// The policy templates of the caller's tenant.
///
/// A parameter that does not exist is ignored.
#[utoipa::path(get, path = "/api/v1/cckm/aws/templates", operation_id = "list_templates", tag = "Policy templates",
    params(("skip" = Option<u32>, Query, description = "Templates to leave out; 0"),
        ("limit" = Option<u32>, Query, description = "Templates to give, 0 to 2,000; 10"),
        ("id" = Option<String>, Query, description = "Only the template of this id"),
        ("name" = Option<String>, Query, description = "Only templates of this name")),
    responses((status = 200, description = "The templates", body = Listing<TemplateForm>)))]
pub(crate) async fn list(
    State(app): State<App>,
    BulkCaller(caller): BulkCaller,
    params: Params,
) -> Result<Response, ApiError> {
    let page = params.page()?;
    let text = |name| params.first(name).unwrap_or_default().to_owned();
    let request = proto::ListTemplatesRequest {
        tenant: caller.tenant.to_string(),
        skip: page.skip,
        limit: page.limit,
        id: text("id"),
        name: text("name"),
    };
    if !request.id.is_empty() && request.id.parse::<uuid::Uuid>().is_err() {
        return Ok(Json(Listing::<TemplateForm>::new(page, 0, Vec::new())).into_response());
    }
    let mut client = app.scheduler.templates().await?;
    let found = app.scheduler.once(client.list_templates(request)).await?;
    let rows = found.templates.into_iter().map(TemplateForm::of).collect::<Result<_, _>>()?;
    Ok(Json(Listing::new(page, found.total, rows)).into_response())
}
