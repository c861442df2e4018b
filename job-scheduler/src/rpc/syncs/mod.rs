//! Synchronizations: one file per call.

mod cancel;
mod create;
mod list;

use job_model::{SyncId, Tenant};
use keyfleet_proto::estate::v1::{self as wire, synchronizations_server::Synchronizations};
use tonic::{Request, Response, Status};

use super::{Service, convert::micros, refused, tenant};
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
        read(self, &tenant(&request.tenant)?, sync_id(&request.id)?).await.map(Response::new)
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

async fn read(service: &Service, tenant: &Tenant, id: SyncId) -> Result<wire::Synchronization, Status> {
    let found = service.context.store.sync_get(tenant, id).await.map_err(refused)?;
    Ok(to_wire(tenant, found.ok_or_else(no_such_sync)?))
}

fn to_wire(tenant: &Tenant, sync: Sync) -> wire::Synchronization {
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
        tenant: tenant.to_string(),
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
