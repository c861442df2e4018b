//! GetContainer.

use keyfleet_proto::estate::v1 as wire;
use tonic::Status;

use super::{named, to_wire};
use crate::rpc::{
    Service,
    access::{Access, Action},
};

pub(super) fn get_container(service: &Service, request: wire::GetContainerRequest) -> Result<wire::Container, Status> {
    service.leader()?;
    let access = Access::of(service, &request.tenant, request.rights)?;
    let container = named(&access, &request.container)?;
    access.need(container, Action::View)?;
    Ok(to_wire(container))
}
