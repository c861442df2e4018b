//! CancelSynchronization: the commit ends it; a page that is on its way then finds that it came too late.

use keyfleet_proto::estate::v1 as wire;
use service_kit::clock::wall;
use tonic::Status;

use super::{no_such_sync, read, sync_id};
use crate::{
    leader::Event,
    rpc::{Service, refused, tenant},
};

pub(super) async fn cancel_synchronization(
    service: &Service,
    request: wire::GetSynchronizationRequest,
) -> Result<wire::Synchronization, Status> {
    let leader = service.leader()?;
    let tenant = tenant(&request.tenant)?;
    let id = sync_id(&request.id)?;
    let (own, whose) = (service.clone(), tenant.clone());
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
    read(service, &tenant, id).await
}
