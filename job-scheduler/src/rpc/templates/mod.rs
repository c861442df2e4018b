//! Policy templates: one file per call.

mod create;
mod delete;
mod list;
mod update;

use keyfleet_proto::jobs::v1::{self as wire, templates_server::Templates};
use tonic::{Request, Response, Status};

use super::{
    Service,
    access::{Access, Action},
    convert::micros,
    refused,
};
use crate::{policies::Grants, store::templates::Template};

#[tonic::async_trait]
impl Templates for Service {
    async fn create_template(
        &self,
        request: Request<wire::CreateTemplateRequest>,
    ) -> Result<Response<wire::Template>, Status> {
        create::create_template(self, request.into_inner()).await.map(Response::new)
    }

    async fn list_templates(
        &self,
        request: Request<wire::ListTemplatesRequest>,
    ) -> Result<Response<wire::ListTemplatesResponse>, Status> {
        list::list_templates(self, request.into_inner()).await.map(Response::new)
    }

    async fn get_template(
        &self,
        request: Request<wire::GetTemplateRequest>,
    ) -> Result<Response<wire::Template>, Status> {
        self.leader()?;
        let request = request.into_inner();
        let access = Access::of(self, &request.tenant, request.rights)?;
        let found = self.context.store.template_get(&access.tenant, &request.template).await.map_err(refused)?;
        let template = found.ok_or_else(no_such_template)?;
        access.need_for(template.account.as_deref(), Action::View)?;
        Ok(Response::new(to_wire(&access, template)))
    }

    async fn update_template(
        &self,
        request: Request<wire::UpdateTemplateRequest>,
    ) -> Result<Response<wire::UpdateTemplateResponse>, Status> {
        update::update_template(self, request.into_inner()).await.map(Response::new)
    }

    async fn delete_template(
        &self,
        request: Request<wire::DeleteTemplateRequest>,
    ) -> Result<Response<wire::DeleteTemplateResponse>, Status> {
        delete::delete_template(self, request.into_inner()).await.map(Response::new)
    }
}

fn no_such_template() -> Status {
    Status::not_found("there is no template of this id or name")
}

fn to_wire(access: &Access, template: Template) -> wire::Template {
    let kms = template.account.as_deref().and_then(|account| access.of_account(account));
    wire::Template {
        id: template.id.to_string(),
        tenant: access.tenant.to_string(),
        name: template.name,
        policy: template.policy,
        created_at_us: micros(template.created_at),
        updated_at_us: micros(template.updated_at),
        kms: kms.map(|container| container.name.clone()).unwrap_or_default(),
        account_id: template.account.unwrap_or_default(),
        grants: template.grants.map(grants_to_wire),
        verified: template.verified,
    }
}

fn grants_to_wire(grants: Grants) -> wire::Grants {
    let Grants { key_admins, key_admins_roles, key_users, key_users_roles, external_accounts } = grants;
    wire::Grants { key_admins, key_admins_roles, key_users, key_users_roles, external_accounts }
}

fn grants_of_wire(grants: wire::Grants) -> Grants {
    let wire::Grants { key_admins, key_admins_roles, key_users, key_users_roles, external_accounts } = grants;
    Grants { key_admins, key_admins_roles, key_users, key_users_roles, external_accounts }
}
