//! What a caller may do: the rights that the gateway sends, against the containers and their ACLs.
//!
//! Here alone permissions are decided. Each call makes one [`Access`], from the message's tenant and rights and the
//! containers of that moment, and asks it.

use std::sync::Arc;

use job_model::{ContainerId, Tenant};
use keyfleet_proto::estate::v1::Rights;
use tonic::Status;

use super::{Service, tenant};
use crate::containers::{Container, DEFAULT_ID, DEFAULT_NAME, Estate, Who};

/// An action that ACLs permit, in CCKM's word. Any one of them lets see the container and what belongs to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Action {
    /// Nothing but seeing.
    View,
    /// Bulk jobs on its keys.
    Bulk,
    /// Making synchronizations.
    Synchronize,
    /// Ending them.
    SynchronizeCancel,
    /// Making policy templates.
    TemplateCreate,
    /// Changing them.
    TemplateUpdate,
    /// Removing them.
    TemplateDelete,
}

impl Action {
    const ALL: [Self; 7] = [
        Self::View,
        Self::Bulk,
        Self::Synchronize,
        Self::SynchronizeCancel,
        Self::TemplateCreate,
        Self::TemplateUpdate,
        Self::TemplateDelete,
    ];

    const fn word(self) -> &'static str {
        match self {
            Self::View => "view",
            Self::Bulk => "keybulkoperation",
            Self::Synchronize => "keysynchronize",
            Self::SynchronizeCancel => "keysynchronizecancel",
            Self::TemplateCreate => "policytemplatecreate",
            Self::TemplateUpdate => "policytemplateupdate",
            Self::TemplateDelete => "policytemplatedelete",
        }
    }
}

/// What clients of CCKM write for [`Action::View`] of the keys that AWS has made, as all keys here are taken to be.
const NATIVE: &str = "viewnative";

/// What one caller may do now.
#[derive(Clone, Debug)]
pub(super) struct Access {
    pub(super) tenant: Tenant,
    pub(super) estate: Arc<Estate>,
    user: Who,
    groups: Vec<Who>,
    everything: bool,
    /// Of a group that may use every container.
    bulk: bool,
}

impl Access {
    /// Of this caller.
    ///
    /// # Errors
    /// INVALID_ARGUMENT when the tenant is none.
    pub(super) fn of(service: &Service, of_tenant: &str, rights: Option<Rights>) -> Result<Self, Status> {
        Ok(Self::new(tenant(of_tenant)?, service.context.estates.now(), rights))
    }

    fn new(tenant: Tenant, estate: Arc<Estate>, rights: Option<Rights>) -> Self {
        // A gateway that knows no rights decides itself, and lets in only who may use every container: while replicas are
        // upgraded one after the other, it is served on.
        let rights = rights.unwrap_or_else(|| Rights { bulk: true, ..Rights::default() });
        Self {
            tenant,
            estate,
            user: Who::user(&rights.user),
            groups: rights.groups.into_iter().map(Who::Group).collect(),
            everything: rights.everything,
            bulk: rights.bulk,
        }
    }

    /// Whether the caller may do this with the container.
    fn may(&self, container: &Container, action: Action) -> bool {
        if self.everything || self.bulk {
            return true;
        }
        // ACLs name users and groups of the container's own tenant.
        let mine = container.acls.iter().filter(|acl| acl.who == self.user || self.groups.contains(&acl.who));
        container.tenant == self.tenant
            && mine.flat_map(|acl| &acl.actions).any(|word| match action {
                Action::View => word == NATIVE || Action::ALL.iter().any(|known| known.word() == word),
                Action::Bulk
                | Action::Synchronize
                | Action::SynchronizeCancel
                | Action::TemplateCreate
                | Action::TemplateUpdate
                | Action::TemplateDelete => word == action.word(),
            })
    }

    /// Whether the caller sees the container and what belongs to it.
    pub(super) fn sees(&self, container: &Container) -> bool {
        self.may(container, Action::View)
    }

    /// Refuses who may not do this with the container.
    pub(super) fn need(&self, container: &Container, action: Action) -> Result<(), Status> {
        if self.may(container, action) { Ok(()) } else { Err(missing(action, &container.name)) }
    }

    /// Refuses who may not do this with what belongs to an account. What belongs to none of the tenant's accounts any
    /// more, or to every account, is for those who may use every container.
    pub(super) fn need_for(&self, account: Option<&str>, action: Action) -> Result<(), Status> {
        match self.owner(account) {
            Some(container) => self.need(container, action),
            None if self.everything || self.bulk => Ok(()),
            None => Err(missing(action, DEFAULT_NAME)),
        }
    }

    /// The container that what belongs to an account belongs to: what is for any account, to the default one.
    fn owner(&self, account: Option<&str>) -> Option<&Container> {
        match account {
            Some(account) => self.estate.of_account(&self.tenant, account),
            None => Some(self.estate.default_one()).filter(|container| container.tenant == self.tenant),
        }
    }

    /// Refuses who may do this with no container at all.
    pub(super) fn need_somewhere(&self, action: Action) -> Result<(), Status> {
        let somewhere = self.everything || self.bulk || self.containers().any(|container| self.may(container, action));
        if somewhere {
            Ok(())
        } else {
            Err(Status::permission_denied(format!("the permission {} is missing on every container", action.word())))
        }
    }

    /// Refuses who may not change containers.
    pub(super) fn need_everything(&self) -> Result<(), Status> {
        if self.everything {
            Ok(())
        } else {
            Err(Status::permission_denied(
                "containers are changed by members of the groups admin and CCKM Admins alone",
            ))
        }
    }

    /// Refuses who may not use all containers of a job's keys.
    pub(super) fn need_job(&self, containers: &[ContainerId]) -> Result<(), Status> {
        if self.everything {
            return Ok(());
        }
        for id in containers {
            let default = Some(self.estate.default_one()).filter(|default| default.id == *id);
            match self.containers().find(|container| container.id == *id).or(default) {
                Some(container) => self.need(container, Action::Bulk)?,
                None => {
                    return Err(Status::permission_denied(
                        "a container of the job's keys is gone, and only admin and CCKM Admins may use it",
                    ));
                }
            }
        }
        Ok(())
    }

    /// The containers all of whose jobs the caller may see; `None` for all that there ever were.
    pub(super) fn bulk_containers(&self) -> Option<Vec<ContainerId>> {
        if self.everything {
            return None;
        }
        let mut ids: Vec<_> = self.containers().filter(|c| self.may(c, Action::Bulk)).map(|c| c.id).collect();
        // Keys that nobody knows are the default one's, in every tenant.
        if self.may(self.estate.default_one(), Action::Bulk) && !ids.contains(&DEFAULT_ID) {
            ids.push(DEFAULT_ID);
        }
        Some(ids)
    }

    /// The accounts whose keys the caller sees, and whether what is for any account; `None` for all that there ever were.
    pub(super) fn seen(&self) -> Option<(Vec<String>, bool)> {
        if self.everything || self.bulk {
            return None;
        }
        let seen = self.containers().filter(|container| self.sees(container));
        let accounts = seen.filter(|container| self.estate.owns_its_account(container));
        let accounts = accounts.map(|container| container.account.clone()).collect();
        Some((accounts, self.owner(None).is_some_and(|container| self.sees(container))))
    }

    /// Those of the tenant.
    pub(super) fn containers(&self) -> impl Iterator<Item = &Container> {
        self.estate.of_tenant(&self.tenant)
    }
}

fn missing(action: Action, container: &str) -> Status {
    Status::permission_denied(format!("the permission {} is missing on the container {container:?}", action.word()))
}

#[cfg(test)]
mod tests;
