//! ListContainers: from memory; a tenant has hundreds at the most.

use std::cmp::Ordering;

use keyfleet_proto::estate::v1 as wire;
use tonic::Status;

use super::to_wire;
use crate::{
    containers::Container,
    rpc::{Service, access::Access},
};

/// Rows of a page at the most.
const PAGE: u32 = 2_000;

pub(super) fn list_containers(
    service: &Service,
    request: wire::ListContainersRequest,
) -> Result<wire::ListContainersResponse, Status> {
    service.leader()?;
    let access = Access::of(service, &request.tenant, request.rights)?;
    let any_or = |asked: &str, value: &str| asked.is_empty() || asked == value;
    let mut found: Vec<&Container> = access
        .containers()
        .filter(|container| {
            access.sees(container)
                && (request.id.is_empty() || request.id.parse() == Ok(container.id))
                && any_or(&request.name, &container.name)
                && any_or(&request.account_id, &container.account)
                && any_or(&request.connection, &container.connection)
                && request.archived.is_none_or(|archived| archived == container.archived)
        })
        .collect();
    let order = order(&request.sort)?;
    found.sort_by(|a, b| order(a, b).then_with(|| b.created_at.cmp(&a.created_at)).then_with(|| b.id.cmp(&a.id)));
    let total = found.len() as u64;
    let (skip, limit) = (request.skip as usize, request.limit.min(PAGE) as usize);
    let containers = found.into_iter().skip(skip).take(limit).map(to_wire).collect();
    Ok(wire::ListContainersResponse { total, containers })
}

type Order = Box<dyn Fn(&Container, &Container) -> Ordering>;

fn order(word: &str) -> Result<Order, Status> {
    let (name, descends) = word.strip_prefix('-').map_or((word, false), |name| (name, true));
    let ascending: fn(&Container, &Container) -> Ordering = match name {
        "" => |_, _| Ordering::Equal,
        "name" => |a, b| a.name.cmp(&b.name),
        "account_id" => |a, b| a.account.cmp(&b.account),
        "createdAt" => |a, b| a.created_at.cmp(&b.created_at),
        "updatedAt" => |a, b| a.updated_at.cmp(&b.updated_at),
        other => return Err(Status::invalid_argument(format!("sort: there is no field {other:?} to sort by"))),
    };
    Ok(Box::new(move |a, b| if descends { ascending(b, a) } else { ascending(a, b) }))
}
