//! CancelSynchronization: the commit ends it; a page that is on its way then finds that it came too late.

use keyfleet_proto::estate::v1 as wire;
use service_kit::clock::wall;
use tonic::Status;

use super::{need, no_such_sync, read, sync_id, to_wire};
use crate::{
    leader::Event,
    rpc::{
        Service,
        access::{Access, Action},
        refused,
    },
};

pub(super) async fn cancel_synchronization(
    service: &Service,
    request: wire::GetSynchronizationRequest,
) -> Result<wire::Synchronization, Status> {
    let leader = service.leader()?;
    let access = Access::of(service, &request.tenant, request.rights)?;
    let id = sync_id(&request.id)?;
    need(&access, &read(service, &access, id).await?, Action::SynchronizeCancel)?;
    let (own, whose) = (service.clone(), access.tenant.clone());
    tokio::spawn(async move {
        let known = own.context.store.sync_cancel(leader.epoch, &whose, id, wall()).await.map_err(refused)?;
        if !known {
            return Err(no_such_sync());
        }
        let _ = leader.tell(Event::WalksCanceled(id)).await;
        Ok(())
    })
    .await
    .map_err(|_| Status::internal("canceling the synchronization failed"))??;
    let sync = read(service, &access, id).await?;
    Ok(to_wire(&access, sync))
}
