//! `POST /api/v1/cckm/aws/kms`: name an AWS account with its Regions and how it is reached.

use axum::{Json, extract::State, response::Response};
use keyfleet_proto::estate::v1 as proto;
use serde::Deserialize;

use super::{ContainerForm, fields};
use crate::{
    app::App,
    auth::Caller,
    content::JsonBody,
    error::{ApiError, Success},
};

/// What a client sends
#[derive(Deserialize, utoipa::ToSchema)]
pub(crate) struct NewContainer {
    /// 1 to 255 characters, one of a kind in the tenant; not of the form of an id
    #[schema(value_type = String, required, min_length = 1, max_length = 255)]
    name: Option<String>,
    /// The AWS account: 12 digits
    #[schema(value_type = String, required, pattern = "^[0-9]{12}$")]
    account_id: Option<String>,
    /// 1 to 64 Regions of the account, each once; the default Region alone when absent
    regions: Option<Vec<String>>,
    /// The name of an entry of the workers' configuration; their standard credentials when absent or empty. Never a key
    #[schema(max_length = 128)]
    connection: Option<String>,
    /// A role to assume with the connection's credentials
    assume_role_arn: Option<String>,
    /// The external id that the role asks for; only together with a role
    assume_role_external_id: Option<String>,
}

/// Create a container.
///
/// Neither STS nor KMS is asked: whether the account can be reached is seen with the first synchronization or job. For admins only.
#[utoipa::path(post, path = "/api/v1/cckm/aws/kms", operation_id = "create_container", tag = "Containers", request_body = NewContainer,
    responses((status = 201, description = "The container", body = ContainerForm)))]
pub(crate) async fn create(
    State(app): State<App>,
    caller: Caller,
    JsonBody(new): JsonBody<NewContainer>,
) -> Result<Response, ApiError> {
    let request = proto::CreateContainerRequest {
        rights: Some(caller.rights()),
        tenant: caller.tenant.to_string(),
        created_by: caller.subject,
        name: fields::name(fields::needed("name", new.name)?)?,
        account_id: fields::account_id(fields::needed("account_id", new.account_id)?)?,
        regions: new.regions.map(fields::regions).transpose()?.unwrap_or_default(),
        connection: fields::unless_empty(new.connection.unwrap_or_default(), fields::connection)?,
        assume_role_arn: fields::unless_empty(new.assume_role_arn.unwrap_or_default(), fields::role_arn)?,
        assume_role_external_id: fields::unless_empty(
            new.assume_role_external_id.unwrap_or_default(),
            fields::external_id,
        )?,
    };
    if request.assume_role_arn.is_empty() && !request.assume_role_external_id.is_empty() {
        return Err(ApiError::BadRequest("assume_role_external_id: needs an assume_role_arn".to_owned()));
    }
    let mut client = app.scheduler.containers().await?;
    let container = app.scheduler.once(client.create_container(request)).await?;
    Ok(Success::Created.of(Json(ContainerForm::of(container))))
}
