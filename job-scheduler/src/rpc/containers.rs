//! Containers as calls name them: by name or id, or by their AWS account.

use job_model::{Tenant, key::is_account};
use tonic::Status;

use super::Service;

/// A container of a tenant.
#[derive(Clone, Debug)]
pub(super) struct Named {
    pub(super) name: String,
    pub(super) id: String,
    pub(super) account: String,
    /// Not empty.
    pub(super) regions: Vec<String>,
}

/// All that the tenant has.
pub(super) fn all(service: &Service, tenant: &Tenant) -> Vec<Named> {
    let container = &service.context.container;
    let default = || Named {
        name: "default".to_owned(),
        id: "default".to_owned(),
        account: container.account.clone(),
        regions: vec![container.region.clone()],
    };
    (*tenant == container.tenant).then(default).into_iter().collect()
}

/// The one of this name or id.
pub(super) fn by_name(service: &Service, tenant: &Tenant, name_or_id: &str) -> Result<Named, Status> {
    all(service, tenant)
        .into_iter()
        .find(|container| container.id == name_or_id || container.name == name_or_id)
        .ok_or_else(|| Status::invalid_argument(format!("kms: there is no container {name_or_id:?}")))
}

/// The one that a call names by `kms` or `account_id`; the default one when it names none, if the tenant has one.
pub(super) fn find(service: &Service, tenant: &Tenant, kms: &str, account_id: &str) -> Result<Option<Named>, Status> {
    match (kms, account_id) {
        ("", "") => Ok(by_name(service, tenant, "default").ok()),
        (kms, "") => by_name(service, tenant, kms).map(Some),
        ("", account) => match all(service, tenant).into_iter().find(|container| container.account == account) {
            Some(container) => Ok(Some(container)),
            None if is_account(account) => {
                Err(Status::invalid_argument(format!("account_id: there is no container for account {account}")))
            }
            None => Err(Status::invalid_argument(format!("account_id: {account:?} is no AWS account of 12 digits"))),
        },
        (_, _) => Err(Status::invalid_argument("account_id: give it or kms, not both")),
    }
}

/// The accounts of containers of these names or ids; what is none has none.
pub(super) fn accounts(service: &Service, tenant: &Tenant, names: &[String]) -> Vec<String> {
    let named = |container: &Named| names.contains(&container.name) || names.contains(&container.id);
    all(service, tenant).into_iter().filter(named).map(|container| container.account).collect()
}

/// The name and id of the account's container.
pub(super) fn name_and_id(service: &Service, tenant: &Tenant, account: &str) -> Option<(String, String)> {
    let mine = all(service, tenant).into_iter().find(|container| container.account == account);
    mine.map(|container| (container.name, container.id))
}
