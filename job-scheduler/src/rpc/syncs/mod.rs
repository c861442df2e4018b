//! Synchronizations: one file per call.

mod cancel;
mod create;
mod list;

use job_model::SyncId;
use keyfleet_proto::estate::v1::{self as wire, synchronizations_server::Synchronizations};
use tonic::{Request, Response, Status};

use super::{
    Service,
    access::{Access, Action},
    convert::micros,
    refused,
};
use crate::store::syncs::Sync;

#[tonic::async_trait]
impl Synchronizations for Service {
    async fn create_synchronization(
        &self,
        request: Request<wire::CreateSynchronizationRequest>,
    ) -> Result<Response<wire::Synchronization>, Status> {
        create::create_synchronization(self, request.into_inner()).await.map(Response::new)
    }

    async fn list_synchronizations(
        &self,
        request: Request<wire::ListSynchronizationsRequest>,
    ) -> Result<Response<wire::ListSynchronizationsResponse>, Status> {
        list::list_synchronizations(self, request.into_inner()).await.map(Response::new)
    }

    async fn get_synchronization(
        &self,
        request: Request<wire::GetSynchronizationRequest>,
    ) -> Result<Response<wire::Synchronization>, Status> {
        self.leader()?;
        let request = request.into_inner();
        let access = Access::of(self, &request.tenant, request.rights)?;
        let sync = read(self, &access, sync_id(&request.id)?).await?;
        need(&access, &sync, Action::View)?;
        Ok(Response::new(to_wire(&access, sync)))
    }

    async fn cancel_synchronization(
        &self,
        request: Request<wire::GetSynchronizationRequest>,
    ) -> Result<Response<wire::Synchronization>, Status> {
        cancel::cancel_synchronization(self, request.into_inner()).await.map(Response::new)
    }
}

fn no_such_sync() -> Status {
    Status::not_found("there is no synchronization of this id")
}

fn sync_id(text: &str) -> Result<SyncId, Status> {
    text.parse().map_err(|_| no_such_sync())
}

async fn read(service: &Service, access: &Access, id: SyncId) -> Result<Sync, Status> {
    service.context.store.sync_get(&access.tenant, id).await.map_err(refused)?.ok_or_else(no_such_sync)
}

/// Refuses who may not do this with all containers of the synchronization.
fn need(access: &Access, sync: &Sync, action: Action) -> Result<(), Status> {
    sync.parts.iter().try_for_each(|part| access.need_for(Some(&part.account), action))
}

/// The containers by their names of now; those that are gone by those of then.
fn to_wire(access: &Access, mut sync: Sync) -> wire::Synchronization {
    for part in &mut sync.parts {
        if let Some(container) = access.of_account(&part.account)
            && container.name != part.kms
        {
            let then = std::mem::replace(&mut part.kms, container.name.clone());
            for name in sync.kms.iter_mut().filter(|name| **name == then) {
                name.clone_from(&part.kms);
            }
        }
    }
    let parts = sync.parts.into_iter().map(|part| wire::SynchronizationPart {
        status: match (part.step.as_str(), part.detail) {
            (_, Some(detail)) => format!("Failed: {detail}"),
            ("done", None) => "completed".to_owned(),
            ("canceled", None) => "canceled".to_owned(),
            (_, None) => "in_progress".to_owned(),
        },
        kms: part.kms,
        region: part.region,
        keys: part.keys.into(),
        skipped: part.skipped.into(),
    });
    wire::Synchronization {
        id: sync.id.to_string(),
        tenant: access.tenant.to_string(),
        parts: parts.collect(),
        kms: sync.kms,
        regions: sync.regions,
        all: sync.all,
        overall_status: sync.status,
        created_at_us: micros(sync.created_at),
        updated_at_us: micros(sync.updated_at),
        completed_at_us: sync.completed_at.map(micros),
    }
}
