//! Whose request it is: the account and the Region, from the Authorization header.
//!
//! The signature is not checked; the header's credential scope is what AWS itself routes by.

use std::{
    collections::HashMap,
    sync::{PoisonError, RwLock},
};

use rand::Rng;

use crate::error::{ErrorCode, KmsError};

/// What of `Authorization: AWS4-HMAC-SHA256 Credential=<access key id>/<date>/<Region>/<service>/aws4_request, …` counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CredentialScope<'a> {
    pub(crate) access_key_id: &'a str,
    pub(crate) region: &'a str,
}

impl<'a> CredentialScope<'a> {
    pub(crate) fn parse(header: Option<&'a str>) -> Result<Self, KmsError> {
        let header = header.ok_or_else(|| {
            KmsError::new(ErrorCode::MissingAuthenticationToken, "Request is missing Authentication Token")
        })?;
        let scope = header.split_once("Credential=").map(|(_, rest)| rest.split([',', ' ']).next().unwrap_or_default());
        let mut parts = scope.unwrap_or_default().split('/');
        match (parts.next(), parts.next(), parts.next()) {
            (Some(access_key_id), Some(_date), Some(region)) if !access_key_id.is_empty() && !region.is_empty() => {
                Ok(Self { access_key_id, region })
            }
            _ => Err(KmsError::new(
                ErrorCode::IncompleteSignature,
                "Authorization header requires 'Credential' parameter.",
            )),
        }
    }
}

/// Which account an access key id belongs to.
#[derive(Debug)]
pub(crate) struct Accounts {
    default: String,
    known: RwLock<HashMap<String, String>>,
}

/// Keys of roles carry their account, so that they outlive a restart and a reset, and need no memory: `ASIA`, the
/// account's digits as the letters A to J, and four letters by chance.
const ROLE_PREFIX: &str = "ASIA";

impl Accounts {
    pub(crate) fn new(default: String) -> Self {
        Self { default, known: RwLock::default() }
    }

    pub(crate) fn account_of(&self, access_key_id: &str) -> String {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(account) = known.get(access_key_id) {
            return account.clone();
        }
        account_of_role(access_key_id).unwrap_or_else(|| self.default.clone())
    }

    pub(crate) fn default_account(&self) -> &str {
        &self.default
    }

    pub(crate) fn add(&self, accounts: HashMap<String, String>) {
        self.known.write().unwrap_or_else(PoisonError::into_inner).extend(accounts);
    }

    pub(crate) fn reset(&self) {
        self.known.write().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

/// A new access key id for a role of this account.
pub(crate) fn role_access_key_id(account: &str, rng: &mut impl Rng) -> String {
    let digits = account.bytes().map(|digit| char::from(b'A' + (digit - b'0')));
    let chance = (0..4).map(|_| char::from(rng.random_range(b'K'..=b'Z')));
    ROLE_PREFIX.chars().chain(digits.collect::<Vec<_>>()).chain(chance.collect::<Vec<_>>()).collect()
}

fn account_of_role(access_key_id: &str) -> Option<String> {
    let coded = access_key_id.strip_prefix(ROLE_PREFIX)?;
    if coded.len() != 16 {
        return None;
    }
    let digits = coded.get(..12)?;
    digits
        .bytes()
        .all(|b| (b'A'..=b'J').contains(&b))
        .then(|| digits.bytes().map(|b| char::from(b - b'A' + b'0')).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_scope_is_read_from_the_header() {
        let header =
            "AWS4-HMAC-SHA256 Credential=AKID/20260101/eu-west-1/kms/aws4_request, SignedHeaders=host, Signature=0";
        let scope = CredentialScope::parse(Some(header)).unwrap();
        assert_eq!((scope.access_key_id, scope.region), ("AKID", "eu-west-1"));
        assert_eq!(CredentialScope::parse(None).unwrap_err().code, ErrorCode::MissingAuthenticationToken);
        assert_eq!(CredentialScope::parse(Some("Bearer x")).unwrap_err().code, ErrorCode::IncompleteSignature);
    }

    #[test]
    fn a_role_s_key_names_its_account() {
        let accounts = Accounts::new("111122223333".to_owned());
        let id = role_access_key_id("987654321012", &mut rand::rng());
        assert_eq!(id.len(), 20);
        assert_eq!(accounts.account_of(&id), "987654321012");
        assert_eq!(accounts.account_of("AKIAIOSFODNN7EXAMPLE"), "111122223333");
        accounts.add(HashMap::from([(id.clone(), "222233334444".to_owned())]));
        assert_eq!(accounts.account_of(&id), "222233334444");
    }
}
