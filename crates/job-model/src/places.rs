//! Quotas by account and Region.
//!
//! AWS grants quotas to an account in a Region, each its own, and changes them while jobs run. So beside what holds
//! everywhere ([`Quotas`]) there may be a list of places, kept in a file, like
//! `{"111122223333/eu-west-1": {"EnableKey": 100}, "222233334444/us-east-1": "off"}`.

use std::{collections::BTreeMap, str::FromStr};

use serde::Deserialize;

use crate::{
    key::{is_account, is_region},
    quota::{self, QuotaError, Quotas},
};

/// What each account and Region may do.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PlaceQuotas {
    everywhere: Quotas,
    places: Places,
}

impl PlaceQuotas {
    /// The same everywhere.
    pub const fn everywhere(quotas: Quotas) -> Self {
        Self { everywhere: quotas, places: Places(BTreeMap::new()) }
    }

    /// The same everywhere but in these places.
    pub const fn with(everywhere: Quotas, places: Places) -> Self {
        Self { everywhere, places }
    }

    /// The quota of a KMS operation in an account and Region, in requests per second; `None` means unlimited.
    pub fn per_second(&self, account: &str, region: &str, op: &str) -> Option<f64> {
        let everywhere = || self.everywhere.per_second(op);
        match self.places.of(account, region) {
            None => everywhere(),
            Some(Granted::Instead(quotas)) => quotas.per_second(op),
            Some(Granted::Changed(changed)) => changed.get(op).copied().or_else(everywhere),
        }
    }
}

/// The places that differ.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Places(BTreeMap<String, Granted>);

#[derive(Clone, Debug, PartialEq)]
enum Granted {
    /// `aws` or `off`, whatever holds elsewhere.
    Instead(Quotas),
    /// What holds elsewhere, but for these operations: requests per second.
    Changed(BTreeMap<String, f64>),
}

impl Places {
    /// How many there are.
    pub fn count(&self) -> usize {
        self.0.len()
    }

    fn of(&self, account: &str, region: &str) -> Option<&Granted> {
        if self.0.is_empty() { None } else { self.0.get(&format!("{account}/{region}")) }
    }
}

/// Why a text is no list of places.
#[derive(Debug, thiserror::Error)]
pub enum PlacesError {
    /// It is not of the form.
    #[error("it is no JSON object of quotas by `account/region`: {0}")]
    Form(#[from] serde_json::Error),
    /// Most likely a misspelt name, which would otherwise change nothing in silence.
    #[error("{0:?} names no account and Region; write it like 111122223333/eu-west-1")]
    Place(String),
    /// One of its quotas is wrong.
    #[error("{place}: {error}")]
    Quota {
        /// Where.
        place: String,
        /// Why.
        error: QuotaError,
    },
}

impl FromStr for Places {
    type Err = PlacesError;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Form {
            Word(String),
            Changed(BTreeMap<String, f64>),
        }
        let mut places = BTreeMap::new();
        for (place, form) in serde_json::from_str::<BTreeMap<String, Form>>(text)? {
            if !place.split_once('/').is_some_and(|(account, region)| is_account(account) && is_region(region)) {
                return Err(PlacesError::Place(place));
            }
            let granted = match form {
                Form::Word(word) => word.parse().map(Granted::Instead),
                Form::Changed(changed) => quota::check(&changed).map(|()| Granted::Changed(changed)),
            };
            match granted {
                Ok(granted) => drop(places.insert(place, granted)),
                Err(error) => return Err(PlacesError::Quota { place, error }),
            }
        }
        Ok(Self(places))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_has_what_it_was_granted_and_else_what_holds_everywhere() {
        let places = r#"{"111122223333/eu-west-1": {"EnableKey": 100}, "111122223333/eu-west-2": "off",
                         "222233334444/eu-west-1": "aws", "222233334444/eu-west-2": {}}"#;
        let everywhere: Quotas = r#"{"EnableKey": 50, "DisableKey": 2.5}"#.parse().unwrap();
        let quotas = PlaceQuotas::with(everywhere, places.parse().unwrap());
        for (account, region, enable, disable) in [
            ("111122223333", "eu-west-1", Some(100.0), Some(2.5)),
            ("111122223333", "eu-west-2", None, None),
            ("222233334444", "eu-west-1", Some(5.0), Some(5.0)),
            ("222233334444", "eu-west-2", Some(50.0), Some(2.5)),
            ("111122223333", "us-east-1", Some(50.0), Some(2.5)),
        ] {
            assert_eq!(quotas.per_second(account, region, "EnableKey"), enable, "{account}/{region}");
            assert_eq!(quotas.per_second(account, region, "DisableKey"), disable, "{account}/{region}");
        }
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (text, word) in [
            ("", "no JSON object"),
            ("[]", "no JSON object"),
            (r#"{"111122223333/eu-west-1": 5}"#, "no JSON object"),
            (r#"{"111122223333": "off"}"#, "111122223333/eu-west-1"),
            (r#"{"eu-west-1/111122223333": "off"}"#, "\"eu-west-1/111122223333\""),
            (r#"{"11112222333/eu-west-1": "off"}"#, "\"11112222333/eu-west-1\""),
            (r#"{"111122223333/eu-west-1": "fast"}"#, "111122223333/eu-west-1: a quota is"),
            (r#"{"111122223333/eu-west-1": {"EnabelKey": 5}}"#, "EnabelKey"),
            (r#"{"111122223333/eu-west-1": {"EnableKey": 0}}"#, "above 0"),
        ] {
            let error = text.parse::<Places>().unwrap_err().to_string();
            assert!(error.contains(word), "{text}: {error}");
        }
    }
}
