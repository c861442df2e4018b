//! Whose a job is.

use std::{fmt, str::FromStr};

/// A tenant, written `account:domain` as in CCKM's resource names.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tenant(String);

impl Tenant {
    /// The first part, e.g. `kylo`.
    pub fn account(&self) -> &str {
        self.0.split_once(':').map_or(self.0.as_str(), |(account, _)| account)
    }

    /// The second part.
    pub fn domain(&self) -> &str {
        self.0.split_once(':').map_or("", |(_, domain)| domain)
    }

    /// Both parts as written.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Not of the form `account:domain`.
#[derive(Debug, thiserror::Error)]
#[error("a tenant is written account:domain, letters, digits, '-', '_' and '.'")]
pub struct InvalidTenant;

impl FromStr for Tenant {
    type Err = InvalidTenant;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let word = |part: &str| {
            !part.is_empty() && part.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'))
        };
        match text.split_once(':') {
            Some((account, domain)) if word(account) && word(domain) => Ok(Self(text.to_owned())),
            Some(_) | None => Err(InvalidTenant),
        }
    }
}

impl fmt::Display for Tenant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
