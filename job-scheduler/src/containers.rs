//! Containers: the AWS accounts whose keys jobs may name. For now there is one, `default`.

use job_model::{KeyName, Tenant};

/// An AWS account with its Regions.
#[derive(Clone, Debug)]
pub struct Container {
    /// Whose it is.
    pub tenant: Tenant,
    /// The AWS account.
    pub account: String,
    /// The Region of keys named by a bare id. An ARN may name any other of the account.
    pub region: String,
}

/// Where a key lives.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Place {
    /// The AWS account.
    pub account: String,
    /// The Region.
    pub region: String,
}

impl Container {
    /// Where the key that `text` names lives.
    ///
    /// # Errors
    /// The status text of a key that lives nowhere.
    pub fn place(&self, tenant: &Tenant, text: &str) -> Result<Place, String> {
        let mine = *tenant == self.tenant;
        match KeyName::parse(text) {
            KeyName::Id(_) if mine => Ok(Place { account: self.account.clone(), region: self.region.clone() }),
            KeyName::Arn { account, region, .. } if mine && account == self.account => {
                Ok(Place { account: account.to_owned(), region: region.to_owned() })
            }
            KeyName::Arn { account, .. } => Err(format!("NotFoundException: no container for account {account}")),
            KeyName::Id(_) | KeyName::Nothing => Err(format!("NotFoundException: Key '{text}' does not exist")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn container() -> Container {
        Container {
            tenant: "kylo:kylo".parse().unwrap(),
            account: "111122223333".to_owned(),
            region: "us-east-1".to_owned(),
        }
    }

    #[test]
    fn a_bare_id_lives_in_the_default_region_and_an_arn_where_it_says() {
        let kylo = "kylo:kylo".parse().unwrap();
        let place = |account: &str, region: &str| Ok(Place { account: account.to_owned(), region: region.to_owned() });
        assert_eq!(container().place(&kylo, "1234"), place("111122223333", "us-east-1"));
        assert_eq!(
            container().place(&kylo, "arn:aws:kms:eu-west-1:111122223333:key/1234"),
            place("111122223333", "eu-west-1")
        );
        assert_eq!(
            container().place(&kylo, "arn:aws:kms:eu-west-1:999922223333:key/1234"),
            Err("NotFoundException: no container for account 999922223333".to_owned())
        );
    }

    #[test]
    fn another_tenant_has_no_keys_here() {
        let other = "acme:acme".parse().unwrap();
        assert!(container().place(&other, "1234").is_err());
        assert_eq!(
            container().place(&other, "arn:aws:kms:eu-west-1:111122223333:key/1234"),
            Err("NotFoundException: no container for account 111122223333".to_owned())
        );
    }
}
