//! CreateSynchronization: one part per container and Region, and a walk on the board for each.

use std::collections::BTreeSet;

use job_model::{SyncId, key::is_region};
use keyfleet_proto::estate::v1 as wire;
use service_kit::clock::wall;
use tonic::Status;
use uuid::Uuid;

use crate::{
    board::{NewWalk, Step, WalkId},
    containers::Container,
    leader::{Event, Handle},
    rpc::{
        Service,
        access::{Access, Action},
        needs, refused,
    },
    store::syncs::{Begun, NewPart, NewSync},
};

/// Containers times Regions of one at the most.
const PARTS: usize = 1_000;

pub(super) async fn create_synchronization(
    service: &Service,
    request: wire::CreateSynchronizationRequest,
) -> Result<wire::Synchronization, Status> {
    let leader = service.leader()?;
    let access = Access::of(service, &request.tenant, request.rights.clone())?;
    let new = plan(&access, request)?;
    let id = new.id;
    // A task of its own: a caller that leaves never cancels it inside a statement.
    let own = service.clone();
    tokio::spawn(async move { insert(&own, &leader, new).await })
        .await
        .map_err(|_| Status::internal("creating the synchronization failed"))??;
    let sync = super::read(service, &access, id).await?;
    Ok(super::to_wire(&access, sync))
}

fn plan(access: &Access, request: wire::CreateSynchronizationRequest) -> Result<NewSync, Status> {
    let bad = |why: String| Err(Status::invalid_argument(why));
    if let Some(region) = request.regions.iter().find(|region| !is_region(region)) {
        return bad(format!("regions: {region:?} is no Region's name"));
    }
    let containers = match (request.all, request.kms.is_empty()) {
        (true, true) if request.regions.is_empty() => {
            access.containers().filter(|c| !c.archived && access.estate.owns_its_account(c)).collect()
        }
        (true, _) => return bad("synchronize_all: give it alone, or kms and regions".to_owned()),
        (false, true) => return bad("kms: is missing; name containers, or set synchronize_all".to_owned()),
        (false, false) => request.kms.iter().map(|kms| access.by_name(kms)).collect::<Result<Vec<_>, _>>()?,
    };
    for container in &containers {
        access.need(container, Action::Synchronize)?;
        open(access, container)?;
    }
    if let Some(region) = request.regions.iter().find(|region| !containers.iter().any(|c| c.has_region(region))) {
        return bad(format!("regions: none of the containers has the Region {region}"));
    }
    let mut seen = BTreeSet::new();
    let mut parts = Vec::new();
    let (mut names, mut ids) = (Vec::new(), Vec::new());
    for container in containers {
        let regions = if request.regions.is_empty() { &container.regions } else { &request.regions };
        for region in regions.iter().filter(|region| container.has_region(region)) {
            if seen.insert((container.account.clone(), region.clone())) {
                let (kms, account) = (container.name.clone(), container.account.clone());
                parts.push(NewPart { kms, account, region: region.clone() });
            }
        }
        if !ids.contains(&container.id) {
            ids.push(container.id);
            names.push(container.name.clone());
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
        tenant: access.tenant.clone(),
        created_by: request.created_by,
        kms: names,
        containers: ids,
        regions: request.regions,
        all: request.all,
        parts,
        now: wall(),
    })
}

/// Refuses a container whose keys are not to be read.
fn open(access: &Access, container: &Container) -> Result<(), Status> {
    if container.archived {
        return Err(needs::archived(&container.name));
    }
    match access.of_account(&container.account) {
        Some(owner) if owner.id != container.id => Err(Status::failed_precondition(format!(
            "kms: the account of the container {:?} belongs to the container {:?}; name that",
            container.name, owner.name
        ))),
        Some(_) | None => Ok(()),
    }
}

async fn insert(service: &Service, leader: &Handle, new: NewSync) -> Result<(), Status> {
    match service.context.store.sync_insert(leader.epoch, &new).await.map_err(refused)? {
        Begun::New => {}
        Begun::Runs => {
            return Err(Status::already_exists(
                "kms: one of the containers is being synchronized; wait, or cancel that",
            ));
        }
        Begun::ContainerClosed(_) => {
            return Err(Status::failed_precondition("kms: one of the containers was archived or deleted meanwhile"));
        }
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
