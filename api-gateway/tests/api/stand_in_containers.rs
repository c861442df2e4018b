//! The stand-in's containers.

use keyfleet_proto::estate::v1::{self as proto, containers_server::Containers};
use tonic::{Request, Response, Status};

use crate::stand_in::StandIn;

impl StandIn {
    /// Adds a container as the scheduler would tell it.
    pub(crate) fn add_container(&self, container: proto::Container) -> proto::Container {
        let container = proto::Container {
            id: uuid::Uuid::now_v7().to_string(),
            created_at_us: 1_676_017_188_558_869,
            updated_at_us: 1_676_017_188_970_377,
            ..container
        };
        self.containers.lock().unwrap().push(container.clone());
        container
    }

    /// Changes the container that is named so and gives it back.
    fn container(
        &self,
        tenant: &str,
        named: &str,
        change: impl FnOnce(&mut proto::Container),
    ) -> Result<Response<proto::Container>, Status> {
        let mut all = self.containers.lock().unwrap();
        let found = all.iter_mut().find(|one| one.tenant == tenant && (one.id == named || one.name == named));
        let found = found.ok_or_else(|| Status::not_found("there is no container of this id or name"))?;
        change(found);
        Ok(Response::new(found.clone()))
    }

    fn asked(&self, request: Request<proto::GetContainerRequest>) -> Result<proto::GetContainerRequest, Status> {
        self.refuse()?;
        let request = request.into_inner();
        self.judge(request.rights.as_ref())?;
        Ok(request)
    }
}

#[tonic::async_trait]
impl Containers for StandIn {
    async fn create_container(
        &self,
        request: Request<proto::CreateContainerRequest>,
    ) -> Result<Response<proto::Container>, Status> {
        self.refuse()?;
        let request = request.into_inner();
        self.judge(request.rights.as_ref())?;
        self.containers_made.lock().unwrap().push(request.clone());
        Ok(Response::new(self.add_container(proto::Container {
            tenant: request.tenant,
            name: request.name,
            account_id: request.account_id,
            regions: if request.regions.is_empty() { vec!["us-east-1".to_owned()] } else { request.regions },
            connection: request.connection,
            assume_role_arn: request.assume_role_arn,
            assume_role_external_id: request.assume_role_external_id,
            ..proto::Container::default()
        })))
    }

    async fn list_containers(
        &self,
        request: Request<proto::ListContainersRequest>,
    ) -> Result<Response<proto::ListContainersResponse>, Status> {
        self.refuse()?;
        let request = request.into_inner();
        self.judge(request.rights.as_ref())?;
        self.containers_listed.lock().unwrap().push(request.clone());
        let all = self.containers.lock().unwrap().clone();
        let total = all.len() as u64;
        let page = all.into_iter().skip(request.skip as usize).take(request.limit as usize);
        Ok(Response::new(proto::ListContainersResponse { total, containers: page.collect() }))
    }

    async fn get_container(
        &self,
        request: Request<proto::GetContainerRequest>,
    ) -> Result<Response<proto::Container>, Status> {
        let request = self.asked(request)?;
        self.container(&request.tenant, &request.container, |_| {})
    }

    async fn update_container(
        &self,
        request: Request<proto::UpdateContainerRequest>,
    ) -> Result<Response<proto::Container>, Status> {
        self.refuse()?;
        let request = request.into_inner();
        self.judge(request.rights.as_ref())?;
        self.containers_changed.lock().unwrap().push(request.clone());
        self.container(&request.tenant, &request.container, |found| {
            if let Some(regions) = request.regions {
                found.regions = regions.regions;
            }
        })
    }

    async fn delete_container(
        &self,
        request: Request<proto::GetContainerRequest>,
    ) -> Result<Response<proto::DeleteContainerResponse>, Status> {
        let request = self.asked(request)?;
        let gone = self.container(&request.tenant, &request.container, |_| {})?.into_inner();
        self.containers.lock().unwrap().retain(|one| one.id != gone.id);
        Ok(Response::new(proto::DeleteContainerResponse {}))
    }

    async fn archive_container(
        &self,
        request: Request<proto::GetContainerRequest>,
    ) -> Result<Response<proto::Container>, Status> {
        let request = self.asked(request)?;
        self.container(&request.tenant, &request.container, |found| found.archived = true)
    }

    async fn recover_container(
        &self,
        request: Request<proto::GetContainerRequest>,
    ) -> Result<Response<proto::Container>, Status> {
        let request = self.asked(request)?;
        self.container(&request.tenant, &request.container, |found| found.archived = false)
    }

    async fn update_acls(
        &self,
        request: Request<proto::UpdateAclsRequest>,
    ) -> Result<Response<proto::Container>, Status> {
        self.refuse()?;
        let request = request.into_inner();
        self.judge(request.rights.as_ref())?;
        self.acls_changed.lock().unwrap().push(request.clone());
        self.container(&request.tenant, &request.container, |found| {
            let permitted = request.changes.into_iter().filter(|change| change.permit);
            found.acls = permitted
                .map(|change| proto::Acl { user_id: change.user_id, group: change.group, actions: change.actions })
                .collect();
        })
    }
}
