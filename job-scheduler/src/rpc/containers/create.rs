//! CreateContainer: only written down. Neither STS nor KMS is asked, so a role that cannot be assumed shows with the first
//! key.

use job_model::ContainerId;
use keyfleet_proto::estate::v1 as wire;
use service_kit::clock::wall;
use tonic::Status;
use uuid::Uuid;

use super::{check, name_taken, to_wire};
use crate::{
    containers::Container,
    rpc::{Service, access::Access, refused},
    store::containers::Inserted,
};

pub(super) async fn create_container(
    service: &Service,
    request: wire::CreateContainerRequest,
) -> Result<wire::Container, Status> {
    let leader = service.leader()?;
    let access = Access::of(service, &request.tenant, request.rights)?;
    access.need_everything()?;
    let default = access.estate.default_one();
    let regions = if request.regions.is_empty() { default.regions.clone() } else { check::regions(request.regions)? };
    let now = wall();
    let container = Container {
        id: ContainerId::from_uuid(Uuid::now_v7()),
        tenant: access.tenant.clone(),
        name: check::name(request.name)?,
        account: check::account(request.account_id)?,
        regions,
        connection: check::connection(request.connection)?,
        role_arn: check::role_arn(request.assume_role_arn)?,
        external_id: check::external_id(request.assume_role_external_id)?,
        archived: false,
        acls: Vec::new(),
        created_at: now,
        updated_at: now,
    };
    check::role_of(&container.role_arn, &container.external_id)?;
    let account_taken =
        Status::already_exists(format!("account_id: there is a container for account {}", container.account));
    // Its own tenant may take the default one's account over; for all others it is as taken as any.
    if container.account == default.account && default.tenant != access.tenant {
        return Err(account_taken);
    }
    // A task of its own: a caller that leaves never cancels it inside a statement.
    let (context, new) = (service.context.clone(), container.clone());
    let inserted = tokio::spawn(async move {
        let inserted = context.store.container_insert(leader.epoch, &new, &request.created_by).await?;
        context.estates.refresh(&context.store).await.map(|()| inserted)
    })
    .await
    .map_err(|_| Status::internal("creating the container failed"))?
    .map_err(refused)?;
    match inserted {
        Inserted::New => {
            tracing::info!(container.id = %container.id, container.name, tenant = %container.tenant, "A container was created.");
            Ok(to_wire(&container))
        }
        Inserted::NameTaken => Err(name_taken(&container.name)),
        Inserted::AccountTaken => Err(account_taken),
    }
}
