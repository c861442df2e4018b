//! From what a request names to the key it means, and what is said when there is none.

use std::sync::PoisonError;

use super::{Key, Scope, arn::Arn};
use crate::{
    error::{ErrorCode, KmsError},
    operation::Operation,
};

/// Which names of a key an operation takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Names {
    /// Its id or ARN.
    OfKey,
    /// Also an alias, by name or ARN.
    OrAlias,
}

/// The longest name (API model, `KeyIdType`).
const LONGEST_NAME: usize = 2048;

impl Scope {
    /// The bare id of the key a request names. The key itself may still be missing.
    pub(crate) fn resolve(&self, op: Operation, text: &str, names: Names) -> Result<String, KmsError> {
        if text.is_empty() || text.len() > LONGEST_NAME {
            let bound = if text.is_empty() { "greater than or equal to 1" } else { "less than or equal to 2048" };
            return Err(KmsError::validation(&format!("'{text}'"), "keyId", &format!("have length {bound}")));
        }
        if text.starts_with("arn:") {
            let arn =
                Arn::parse(text).ok_or_else(|| KmsError::new(ErrorCode::InvalidArn, format!("Invalid arn {text}")))?;
            if arn.region != self.region {
                return Err(KmsError::new(ErrorCode::NotFound, format!("Invalid arn {}", arn.region)));
            }
            if arn.account != self.account {
                return Err(self.not_yours(op, text));
            }
            return match (arn.resource.split_once('/'), names) {
                (Some(("key", id)), _) => Ok(id.to_owned()),
                (Some(("alias", _)), Names::OrAlias) => self.alias_target(arn.resource),
                (Some(_) | None, Names::OfKey | Names::OrAlias) => {
                    Err(KmsError::new(ErrorCode::InvalidArn, format!("Invalid arn {text}")))
                }
            };
        }
        match names {
            Names::OrAlias if text.starts_with("alias/") => self.alias_target(text),
            Names::OfKey | Names::OrAlias => Ok(text.to_owned()),
        }
    }

    /// Does something with a key, which is locked meanwhile.
    pub(crate) fn with_key<T>(
        &self,
        id: &str,
        wall_ns: u64,
        act: impl FnOnce(&mut Key) -> Result<T, KmsError>,
    ) -> Result<T, KmsError> {
        let keys = self.keys.read().unwrap_or_else(PoisonError::into_inner);
        let mut key = keys.get(id).ok_or_else(|| self.no_such_key(id))?.lock().unwrap_or_else(PoisonError::into_inner);
        if key.is_deleted(wall_ns) {
            return Err(self.no_such_key(id));
        }
        act(&mut key)
    }

    /// What is said of an id that nobody has.
    pub(crate) fn no_such_key(&self, id: &str) -> KmsError {
        let is_key_id = uuid::Uuid::try_parse(id).is_ok() && id.len() == 36
            || id.strip_prefix("mrk-").is_some_and(|hex| hex.len() == 32 && hex.bytes().all(|b| b.is_ascii_hexdigit()));
        let message = if is_key_id {
            format!("Key '{}' does not exist", self.key_arn(id))
        } else {
            format!("Invalid keyId '{id}'")
        };
        KmsError::new(ErrorCode::NotFound, message)
    }

    fn alias_target(&self, name: &str) -> Result<String, KmsError> {
        let aliases = self.aliases.read().unwrap_or_else(PoisonError::into_inner);
        let alias = aliases
            .get(name)
            .ok_or_else(|| KmsError::new(ErrorCode::NotFound, format!("Alias {} is not found.", self.arn(name))))?;
        Ok(alias.target.clone())
    }

    /// Keys of other accounts need a policy that lets the caller in, and none here does.
    fn not_yours(&self, op: Operation, arn: &str) -> KmsError {
        KmsError::new(
            ErrorCode::AccessDenied,
            format!(
                "User: arn:{}:iam::{}:user/kms-sim is not authorized to perform: kms:{op} on resource: {arn} because the \
                 resource does not exist in this Region, no resource-based policies allow access, or a resource-based \
                 policy explicitly denies access",
                super::partition(&self.region),
                self.account
            ),
        )
    }
}
