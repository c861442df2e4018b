//! What a new job needs: the permission on the container of each key, and that none of these is archived.
//!
//! Decided as the keys come in, once for each container, and remembered with the job: who may use all of them may see and
//! stop it later.

use std::collections::BTreeSet;

use job_model::ContainerId;
use tonic::Status;

use super::access::{Access, Action};
use crate::{containers::Container, store::create::NewLane};

/// The containers of the keys so far.
pub(super) struct Needs<'a> {
    access: &'a Access,
    containers: BTreeSet<ContainerId>,
}

impl<'a> Needs<'a> {
    pub(super) const fn of(access: &'a Access) -> Self {
        Self { access, containers: BTreeSet::new() }
    }

    /// A key of this container.
    pub(super) fn take(&mut self, container: &Container) -> Result<(), Status> {
        if !self.containers.insert(container.id) {
            return Ok(());
        }
        self.access.need(container, Action::Bulk)?;
        if container.archived { Err(archived(&container.name)) } else { Ok(()) }
    }

    /// A key that nobody knows: it is the default container's.
    pub(super) fn take_stray(&mut self) -> Result<(), Status> {
        self.take(self.access.estate.default_one())
    }

    /// Keys that were found by account.
    pub(super) fn take_lanes(&mut self, lanes: &[NewLane]) -> Result<(), Status> {
        for lane in lanes {
            match self.access.of_account(&lane.account) {
                Some(container) => self.take(container)?,
                None => {
                    return Err(Status::failed_precondition(format!(
                        "keys: there is no container for account {}",
                        lane.account
                    )));
                }
            }
        }
        Ok(())
    }

    /// Their ids, in order.
    pub(super) fn containers(self) -> Vec<ContainerId> {
        self.containers.into_iter().collect()
    }
}

/// The refusal of what is new in an archived container.
pub(super) fn archived(container: &str) -> Status {
    Status::failed_precondition(format!("the container {container:?} is archived and takes nothing new"))
}
