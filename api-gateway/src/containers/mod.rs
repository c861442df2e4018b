//! Containers, which the API calls kms: AWS accounts with their Regions. One file per call, and what the calls share.
//!
//! No secret ever enters here: a container names a connection, and what stands behind the name only the workers know.
//! What is checked here is the form of each field; who may do what, and what is taken or in use, the scheduler decides.

pub(crate) mod archive;
pub(crate) mod create;
pub(crate) mod delete;
mod fields;
pub(crate) mod get;
pub(crate) mod list;
pub(crate) mod recover;
pub(crate) mod update;
pub(crate) mod update_acls;

use axum::extract::{FromRequestParts, Path};
use http::request::Parts;
use keyfleet_proto::estate::v1 as proto;
use serde::Serialize;

use crate::{app::App, auth::Caller, error::ApiError, times::rfc3339};

/// A container
#[derive(Serialize, utoipa::ToSchema)]
pub(crate) struct ContainerForm {
    id: String,
    #[schema(example = "kylo:kylo:cckm:kms:0190a1b2-0000-7000-8000-000000000000")]
    uri: String,
    #[schema(example = "kylo:kylo:admin:accounts:kylo")]
    account: String,
    /// RFC 3339, UTC, microseconds
    #[serde(rename = "createdAt")]
    created_at: String,
    #[serde(rename = "updatedAt")]
    updated_at: String,
    name: String,
    /// The AWS account: 12 digits
    account_id: String,
    /// The first is where a key named by a bare id is looked for
    regions: Vec<String>,
    /// The AWS partition of the Regions
    #[schema(example = "aws")]
    cloud_name: &'static str,
    /// The name of an entry of the workers' configuration, null for their standard credentials
    connection: Option<String>,
    /// The role that is assumed with the connection's credentials, null for none
    assume_role_arn: Option<String>,
    /// The external id that is named when the role is assumed, null for none
    assume_role_external_id: Option<String>,
    /// Whom the keys are called as, as far as it is known here: the role; null without one
    arn: Option<String>,
    /// No new job takes keys of it
    archived: bool,
    /// Who may do what with its keys, besides the members of admin and CCKM Admins
    acls: Vec<AclForm>,
}

/// What one user or group may do
#[derive(Serialize, utoipa::ToSchema)]
pub(crate) struct AclForm {
    /// A user, or else a group stands here
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    user_id: Option<String>,
    /// A group, or else a user stands here
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    group: Option<String>,
    /// What is permitted
    actions: Vec<String>,
}

impl ContainerForm {
    fn of(container: proto::Container) -> Self {
        let account = container.tenant.split(':').next().unwrap_or_default();
        let role = some(container.assume_role_arn);
        Self {
            uri: format!("{}:cckm:kms:{}", container.tenant, container.id),
            account: format!("{}:admin:accounts:{account}", container.tenant),
            id: container.id,
            created_at: rfc3339(container.created_at_us),
            updated_at: rfc3339(container.updated_at_us),
            name: container.name,
            account_id: container.account_id,
            cloud_name: partition(&container.regions),
            regions: container.regions,
            connection: some(container.connection),
            arn: role.clone(),
            assume_role_arn: role,
            assume_role_external_id: some(container.assume_role_external_id),
            archived: container.archived,
            acls: container.acls.into_iter().map(AclForm::of).collect(),
        }
    }
}

impl AclForm {
    fn of(acl: proto::Acl) -> Self {
        Self { user_id: some(acl.user_id), group: some(acl.group), actions: acl.actions }
    }
}

fn some(text: String) -> Option<String> {
    (!text.is_empty()).then_some(text)
}

/// The AWS partition that the Regions are of: an account is of one.
fn partition(regions: &[String]) -> &'static str {
    match regions.first().map_or("", String::as_str) {
        region if region.starts_with("cn-") => "aws-cn",
        region if region.starts_with("us-gov-") => "aws-us-gov",
        _ => "aws",
    }
}

/// The container a path names, by id or name. What no name can be is one that nobody has.
pub(crate) struct ContainerPath(String);

impl ContainerPath {
    /// Asks about this container, as this caller.
    fn asked_by(self, caller: &Caller) -> proto::GetContainerRequest {
        proto::GetContainerRequest {
            rights: Some(caller.rights()),
            tenant: caller.tenant.to_string(),
            container: self.0,
        }
    }
}

impl FromRequestParts<App> for ContainerPath {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, ApiError> {
        let path = Path::<String>::from_request_parts(parts, app).await;
        path.ok()
            .map(|Path(text)| text)
            .filter(|text| !text.contains('\0'))
            .map(Self)
            .ok_or_else(|| ApiError::NotFound("there is no container of this id or name".to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_partition_is_that_of_the_regions() {
        for (region, told) in
            [("eu-west-1", "aws"), ("cn-north-1", "aws-cn"), ("us-gov-west-1", "aws-us-gov"), ("us-east-1", "aws")]
        {
            assert_eq!(partition(&[region.to_owned(), "eu-west-1".to_owned()]), told);
        }
        assert_eq!(partition(&[]), "aws");
    }
}
