//! CreateSynchronization: one part per container and Region, and a walk on the board for each.

use std::collections::BTreeSet;

use job_model::{SyncId, Tenant, key::is_region};
use keyfleet_proto::estate::v1 as wire;
use service_kit::clock::wall;
use tonic::Status;
use uuid::Uuid;

use crate::{
    board::{NewWalk, Step, WalkId},
    leader::{Event, Handle},
    rpc::{Service, containers, refused, tenant},
    store::syncs::{NewPart, NewSync},
};

/// Containers times Regions of one at the most.
const PARTS: usize = 1_000;

pub(super) async fn create_synchronization(
    service: &Service,
    request: wire::CreateSynchronizationRequest,
) -> Result<wire::Synchronization, Status> {
    let leader = service.leader()?;
    let tenant = tenant(&request.tenant)?;
    let new = plan(service, &tenant, request)?;
    let id = new.id;
    // A task of its own: a caller that leaves never cancels it inside a statement.
    let own = service.clone();
    tokio::spawn(async move { insert(&own, &leader, new).await })
        .await
        .map_err(|_| Status::internal("creating the synchronization failed"))??;
    super::read(service, &tenant, id).await
}

fn plan(service: &Service, tenant: &Tenant, request: wire::CreateSynchronizationRequest) -> Result<NewSync, Status> {
    let bad = |why: String| Err(Status::invalid_argument(why));
    let containers = match (request.all, request.kms.is_empty()) {
        (true, true) if request.regions.is_empty() => containers::all(service, tenant),
        (true, _) => return bad("synchronize_all: give it alone, or kms and regions".to_owned()),
        (false, true) => return bad("kms: is missing; name containers, or set synchronize_all".to_owned()),
        (false, false) => {
            request.kms.iter().map(|kms| containers::by_name(service, tenant, kms)).collect::<Result<_, _>>()?
        }
    };
    if let Some(region) = request.regions.iter().find(|region| !is_region(region)) {
        return bad(format!("regions: {region:?} is no Region's name"));
    }
    let mut seen = BTreeSet::new();
    let mut parts = Vec::new();
    let mut names = Vec::new();
    for container in containers {
        let regions = if request.regions.is_empty() { &container.regions } else { &request.regions };
        for region in regions {
            if seen.insert((container.account.clone(), region.clone())) {
                let (kms, account) = (container.name.clone(), container.account.clone());
                parts.push(NewPart { kms, account, region: region.clone() });
            }
        }
        if !names.contains(&container.name) {
            names.push(container.name);
        }
    }
    if parts.len() > PARTS {
        return bad(format!("kms: these are {} containers and Regions, more than {PARTS}", parts.len()));
    }
    if parts.is_empty() {
        return bad("kms: the tenant has no container".to_owned());
    }
    Ok(NewSync {
        id: SyncId::from_uuid(Uuid::now_v7()),
        tenant: tenant.clone(),
        created_by: request.created_by,
        kms: names,
        regions: request.regions,
        all: request.all,
        parts,
        now: wall(),
    })
}

async fn insert(service: &Service, leader: &Handle, new: NewSync) -> Result<(), Status> {
    if !service.context.store.sync_insert(leader.epoch, &new).await.map_err(refused)? {
        return Err(Status::already_exists("kms: one of the containers is being synchronized; wait, or cancel that"));
    }
    tracing::info!(synchronization.id = %new.id, parts = new.parts.len(), tenant = %new.tenant, "A synchronization begins.");
    for (part, place) in (0..).zip(new.parts) {
        let walk = NewWalk {
            id: WalkId { sync: new.id, part },
            account: place.account.into(),
            region: place.region.into(),
            step: Step::Keys,
            marker: String::new(),
        };
        // A leader that has just lost its place misses this; the next one reads it from the store.
        let _ = leader.tell(Event::WalkAdded(walk)).await;
    }
    Ok(())
}
