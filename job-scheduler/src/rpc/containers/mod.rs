//! Containers: one file per call. Changing them is for `admin` and `CCKM Admins`; who may do anything with a container
//! sees it.

mod acls;
mod archive;
mod check;
mod create;
mod delete;
mod get;
mod list;
mod recover;
mod update;

use job_model::ContainerId;
use keyfleet_proto::estate::v1::{self as wire, containers_server::Containers};
use tonic::{Request, Response, Status};

use super::{Service, access::Access, convert::micros, refused};
use crate::{
    containers::{Container, Who},
    leader::Handle,
    store::{self, containers::Changed},
};

#[tonic::async_trait]
impl Containers for Service {
    async fn create_container(
        &self,
        request: Request<wire::CreateContainerRequest>,
    ) -> Result<Response<wire::Container>, Status> {
        create::create_container(self, request.into_inner()).await.map(Response::new)
    }

    async fn list_containers(
        &self,
        request: Request<wire::ListContainersRequest>,
    ) -> Result<Response<wire::ListContainersResponse>, Status> {
        list::list_containers(self, request.into_inner()).map(Response::new)
    }

    async fn get_container(
        &self,
        request: Request<wire::GetContainerRequest>,
    ) -> Result<Response<wire::Container>, Status> {
        get::get_container(self, request.into_inner()).map(Response::new)
    }

    async fn update_container(
        &self,
        request: Request<wire::UpdateContainerRequest>,
    ) -> Result<Response<wire::Container>, Status> {
        update::update_container(self, request.into_inner()).await.map(Response::new)
    }

    async fn delete_container(
        &self,
        request: Request<wire::GetContainerRequest>,
    ) -> Result<Response<wire::DeleteContainerResponse>, Status> {
        delete::delete_container(self, request.into_inner()).await.map(Response::new)
    }

    async fn archive_container(
        &self,
        request: Request<wire::GetContainerRequest>,
    ) -> Result<Response<wire::Container>, Status> {
        archive::archive_container(self, request.into_inner()).await.map(Response::new)
    }

    async fn recover_container(
        &self,
        request: Request<wire::GetContainerRequest>,
    ) -> Result<Response<wire::Container>, Status> {
        recover::recover_container(self, request.into_inner()).await.map(Response::new)
    }

    async fn update_acls(
        &self,
        request: Request<wire::UpdateAclsRequest>,
    ) -> Result<Response<wire::Container>, Status> {
        acls::update_acls(self, request.into_inner()).await.map(Response::new)
    }
}

fn no_such_container() -> Status {
    Status::not_found("there is no container of this id or name")
}

fn name_taken(name: &str) -> Status {
    Status::already_exists(format!("name: there is a container {name:?}"))
}

/// The tenant's container of this id or name.
fn named<'a>(access: &'a Access, id_or_name: &str) -> Result<&'a Container, Status> {
    access.estate.named(&access.tenant, id_or_name).ok_or_else(no_such_container)
}

/// The created one of this id or name, for a caller who may change it. `what` cannot be done with the default one.
fn changeable<'a>(access: &'a Access, id_or_name: &str, what: &str) -> Result<&'a Container, Status> {
    access.need_everything()?;
    let container = named(access, id_or_name)?;
    if container.is_default() {
        return Err(Status::failed_precondition(format!(
            "the default container is the settings' and cannot be {what}"
        )));
    }
    Ok(container)
}

/// Commits a change, reads the containers again, and answers with the one that was changed.
///
/// In a task of its own: a caller that leaves never cancels it inside a statement, and what was committed is read.
async fn change<F>(
    service: &Service,
    access: &Access,
    id: ContainerId,
    commit: impl FnOnce(store::Store, Handle) -> F,
) -> Result<(Changed, Option<wire::Container>), Status>
where
    F: Future<Output = Result<Changed, store::Error>> + Send + 'static,
{
    let committing = commit(service.context.store.clone(), service.leader()?);
    let context = service.context.clone();
    let changed = tokio::spawn(async move {
        let changed = committing.await?;
        context.estates.refresh(&context.store).await?;
        Ok::<_, store::Error>(changed)
    })
    .await
    .map_err(|_| Status::internal("changing the container failed"))?
    .map_err(refused)?;
    let estate = service.context.estates.now();
    let found = estate.of_tenant(&access.tenant).find(|container| container.id == id).map(to_wire);
    Ok((changed, found))
}

fn to_wire(container: &Container) -> wire::Container {
    let acls = container.acls.iter().map(|acl| {
        let (user_id, group) = match &acl.who {
            Who::User(user) => (user.clone(), String::new()),
            Who::Group(group) => (String::new(), group.clone()),
        };
        wire::Acl { user_id, group, actions: acl.actions.clone() }
    });
    wire::Container {
        id: container.id.to_string(),
        tenant: container.tenant.to_string(),
        name: container.name.clone(),
        account_id: container.account.clone(),
        regions: container.regions.clone(),
        connection: container.connection.clone(),
        assume_role_arn: container.role_arn.clone(),
        assume_role_external_id: container.external_id.clone(),
        archived: container.archived,
        acls: acls.collect(),
        created_at_us: micros(container.created_at),
        updated_at_us: micros(container.updated_at),
    }
}
