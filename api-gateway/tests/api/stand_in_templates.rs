//! The stand-in's policy templates.

use keyfleet_proto::jobs::v1::{self as proto, templates_server::Templates};
use tonic::{Request, Response, Status};

use crate::stand_in::StandIn;

#[tonic::async_trait]
impl Templates for StandIn {
    async fn create_template(
        &self,
        request: Request<proto::CreateTemplateRequest>,
    ) -> Result<Response<proto::Template>, Status> {
        self.refuse()?;
        let request = request.into_inner();
        self.judge(request.rights.as_ref())?;
        let template = proto::Template {
            id: uuid::Uuid::now_v7().to_string(),
            tenant: request.tenant.clone(),
            name: request.name.clone(),
            policy: if request.policy.is_empty() { "{}".to_owned() } else { request.policy.clone() },
            kms: request.kms.clone(),
            account_id: request.account_id.clone(),
            grants: request.grants.clone(),
            ..Default::default()
        };
        self.templates_made.lock().unwrap().push(request);
        self.templates.lock().unwrap().push(template.clone());
        Ok(Response::new(template))
    }

    async fn list_templates(
        &self,
        request: Request<proto::ListTemplatesRequest>,
    ) -> Result<Response<proto::ListTemplatesResponse>, Status> {
        self.refuse()?;
        let request = request.into_inner();
        self.judge(request.rights.as_ref())?;
        let tenant = request.tenant.clone();
        self.templates_listed.lock().unwrap().push(request);
        let templates: Vec<_> =
            self.templates.lock().unwrap().iter().filter(|template| template.tenant == tenant).cloned().collect();
        Ok(Response::new(proto::ListTemplatesResponse { total: templates.len() as u64, templates }))
    }

    async fn get_template(
        &self,
        request: Request<proto::GetTemplateRequest>,
    ) -> Result<Response<proto::Template>, Status> {
        self.refuse()?;
        let request = request.into_inner();
        self.judge(request.rights.as_ref())?;
        self.template(&request.tenant, &request.template).map(Response::new)
    }

    async fn update_template(
        &self,
        request: Request<proto::UpdateTemplateRequest>,
    ) -> Result<Response<proto::UpdateTemplateResponse>, Status> {
        self.refuse()?;
        let request = request.into_inner();
        self.judge(request.rights.as_ref())?;
        let template = self.template(&request.tenant, &request.template)?;
        let pushed_by = if request.auto_push { "the job".to_owned() } else { String::new() };
        self.templates_changed.lock().unwrap().push(request);
        Ok(Response::new(proto::UpdateTemplateResponse { template: Some(template), pushed_by }))
    }

    async fn delete_template(
        &self,
        request: Request<proto::DeleteTemplateRequest>,
    ) -> Result<Response<proto::DeleteTemplateResponse>, Status> {
        self.refuse()?;
        let request = request.into_inner();
        self.judge(request.rights.as_ref())?;
        let id = self.template(&request.tenant, &request.template)?.id;
        self.templates.lock().unwrap().retain(|template| template.id != id);
        Ok(Response::new(proto::DeleteTemplateResponse {}))
    }
}

impl StandIn {
    fn template(&self, tenant: &str, named: &str) -> Result<proto::Template, Status> {
        let templates = self.templates.lock().unwrap();
        let found = templates.iter().find(|one| one.tenant == tenant && (one.id == named || one.name == named));
        found.cloned().ok_or_else(|| Status::not_found("there is no template of this id or name"))
    }
}
