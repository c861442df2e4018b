//! Containers: the AWS accounts whose keys jobs may name, and which of them a key belongs to. Pure.
//!
//! An account belongs to one container. The default one comes from the settings and always exists; a container that its
//! tenant creates with the same account takes that account over: ARNs, registered keys and the way in are the created
//! one's from then on. Only bare ids stay the default one's, for they name no account.

use std::collections::HashMap;

use job_model::{ContainerId, KeyName, Tenant};
use time::OffsetDateTime;
use uuid::Uuid;

/// The default container's id.
pub const DEFAULT_ID: ContainerId = ContainerId::from_uuid(Uuid::from_u128(0x4000_8000_0000_0000_0000));
/// And its name, which no other container has.
pub const DEFAULT_NAME: &str = "default";

/// An AWS account with its Regions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Container {
    /// Its id.
    pub id: ContainerId,
    /// Whose it is.
    pub tenant: Tenant,
    /// One of a kind in its tenant.
    pub name: String,
    /// The AWS account.
    pub account: String,
    /// Not empty.
    pub regions: Vec<String>,
    /// An entry of the workers' configuration; empty for the standard chain.
    pub connection: String,
    /// The role to assume; empty for none.
    pub role_arn: String,
    /// The external id for it; empty for none.
    pub external_id: String,
    /// No new job takes its keys.
    pub archived: bool,
    /// Who may do what.
    pub acls: Vec<Acl>,
    /// When it was made.
    pub created_at: OffsetDateTime,
    /// When it was last changed.
    pub updated_at: OffsetDateTime,
}

/// What one user or group may do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Acl {
    /// Who.
    pub who: Who,
    /// The words of the actions, in order.
    pub actions: Vec<String>,
}

/// A user or a group.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Who {
    /// A token's subject.
    User(String),
    /// A group's name.
    Group(String),
}

/// Where a key lives.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Place {
    /// The AWS account.
    pub account: String,
    /// The Region.
    pub region: String,
}

/// How an account is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reach {
    /// The AWS account.
    pub account: String,
    /// Whose container it is: not every connection is for every tenant.
    pub tenant: Tenant,
    /// See [`Container::connection`].
    pub connection: String,
    /// See [`Container::role_arn`].
    pub role_arn: String,
    /// See [`Container::external_id`].
    pub external_id: String,
}

impl Container {
    /// The default one: nothing of it but its ACLs can change.
    pub fn default_of(tenant: Tenant, account: String, region: String) -> Self {
        Self {
            id: DEFAULT_ID,
            tenant,
            name: DEFAULT_NAME.to_owned(),
            account,
            regions: vec![region],
            connection: String::new(),
            role_arn: String::new(),
            external_id: String::new(),
            archived: false,
            acls: Vec::new(),
            created_at: OffsetDateTime::UNIX_EPOCH,
            updated_at: OffsetDateTime::UNIX_EPOCH,
        }
    }

    /// Whether it is the one of the settings.
    pub fn is_default(&self) -> bool {
        self.id == DEFAULT_ID
    }

    /// Whether keys of this Region are its own. The default one has all Regions of its account.
    pub fn has_region(&self, region: &str) -> bool {
        self.is_default() || self.regions.iter().any(|known| known == region)
    }
}

impl Who {
    /// A user as CCKM writes it, `user::local|<uuid>`, or as callers shorten it: without `user::`, or the bare UUID of a
    /// local user. All are the same one.
    pub fn user(text: &str) -> Self {
        let id = text.strip_prefix("user::").unwrap_or(text);
        let bare = id.strip_prefix("local|").unwrap_or(id);
        match bare.parse::<Uuid>() {
            Ok(uuid) if bare.len() == 36 => Self::User(format!("local|{uuid}")),
            Ok(_) | Err(_) => Self::User(id.to_owned()),
        }
    }
}

/// All containers of all tenants, as they are at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Estate {
    /// The default one first, then the created ones, oldest first.
    containers: Vec<Container>,
    /// The container of each account.
    owners: HashMap<String, usize>,
}

impl Estate {
    /// The default one, and those that tenants have created.
    pub fn new(default: Container, created: Vec<Container>) -> Self {
        let mut containers = vec![default];
        containers.extend(created);
        // A later one goes over an earlier: the created one over the default one.
        let owners = containers.iter().enumerate().map(|(at, container)| (container.account.clone(), at)).collect();
        Self { containers, owners }
    }

    /// The default one.
    pub fn default_one(&self) -> &Container {
        &self.containers[0]
    }

    /// Those of the tenant, the default one first.
    pub fn of_tenant(&self, tenant: &Tenant) -> impl Iterator<Item = &Container> {
        self.containers.iter().filter(move |container| container.tenant == *tenant)
    }

    /// The tenant's of this id or name. A name that reads like another one's id gives way to it.
    pub fn named(&self, tenant: &Tenant, id_or_name: &str) -> Option<&Container> {
        let id: Option<ContainerId> = (id_or_name.len() == 36).then(|| id_or_name.parse().ok()).flatten();
        let by_id = id.and_then(|id| self.of_tenant(tenant).find(|container| container.id == id));
        by_id.or_else(|| self.of_tenant(tenant).find(|container| container.name == id_or_name))
    }

    /// The tenant's container that the account belongs to.
    pub fn of_account(&self, tenant: &Tenant, account: &str) -> Option<&Container> {
        let owner = self.owners.get(account).map(|at| &self.containers[*at]);
        owner.filter(|container| container.tenant == *tenant)
    }

    /// Whether the account is the default container's: the settings say what is reached there.
    pub fn is_settled(&self, account: &str) -> bool {
        self.owners.get(account) == Some(&0)
    }

    /// Whether the container's account is its own: the default one's may have been taken over.
    pub fn owns_its_account(&self, container: &Container) -> bool {
        self.of_account(&container.tenant, &container.account).is_some_and(|owner| owner.id == container.id)
    }

    /// Where the key that `text` names lives, and whose it is.
    ///
    /// # Errors
    /// The status text of a key that lives nowhere.
    pub fn place(&self, tenant: &Tenant, text: &str) -> Result<(Place, &Container), String> {
        let default = self.default_one();
        match KeyName::parse(text) {
            KeyName::Id(_) if default.tenant == *tenant => {
                Ok((Place { account: default.account.clone(), region: default.regions[0].clone() }, default))
            }
            KeyName::Arn { account, region, .. } => match self.of_account(tenant, account) {
                None => Err(format!("NotFoundException: no container for account {account}")),
                Some(container) if container.has_region(region) => {
                    Ok((Place { account: account.to_owned(), region: region.to_owned() }, container))
                }
                Some(container) => {
                    Err(format!("NotFoundException: container {} has no Region {region}", container.name))
                }
            },
            KeyName::Id(_) | KeyName::Nothing => Err(format!("NotFoundException: Key '{text}' does not exist")),
        }
    }

    /// How each account is reached: the default one's first.
    pub fn reaches(&self) -> Vec<Reach> {
        let owning = self.containers.iter().filter(|container| self.owns_its_account(container));
        let mut reaches: Vec<Reach> = owning
            .map(|container| Reach {
                account: container.account.clone(),
                tenant: container.tenant.clone(),
                connection: container.connection.clone(),
                role_arn: container.role_arn.clone(),
                external_id: container.external_id.clone(),
            })
            .collect();
        let default = &self.default_one().account;
        reaches.sort_by_key(|reach| reach.account != *default);
        reaches
    }
}

#[cfg(test)]
mod tests;
