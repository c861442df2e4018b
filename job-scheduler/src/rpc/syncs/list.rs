//! ListSynchronizations.

use keyfleet_proto::estate::v1 as wire;
use tonic::Status;

use super::to_wire;
use crate::{
    rpc::{
        Service,
        access::{Access, Action},
        refused,
    },
    store::syncs::SyncQuery,
};

/// Rows of a page at the most.
const PAGE: u32 = 2_000;

pub(super) async fn list_synchronizations(
    service: &Service,
    request: wire::ListSynchronizationsRequest,
) -> Result<wire::ListSynchronizationsResponse, Status> {
    service.leader()?;
    let access = Access::of(service, &request.tenant, request.rights)?;
    access.need_somewhere(Action::View)?;
    let id = match request.id.as_str() {
        "" => None,
        text => match text.parse() {
            Ok(id) => Some(id),
            Err(_) => return Ok(wire::ListSynchronizationsResponse::default()),
        },
    };
    let query = SyncQuery {
        id,
        status: (!request.overall_status.is_empty()).then_some(request.overall_status),
        seen: access.seen().map(|(accounts, _)| accounts),
        accounts: (!request.kms.is_empty()).then(|| access.accounts(&request.kms)),
        skip: request.skip,
        limit: request.limit.min(PAGE),
    };
    let (total, found) = service.context.store.sync_page(&access.tenant, &query).await.map_err(refused)?;
    let synchronizations = found.into_iter().map(|sync| to_wire(&access, sync)).collect();
    Ok(wire::ListSynchronizationsResponse { total, synchronizations })
}
