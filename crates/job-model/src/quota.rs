//! The request quotas of AWS KMS, and what a deployment says about them.
//!
//! The scheduler paces itself by these numbers and the simulator enforces them, from the same setting
//! (`KEYFLEET_QUOTA`); if the two disagreed, either keys would be throttled or quota would lie idle. So there is one
//! table and one reader of the setting. What single accounts and Regions have been granted beside it is in
//! [`crate::places`].

use std::{collections::BTreeMap, fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _, ser::Error as _};

/// AWS's default quotas: requests per second for each account, Region and operation. Source: AWS KMS developer guide,
/// "Request quotas". In the order of the operations' names.
pub const AWS_DEFAULTS: [(&str, f64); 24] = [
    ("CancelKeyDeletion", 5.0),
    ("CreateAlias", 5.0),
    ("CreateKey", 5.0),
    ("DeleteAlias", 15.0),
    ("DeleteImportedKeyMaterial", 15.0),
    ("DescribeKey", 2000.0),
    ("DisableKey", 5.0),
    ("DisableKeyRotation", 5.0),
    ("EnableKey", 5.0),
    ("EnableKeyRotation", 15.0),
    ("GetKeyPolicy", 1000.0),
    ("GetKeyRotationStatus", 1000.0),
    ("ImportKeyMaterial", 15.0),
    ("ListAliases", 500.0),
    ("ListKeys", 500.0),
    ("ListResourceTags", 2000.0),
    ("PutKeyPolicy", 15.0),
    ("ReplicateKey", 5.0),
    ("RotateKeyOnDemand", 5.0),
    ("ScheduleKeyDeletion", 15.0),
    ("TagResource", 10.0),
    ("UntagResource", 5.0),
    ("UpdateAlias", 5.0),
    ("UpdateKeyDescription", 5.0),
];

/// How many requests per second each KMS operation may make in one account and Region.
#[derive(Clone, Debug, PartialEq)]
pub enum Quotas {
    /// No limits at all.
    Off,
    /// AWS's defaults, but for the operations named here, in requests per second (above 0).
    Aws(BTreeMap<String, f64>),
}

impl Quotas {
    /// AWS's defaults.
    pub const fn aws() -> Self {
        Self::Aws(BTreeMap::new())
    }

    /// No limits.
    pub const fn off() -> Self {
        Self::Off
    }

    /// The quota of a KMS operation (`EnableKey`) in requests per second; `None` means unlimited, which is also the
    /// answer for an operation without a known quota.
    pub fn per_second(&self, op: &str) -> Option<f64> {
        match self {
            Self::Off => None,
            Self::Aws(changed) => changed.get(op).copied().or_else(|| aws_default(op)),
        }
    }

    fn changed(changed: BTreeMap<String, f64>) -> Result<Self, QuotaError> {
        check(&changed)?;
        Ok(Self::Aws(changed))
    }
}

/// Whether these are quotas of operations that have one.
pub(crate) fn check(changed: &BTreeMap<String, f64>) -> Result<(), QuotaError> {
    for (op, &rate) in changed {
        if aws_default(op).is_none() {
            return Err(QuotaError::UnknownOperation(op.clone()));
        }
        if !(rate.is_finite() && rate > 0.0) {
            return Err(QuotaError::NotPositive { operation: op.clone(), rate });
        }
    }
    Ok(())
}

impl Default for Quotas {
    fn default() -> Self {
        Self::aws()
    }
}

/// Why a text is no quota setting.
#[derive(Debug, thiserror::Error)]
pub enum QuotaError {
    /// Neither of the two words nor a JSON object of numbers.
    #[error("a quota is `aws`, `off`, or a JSON object like {{\"EnableKey\": 500}}: {0}")]
    Form(String),
    /// Most likely a misspelt name, which would otherwise change nothing in silence.
    #[error("no KMS operation with a quota is called {0:?}")]
    UnknownOperation(String),
    /// Zero would stop the operation for good.
    #[error("the quota of {operation} must be above 0 requests per second, not {rate}")]
    NotPositive {
        /// The operation.
        operation: String,
        /// What was given.
        rate: f64,
    },
}

impl FromStr for Quotas {
    type Err = QuotaError;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.trim() {
            "aws" => Ok(Self::aws()),
            "off" => Ok(Self::off()),
            json => {
                let changed = serde_json::from_str(json).map_err(|error| QuotaError::Form(error.to_string()))?;
                Self::changed(changed)
            }
        }
    }
}

/// The text [`FromStr`] reads.
impl fmt::Display for Quotas {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Off => f.write_str("off"),
            Self::Aws(changed) if changed.is_empty() => f.write_str("aws"),
            Self::Aws(changed) => f.write_str(&serde_json::to_string(changed).map_err(|_| fmt::Error)?),
        }
    }
}

/// In JSON: `"aws"`, `"off"`, or the object itself.
impl Serialize for Quotas {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Off => serializer.serialize_str("off"),
            Self::Aws(changed) if changed.is_empty() => serializer.serialize_str("aws"),
            Self::Aws(changed) if changed.values().all(|rate| rate.is_finite()) => changed.serialize(serializer),
            Self::Aws(_) => Err(S::Error::custom("a quota is not a number")),
        }
    }
}

impl<'de> Deserialize<'de> for Quotas {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Form {
            Word(String),
            Changed(BTreeMap<String, f64>),
        }
        let form = Form::deserialize(deserializer)
            .map_err(|_| D::Error::custom(QuotaError::Form("neither a word nor an object of numbers".to_owned())))?;
        match form {
            Form::Word(word) => word.parse(),
            Form::Changed(changed) => Self::changed(changed),
        }
        .map_err(D::Error::custom)
    }
}

fn aws_default(op: &str) -> Option<f64> {
    AWS_DEFAULTS.binary_search_by(|(name, _)| (*name).cmp(op)).ok().map(|at| AWS_DEFAULTS[at].1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_sorted_so_that_every_operation_is_found() {
        assert!(AWS_DEFAULTS.is_sorted_by(|a, b| a.0 < b.0));
        for (op, rate) in AWS_DEFAULTS {
            assert_eq!(Quotas::aws().per_second(op), Some(rate), "{op}");
            assert_eq!(Quotas::off().per_second(op), None, "{op}");
        }
    }

    #[test]
    fn operations_that_are_not_named_keep_the_default() {
        let quotas: Quotas = r#"{"EnableKey": 500}"#.parse().unwrap();
        assert_eq!(quotas.per_second("EnableKey"), Some(500.0));
        assert_eq!(quotas.per_second("DisableKey"), Some(5.0));
        assert_eq!(quotas.per_second("Encrypt"), None);
    }

    #[test]
    fn every_form_survives_text_and_json() {
        for text in ["aws", "off", r#"{"EnableKey":50.5}"#] {
            let quotas: Quotas = text.parse().unwrap();
            assert_eq!(quotas.to_string(), text);
            let json = serde_json::to_string(&quotas).unwrap();
            assert_eq!(serde_json::from_str::<Quotas>(&json).unwrap(), quotas);
        }
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (text, word) in [
            ("on", "`aws`, `off`"),
            ("[1]", "`aws`, `off`"),
            (r#"{"EnabelKey": 5}"#, "EnabelKey"),
            (r#"{"EnableKey": 0}"#, "above 0"),
            (r#"{"EnableKey": "5"}"#, "`aws`, `off`"),
        ] {
            let error = text.parse::<Quotas>().unwrap_err().to_string();
            assert!(error.contains(word), "{text}: {error}");
        }
    }
}
