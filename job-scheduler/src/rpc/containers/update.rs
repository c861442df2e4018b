//! UpdateContainer: all but the account, which keys and jobs are filed by. Running jobs reach their keys the new way from
//! their next try on.

use keyfleet_proto::estate::v1 as wire;
use service_kit::clock::wall;
use tonic::Status;

use super::{change, changeable, check, name_taken, no_such_container};
use crate::{
    rpc::{Service, access::Access},
    store::containers::{Changed, ContainerChange},
};

pub(super) async fn update_container(
    service: &Service,
    request: wire::UpdateContainerRequest,
) -> Result<wire::Container, Status> {
    service.leader()?;
    let access = Access::of(service, &request.tenant, request.rights)?;
    let container = changeable(&access, &request.container, "changed but for its ACLs")?;
    let id = container.id;
    let new = ContainerChange {
        name: request.name.map(check::name).transpose()?,
        regions: request.regions.map(|regions| check::regions(regions.regions)).transpose()?,
        connection: request.connection.map(check::connection).transpose()?,
        role_arn: request.assume_role_arn.map(check::role_arn).transpose()?,
        external_id: request.assume_role_external_id.map(check::external_id).transpose()?,
    };
    check::role_of(
        new.role_arn.as_ref().unwrap_or(&container.role_arn),
        new.external_id.as_ref().unwrap_or(&container.external_id),
    )?;
    let name = new.name.clone().unwrap_or_default();
    let (changed, found) = change(service, &access, id, |store, leader| async move {
        store.container_update(leader.epoch, id, &new, wall()).await
    })
    .await?;
    match changed {
        Changed::Done => found.ok_or_else(no_such_container),
        Changed::Unknown => Err(no_such_container()),
        Changed::NameTaken => Err(name_taken(&name)),
    }
}
