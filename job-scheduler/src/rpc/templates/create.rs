//! CreateTemplate: a policy given as a document, or made from lists of names.

use job_model::ids::TemplateId;
use keyfleet_proto::jobs::v1 as wire;
use service_kit::clock::wall;
use tonic::Status;
use uuid::Uuid;

use super::{grants_of_wire, to_wire};
use crate::{
    policies,
    rpc::{
        Service,
        access::{Access, Action},
        refused,
    },
    store::templates::Template,
};

pub(super) async fn create_template(
    service: &Service,
    request: wire::CreateTemplateRequest,
) -> Result<wire::Template, Status> {
    service.leader()?;
    let access = Access::of(service, &request.tenant, request.rights)?;
    let container = access.find(&request.kms, &request.account_id)?;
    access.need_for(container.map(|container| container.account.as_str()), Action::TemplateCreate)?;
    let (policy, grants) = match (request.policy, request.grants) {
        (policy, None) if !policy.is_empty() => {
            policies::check(&policy).map_err(Status::invalid_argument)?;
            (policy, None)
        }
        (policy, grants) if policy.is_empty() => {
            let Some(container) = &container else {
                return Err(Status::invalid_argument("kms: is missing; a policy is made for one account"));
            };
            let grants = grants.map(grants_of_wire).unwrap_or_default();
            let made = policies::make(&container.account, policies::partition(&container.regions[0]), &grants);
            (made.map_err(Status::invalid_argument)?, Some(grants))
        }
        (_, _) => return Err(Status::invalid_argument("policy: give it or lists of names, not both")),
    };
    let now = wall();
    let template = Template {
        id: TemplateId::from_uuid(Uuid::now_v7()),
        name: request.name,
        account: container.map(|container| container.account.clone()),
        policy,
        grants,
        created_at: now,
        updated_at: now,
        verified: false,
    };
    let inserted =
        service.context.store.template_insert(&access.tenant, &template, &request.created_by).await.map_err(refused)?;
    if !inserted {
        return Err(Status::already_exists(format!("name: there is a template {:?}", template.name)));
    }
    Ok(to_wire(&access, template))
}
