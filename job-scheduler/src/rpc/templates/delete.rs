//! DeleteTemplate. Jobs keep the text that they were made with, and keys their policy.

use keyfleet_proto::jobs::v1 as wire;
use tonic::Status;

use super::no_such_template;
use crate::rpc::{
    Service,
    access::{Access, Action},
    refused,
};

pub(super) async fn delete_template(
    service: &Service,
    request: wire::DeleteTemplateRequest,
) -> Result<wire::DeleteTemplateResponse, Status> {
    service.leader()?;
    let access = Access::of(service, &request.tenant, request.rights)?;
    let store = &service.context.store;
    let template =
        store.template_get(&access.tenant, &request.template).await.map_err(refused)?.ok_or_else(no_such_template)?;
    access.need_for(template.account.as_deref(), Action::TemplateDelete)?;
    if store.template_delete(&access.tenant, template.id).await.map_err(refused)? {
        Ok(wire::DeleteTemplateResponse {})
    } else {
        Err(no_such_template())
    }
}
