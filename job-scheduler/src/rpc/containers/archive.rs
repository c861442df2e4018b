//! ArchiveContainer: from here on no new job takes its keys and no synchronization begins; what runs goes on.

use keyfleet_proto::estate::v1 as wire;
use service_kit::clock::wall;
use tonic::Status;

use super::{change, changeable, no_such_container};
use crate::rpc::{Service, access::Access};

pub(super) async fn archive_container(
    service: &Service,
    request: wire::GetContainerRequest,
) -> Result<wire::Container, Status> {
    service.leader()?;
    let access = Access::of(service, &request.tenant, request.rights)?;
    let id = changeable(&access, &request.container, "archived")?.id;
    let (_, found) = change(service, &access, id, |store, leader| async move {
        store.container_archive(leader.epoch, id, true, wall()).await
    })
    .await?;
    found.ok_or_else(no_such_container)
}
