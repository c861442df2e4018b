//! ListTemplates.

use job_model::ids::TemplateId;
use keyfleet_proto::jobs::v1 as wire;
use tonic::Status;

use super::to_wire;
use crate::{
    rpc::{
        Service,
        access::{Access, Action},
        refused,
    },
    store::templates::{TemplateQuery, TemplateSort},
};

/// Rows of a page at the most.
const PAGE: u32 = 2_000;

pub(super) async fn list_templates(
    service: &Service,
    request: wire::ListTemplatesRequest,
) -> Result<wire::ListTemplatesResponse, Status> {
    service.leader()?;
    let access = Access::of(service, &request.tenant, request.rights)?;
    access.need_somewhere(Action::View)?;
    let id: Option<TemplateId> = match request.id.as_str() {
        "" => None,
        text => match text.parse() {
            Ok(id) => Some(id),
            Err(_) => return Ok(wire::ListTemplatesResponse::default()),
        },
    };
    let mut accounts = (!request.kms_names.is_empty()).then(|| access.accounts(&request.kms_names));
    if !request.account_id.is_empty() {
        let named = accounts.get_or_insert_with(|| vec![request.account_id.clone()]);
        named.retain(|account| *account == request.account_id);
    }
    let query = TemplateQuery {
        id,
        name: (!request.name.is_empty()).then_some(request.name),
        accounts,
        seen: access.seen(),
        verified: request.verified,
        sort: sort(&request.sort)?,
        skip: request.skip,
        limit: request.limit.min(PAGE),
    };
    let (total, templates) = service.context.store.template_page(&access.tenant, &query).await.map_err(refused)?;
    let templates = templates.into_iter().map(|template| to_wire(&access, template)).collect();
    Ok(wire::ListTemplatesResponse { total, templates })
}

fn sort(word: &str) -> Result<Option<(TemplateSort, bool)>, Status> {
    let (name, descends) = word.strip_prefix('-').map_or((word, false), |name| (name, true));
    Ok(Some(match name {
        "" => return Ok(None),
        "name" => (TemplateSort::Name, descends),
        "created_at" => (TemplateSort::CreatedAt, descends),
        "updated_at" => (TemplateSort::UpdatedAt, descends),
        other => return Err(Status::invalid_argument(format!("sort: there is no field {other:?} to sort by"))),
    }))
}
