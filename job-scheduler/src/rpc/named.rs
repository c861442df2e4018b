//! Containers as calls name them: by name or id, or by their AWS account.

use job_model::key::is_account;
use tonic::Status;

use super::access::Access;
use crate::containers::Container;

impl Access {
    /// The one of this name or id.
    pub(super) fn by_name(&self, name_or_id: &str) -> Result<&Container, Status> {
        let found = self.estate.named(&self.tenant, name_or_id);
        found.ok_or_else(|| Status::invalid_argument(format!("kms: there is no container {name_or_id:?}")))
    }

    /// The one that a call names by `kms` or `account_id`; the default one when it names none, if the tenant has one.
    pub(super) fn find(&self, kms: &str, account_id: &str) -> Result<Option<&Container>, Status> {
        match (kms, account_id) {
            ("", "") => Ok(Some(self.estate.default_one()).filter(|container| container.tenant == self.tenant)),
            (kms, "") => self.by_name(kms).map(Some),
            ("", account) => match self.estate.of_account(&self.tenant, account) {
                Some(container) => Ok(Some(container)),
                None if is_account(account) => {
                    Err(Status::invalid_argument(format!("account_id: there is no container for account {account}")))
                }
                None => {
                    Err(Status::invalid_argument(format!("account_id: {account:?} is no AWS account of 12 digits")))
                }
            },
            (_, _) => Err(Status::invalid_argument("account_id: give it or kms, not both")),
        }
    }

    /// The accounts that belong to the containers of these names or ids; what is none has none.
    pub(super) fn accounts(&self, names: &[String]) -> Vec<String> {
        let named = names.iter().filter_map(|name| self.estate.named(&self.tenant, name));
        let owning = named.filter(|container| self.estate.owns_its_account(container));
        owning.map(|container| container.account.clone()).collect()
    }

    /// The account's container.
    pub(super) fn of_account(&self, account: &str) -> Option<&Container> {
        self.estate.of_account(&self.tenant, account)
    }
}
