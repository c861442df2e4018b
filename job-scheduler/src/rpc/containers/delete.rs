//! DeleteContainer: what was known of its keys goes with it; its jobs stay, for `admin` and `CCKM Admins` to read.

use keyfleet_proto::estate::v1 as wire;
use tonic::Status;

use super::{changeable, no_such_container};
use crate::{
    rpc::{Service, access::Access, refused},
    store::containers::Deleted,
};

pub(super) async fn delete_container(
    service: &Service,
    request: wire::GetContainerRequest,
) -> Result<wire::DeleteContainerResponse, Status> {
    let leader = service.leader()?;
    let access = Access::of(service, &request.tenant, request.rights)?;
    let container = changeable(&access, &request.container, "deleted")?;
    let (id, name) = (container.id, container.name.clone());
    // A task of its own: a caller that leaves never cancels it inside a statement.
    let context = service.context.clone();
    let deleted = tokio::spawn(async move {
        let deleted = context.store.container_delete(leader.epoch, id).await?;
        context.estates.refresh(&context.store).await.map(|()| deleted)
    })
    .await
    .map_err(|_| Status::internal("deleting the container failed"))?
    .map_err(refused)?;
    match deleted {
        Deleted::Done => {
            tracing::info!(container.id = %id, container.name = name, tenant = %access.tenant, "A container was deleted.");
            Ok(wire::DeleteContainerResponse {})
        }
        Deleted::Unknown => Err(no_such_container()),
        Deleted::JobsRun => Err(Status::failed_precondition(format!(
            "the container {name:?} has unfinished jobs; wait for them, or cancel them"
        ))),
        Deleted::Synchronizes => Err(Status::failed_precondition(format!(
            "the container {name:?} is being synchronized; wait, or cancel that"
        ))),
    }
}
