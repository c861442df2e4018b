//! `PATCH /api/v1/cckm/aws/kms/{id}`: change a container's name, its Regions, or how it is reached.

use axum::{
    Json,
    extract::State,
    response::{IntoResponse, Response},
};
use keyfleet_proto::estate::v1 as proto;
use serde::Deserialize;

use super::{ContainerForm, ContainerPath, fields};
use crate::{app::App, auth::Caller, content::JsonBody, error::ApiError};

/// What is to change; what is absent stays
#[derive(Deserialize, utoipa::ToSchema)]
pub(crate) struct ContainerChange {
    /// Another name; an empty one is as good as none
    #[schema(max_length = 255)]
    name: Option<String>,
    /// Cannot change: refused unless it is empty, as some clients send it
    account_id: Option<String>,
    /// All Regions, in the place of those before
    regions: Option<Vec<String>>,
    /// The name of an entry of the workers' configuration; empty for their standard credentials. Never a key
    #[schema(max_length = 128)]
    connection: Option<String>,
    /// The role to assume; empty for none
    assume_role_arn: Option<String>,
    /// The external id that the role asks for; empty for none
    assume_role_external_id: Option<String>,
}

/// Change a container.
///
/// Jobs that run go on with what has changed as soon as the workers know of it. For admins only.
#[utoipa::path(patch, path = "/api/v1/cckm/aws/kms/{id}", operation_id = "update_container", tag = "Containers", request_body = ContainerChange,
    params(("id" = String, Path, description = "Its id or name")),
    responses((status = 200, description = "The container", body = ContainerForm)))]
pub(crate) async fn update(
    State(app): State<App>,
    caller: Caller,
    ContainerPath(container): ContainerPath,
    JsonBody(change): JsonBody<ContainerChange>,
) -> Result<Response, ApiError> {
    if change.account_id.is_some_and(|account| !account.is_empty()) {
        return Err(ApiError::BadRequest("account_id: cannot be changed".to_owned()));
    }
    let checked = |text: Option<String>, check: fn(String) -> Result<String, ApiError>| {
        text.map(|text| fields::unless_empty(text, check)).transpose()
    };
    let request = proto::UpdateContainerRequest {
        rights: Some(caller.rights()),
        tenant: caller.tenant.to_string(),
        container,
        name: change.name.filter(|name| !name.is_empty()).map(renamed).transpose()?,
        regions: change
            .regions
            .map(fields::regions)
            .transpose()?
            .map(|regions| proto::update_container_request::Regions { regions }),
        connection: checked(change.connection, fields::connection)?,
        assume_role_arn: checked(change.assume_role_arn, fields::role_arn)?,
        assume_role_external_id: checked(change.assume_role_external_id, fields::external_id)?,
    };
    let mut client = app.scheduler.containers().await?;
    let changed = app.scheduler.once(client.update_container(request)).await?;
    Ok(Json(ContainerForm::of(changed)).into_response())
}

fn renamed(name: String) -> Result<String, ApiError> {
    fields::name(fields::needed("name", Some(name))?)
}
