//! CreateTemplate and ListTemplates.

use job_model::ids::TemplateId;
use keyfleet_proto::jobs::v1::{self as wire, templates_server::Templates};
use service_kit::clock::wall;
use tonic::{Request, Response, Status};
use uuid::Uuid;

use super::{Service, convert::micros, refused, tenant};
use crate::store::templates::Template;

/// Rows of a page at the most.
const PAGE: u32 = 2_000;

#[tonic::async_trait]
impl Templates for Service {
    async fn create_template(
        &self,
        request: Request<wire::CreateTemplateRequest>,
    ) -> Result<Response<wire::Template>, Status> {
        self.leader()?;
        let request = request.into_inner();
        let tenant = tenant(&request.tenant)?;
        if serde_json::from_str::<serde_json::Value>(&request.policy).is_err() {
            return Err(Status::invalid_argument("policy: it is not JSON"));
        }
        let template = Template {
            id: TemplateId::from_uuid(Uuid::now_v7()),
            name: request.name,
            policy: request.policy,
            created_at: wall(),
        };
        let inserted =
            self.context.store.template_insert(&tenant, &template, &request.created_by).await.map_err(refused)?;
        if !inserted {
            return Err(Status::already_exists(format!("name: there is a template {:?}", template.name)));
        }
        Ok(Response::new(to_wire(template, tenant.as_str())))
    }

    async fn list_templates(
        &self,
        request: Request<wire::ListTemplatesRequest>,
    ) -> Result<Response<wire::ListTemplatesResponse>, Status> {
        self.leader()?;
        let request = request.into_inner();
        let tenant = tenant(&request.tenant)?;
        let id = match request.id.as_str() {
            "" => None,
            text => match text.parse() {
                Ok(id) => Some(id),
                Err(_) => return Ok(Response::new(wire::ListTemplatesResponse::default())),
            },
        };
        let name = (!request.name.is_empty()).then_some(request.name.as_str());
        let (total, templates) = self
            .context
            .store
            .template_page(&tenant, id, name, request.skip, request.limit.min(PAGE))
            .await
            .map_err(refused)?;
        let templates = templates.into_iter().map(|template| to_wire(template, tenant.as_str())).collect();
        Ok(Response::new(wire::ListTemplatesResponse { total, templates }))
    }
}

fn to_wire(template: Template, tenant: &str) -> wire::Template {
    wire::Template {
        id: template.id.to_string(),
        tenant: tenant.to_owned(),
        name: template.name,
        policy: template.policy,
        created_at_us: micros(template.created_at),
    }
}
