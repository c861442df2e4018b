//! The AWS account that a template is for, by its container's name or id, or by its own number.

use job_model::{Tenant, key::is_account};
use tonic::Status;

use crate::rpc::Service;

/// The account, and a Region of its container, which tells its partition.
pub(super) struct Account {
    pub(super) id: String,
    pub(super) region: String,
}

/// What the caller names; the default container when nothing is named. `None`: nothing is named, and the tenant has no
/// default container.
pub(super) fn find(service: &Service, tenant: &Tenant, kms: &str, account_id: &str) -> Result<Option<Account>, Status> {
    let container = &service.context.container;
    let ours = || Account { id: container.account.clone(), region: container.region.clone() };
    let mine = *tenant == container.tenant;
    match (kms, account_id) {
        ("", "") => Ok(mine.then(ours)),
        ("default", "") if mine => Ok(Some(ours())),
        (kms, "") => Err(Status::invalid_argument(format!("kms: there is no container {kms:?}"))),
        ("", account) if mine && account == container.account => Ok(Some(ours())),
        ("", account) if is_account(account) => {
            Err(Status::invalid_argument(format!("account_id: there is no container for account {account}")))
        }
        ("", account) => {
            Err(Status::invalid_argument(format!("account_id: {account:?} is no AWS account of 12 digits")))
        }
        (_, _) => Err(Status::invalid_argument("account_id: give it or kms, not both")),
    }
}

/// The accounts of containers of these names.
pub(super) fn of_names(service: &Service, tenant: &Tenant, names: &[String]) -> Vec<String> {
    let container = &service.context.container;
    let mine = *tenant == container.tenant && names.iter().any(|name| name == "default");
    mine.then(|| container.account.clone()).into_iter().collect()
}

/// The name of the account's container.
pub(super) fn container_name(service: &Service, tenant: &Tenant, account: &str) -> Option<String> {
    let container = &service.context.container;
    (*tenant == container.tenant && account == container.account).then(|| "default".to_owned())
}
