//! The keys of a new job, numbered and sorted into lanes as they come in.

use std::collections::HashMap;

use tonic::Status;
use uuid::Uuid;

use super::{Service, access::Access, needs::Needs, refused};
use crate::{
    containers::Place,
    store::create::{NewLane, NewTask},
};

/// Lanes a job may have: accounts times Regions.
const LANES: usize = 10_000;

/// What has come so far.
pub(super) struct Sorting<'a> {
    service: &'a Service,
    access: &'a Access,
    numbers: HashMap<Place, u16>,
    pub(super) lanes: Vec<NewLane>,
    pub(super) needs: Needs<'a>,
    pub(super) total: u32,
    pub(super) failed: u32,
    /// Whether the tenant has registered keys, once that was asked.
    any_registered: Option<bool>,
}

impl<'a> Sorting<'a> {
    pub(super) fn new(service: &'a Service, access: &'a Access) -> Self {
        Self {
            service,
            access,
            numbers: HashMap::new(),
            lanes: Vec::new(),
            needs: Needs::of(access),
            total: 0,
            failed: 0,
            any_registered: None,
        }
    }

    /// Sorts the next keys.
    ///
    /// # Errors
    /// PERMISSION_DENIED and FAILED_PRECONDITION at the first key of a container that the caller may not use, or that is
    /// archived.
    pub(super) async fn sort(&mut self, keys: Vec<String>) -> Result<Vec<NewTask>, Status> {
        let access = self.access;
        let registered = self.registered(&keys).await?;
        let mut tasks = Vec::with_capacity(keys.len());
        for key in keys {
            let seq = self.total;
            self.total += 1;
            let named = resource(&key).and_then(|id| registered.get(&id));
            let (placed, aws_key) = match named.map(|key| (access.of_account(&key.0), key)) {
                Some((Some(container), (account, region, aws_key))) => {
                    let place = Place { account: account.clone(), region: region.clone() };
                    (Ok((place, container)), Some(aws_key.clone()))
                }
                Some((None, _)) | None => (access.estate.place(&access.tenant, &key), None),
            };
            tasks.push(match placed {
                Ok((place, container)) => {
                    self.needs.take(container)?;
                    NewTask { seq, lane: Some(self.lane(place)?), key, aws_key, detail: None }
                }
                Err(detail) => {
                    self.needs.take_stray()?;
                    self.failed += 1;
                    NewTask { seq, lane: None, key, aws_key: None, detail: Some(detail) }
                }
            });
        }
        Ok(tasks)
    }

    /// Where those live that are ids of registered resources. An id of AWS's looks the same, so all are looked up, but
    /// only where the tenant has registered keys at all.
    async fn registered(&mut self, keys: &[String]) -> Result<HashMap<Uuid, (String, String, String)>, Status> {
        let ids: Vec<Uuid> = keys.iter().filter_map(|key| resource(key)).collect();
        if ids.is_empty() {
            return Ok(HashMap::new());
        }
        let (store, tenant) = (&self.service.context.store, &self.access.tenant);
        let any = match self.any_registered {
            Some(any) => any,
            None => *self.any_registered.insert(store.keys_any(tenant).await.map_err(refused)?),
        };
        if any { store.keys_resolve(tenant, &ids).await.map_err(refused) } else { Ok(HashMap::new()) }
    }

    fn lane(&mut self, place: Place) -> Result<u16, Status> {
        let number = match self.numbers.get(&place) {
            Some(number) => *number,
            None => {
                let number = u16::try_from(self.lanes.len())
                    .ok()
                    .filter(|number| usize::from(*number) < LANES)
                    .ok_or_else(|| Status::invalid_argument(format!("keys: they lie in more than {LANES} Regions")))?;
                self.lanes.push(NewLane { account: place.account.clone(), region: place.region.clone(), tasks: 0 });
                self.numbers.insert(place, number);
                number
            }
        };
        self.lanes[usize::from(number)].tasks += 1;
        Ok(number)
    }
}

/// The id of a registered resource, if the text may be one.
fn resource(text: &str) -> Option<Uuid> {
    (text.len() == 36).then(|| text.parse().ok()).flatten()
}
