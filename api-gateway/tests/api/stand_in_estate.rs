//! The stand-in's keys and synchronizations.

use keyfleet_proto::estate::v1::{self as proto, keys_server::Keys, synchronizations_server::Synchronizations};
use tonic::{Request, Response, Status};

use crate::stand_in::StandIn;

#[tonic::async_trait]
impl Keys for StandIn {
    async fn list_keys(
        &self,
        request: Request<proto::ListKeysRequest>,
    ) -> Result<Response<proto::ListKeysResponse>, Status> {
        self.refuse()?;
        let request = request.into_inner();
        self.judge(request.rights.as_ref())?;
        self.keys_listed.lock().unwrap().push(request);
        let keys = self.keys.lock().unwrap().clone();
        Ok(Response::new(proto::ListKeysResponse { total: keys.len() as u64, keys }))
    }

    async fn get_key(&self, request: Request<proto::GetKeyRequest>) -> Result<Response<proto::Key>, Status> {
        self.refuse()?;
        let request = request.into_inner();
        self.judge(request.rights.as_ref())?;
        let id = request.id;
        let keys = self.keys.lock().unwrap();
        let found = keys.iter().find(|key| key.id == id).cloned();
        found.map(Response::new).ok_or_else(|| Status::not_found("there is no key of this id"))
    }
}

impl StandIn {
    fn synchronization(&self, id: &str) -> Result<proto::Synchronization, Status> {
        let all = self.synchronizations.lock().unwrap();
        let found = all.iter().find(|sync| sync.id == id).cloned();
        found.ok_or_else(|| Status::not_found("there is no synchronization of this id"))
    }
}

#[tonic::async_trait]
impl Synchronizations for StandIn {
    async fn create_synchronization(
        &self,
        request: Request<proto::CreateSynchronizationRequest>,
    ) -> Result<Response<proto::Synchronization>, Status> {
        self.refuse()?;
        let request = request.into_inner();
        self.judge(request.rights.as_ref())?;
        let part = |kms: &String, region: &String| proto::SynchronizationPart {
            kms: kms.clone(),
            region: region.clone(),
            status: "in_progress".to_owned(),
            ..Default::default()
        };
        let made = proto::Synchronization {
            id: uuid::Uuid::now_v7().to_string(),
            tenant: request.tenant,
            parts: request
                .kms
                .iter()
                .flat_map(|kms| request.regions.iter().map(move |region| part(kms, region)))
                .collect(),
            kms: request.kms,
            regions: request.regions,
            all: request.all,
            overall_status: "in_progress".to_owned(),
            ..Default::default()
        };
        self.synchronizations.lock().unwrap().push(made.clone());
        Ok(Response::new(made))
    }

    async fn list_synchronizations(
        &self,
        request: Request<proto::ListSynchronizationsRequest>,
    ) -> Result<Response<proto::ListSynchronizationsResponse>, Status> {
        self.refuse()?;
        let request = request.into_inner();
        self.judge(request.rights.as_ref())?;
        self.synchronizations_listed.lock().unwrap().push(request);
        let synchronizations = self.synchronizations.lock().unwrap().clone();
        Ok(Response::new(proto::ListSynchronizationsResponse {
            total: synchronizations.len() as u64,
            synchronizations,
        }))
    }

    async fn get_synchronization(
        &self,
        request: Request<proto::GetSynchronizationRequest>,
    ) -> Result<Response<proto::Synchronization>, Status> {
        self.refuse()?;
        let request = request.into_inner();
        self.judge(request.rights.as_ref())?;
        self.synchronization(&request.id).map(Response::new)
    }

    async fn cancel_synchronization(
        &self,
        request: Request<proto::GetSynchronizationRequest>,
    ) -> Result<Response<proto::Synchronization>, Status> {
        self.refuse()?;
        let request = request.into_inner();
        self.judge(request.rights.as_ref())?;
        let mut sync = self.synchronization(&request.id)?;
        sync.overall_status = "canceled".to_owned();
        sync.completed_at_us = Some(0);
        Ok(Response::new(sync))
    }
}
