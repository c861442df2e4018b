//! DeleteTemplate. Jobs keep the text that they were made with, and keys their policy.

use keyfleet_proto::jobs::v1 as wire;
use tonic::Status;

use super::no_such_template;
use crate::rpc::{Service, refused, tenant};

pub(super) async fn delete_template(
    service: &Service,
    request: &wire::DeleteTemplateRequest,
) -> Result<wire::DeleteTemplateResponse, Status> {
    service.leader()?;
    let tenant = tenant(&request.tenant)?;
    let store = &service.context.store;
    let template =
        store.template_get(&tenant, &request.template).await.map_err(refused)?.ok_or_else(no_such_template)?;
    if store.template_delete(&tenant, template.id).await.map_err(refused)? {
        Ok(wire::DeleteTemplateResponse {})
    } else {
        Err(no_such_template())
    }
}
