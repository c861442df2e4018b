//! Faults made on purpose: by fraction for load, one by one for tests that must know which request it hits.

use std::{collections::BTreeMap, str::FromStr};

use rand::Rng;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

use crate::{error::ErrorCode, operation::Operation, outcome::Cut};

/// One fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// This refusal, without doing the work.
    Refuse(ErrorCode),
    /// No answer.
    Cut(Cut),
}

impl Fault {
    /// The word in the configuration.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Refuse(code) => code.name(),
            Self::Cut(cut) => cut.name(),
        }
    }
}

impl FromStr for Fault {
    type Err = UnknownFault;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let cut = Cut::ALL.into_iter().find(|cut| cut.name() == text).map(Self::Cut);
        cut.or_else(|| text.parse().ok().map(Self::Refuse)).ok_or_else(|| UnknownFault(text.to_owned()))
    }
}

/// Neither an error code nor an ending without an answer.
#[derive(Debug, thiserror::Error)]
#[error(
    "{0:?} is no fault: an error code such as KMSInternalException, or timeout_before, timeout_after, disconnect_before, disconnect_after, junk_before, junk_after (`timeout`, `disconnect` and `junk` as fractions: half of each)"
)]
pub struct UnknownFault(String);

/// A fault for the next request that matches, and only for that one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NextFault {
    /// The operation it waits for.
    pub op: Operation,
    /// The key it waits for, by its bare id; `None` takes any.
    pub key: Option<String>,
    /// What happens to it.
    pub fault: Fault,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct NextFaultForm {
    op: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    key: Option<String>,
    fault: String,
}

impl Serialize for NextFault {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let form =
            NextFaultForm { op: self.op.name().to_owned(), key: self.key.clone(), fault: self.fault.name().to_owned() };
        form.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for NextFault {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let form = NextFaultForm::deserialize(deserializer)?;
        Ok(Self {
            op: form.op.parse().map_err(D::Error::custom)?,
            key: form.key,
            fault: form.fault.parse().map_err(D::Error::custom)?,
        })
    }
}

/// A number for all operations, or an object of numbers for one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
enum Entry {
    Fraction(f64),
    Operation(BTreeMap<String, f64>),
}

/// Fractions of requests that meet a fault: `{"KMSInternalException": 0.01, "timeout": 0.001}` for all operations,
/// `{"EnableKey": {"timeout": 1.0}}` for one, where a fault it names stands instead of the general one. `timeout`, `disconnect` and
/// `junk` do the work first in half of the cases.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Faults(BTreeMap<String, Entry>);

impl Faults {
    /// These faults for all operations, as fractions 0 to 1.
    pub fn for_all<'a>(fractions: impl IntoIterator<Item = (&'a str, f64)>) -> Self {
        Self(fractions.into_iter().map(|(name, fraction)| (name.to_owned(), Entry::Fraction(fraction))).collect())
    }

    /// The same, ready for drawing.
    ///
    /// # Errors
    /// A sentence when a name is unknown or an operation's fractions add up to more than 1.
    pub(crate) fn table(&self) -> Result<FaultTable, String> {
        let mut general = BTreeMap::new();
        let mut special: BTreeMap<Operation, BTreeMap<&str, f64>> = BTreeMap::new();
        for (name, entry) in &self.0 {
            match entry {
                Entry::Fraction(fraction) => {
                    general.insert(name.as_str(), *fraction);
                }
                Entry::Operation(fractions) => {
                    let op = name.parse::<Operation>().map_err(|error| format!("faults: {error}"))?;
                    special.insert(op, fractions.iter().map(|(name, fraction)| (name.as_str(), *fraction)).collect());
                }
            }
        }
        let mut rows = Vec::with_capacity(Operation::COUNT);
        for op in Operation::ALL {
            let mut fractions = general.clone();
            fractions.extend(special.remove(&op).unwrap_or_default());
            rows.push(row(&fractions)?);
        }
        Ok(FaultTable(rows))
    }
}

fn row(fractions: &BTreeMap<&str, f64>) -> Result<Vec<(f64, Fault)>, String> {
    let mut sum = 0.0;
    let mut row = Vec::new();
    for (&name, &fraction) in fractions {
        if !(0.0..=1.0).contains(&fraction) {
            return Err(format!("faults: the fraction of {name} must be 0 to 1, not {fraction}"));
        }
        let parts = match name {
            "timeout" => vec![(0.5, Fault::Cut(Cut::TimeoutBefore)), (0.5, Fault::Cut(Cut::TimeoutAfter))],
            "disconnect" => vec![(0.5, Fault::Cut(Cut::DisconnectBefore)), (0.5, Fault::Cut(Cut::DisconnectAfter))],
            "junk" => vec![(0.5, Fault::Cut(Cut::JunkBefore)), (0.5, Fault::Cut(Cut::JunkAfter))],
            single => vec![(1.0, single.parse::<Fault>().map_err(|error| format!("faults: {error}"))?)],
        };
        for (share, fault) in parts {
            sum += share * fraction;
            if fraction > 0.0 {
                row.push((sum, fault));
            }
        }
    }
    // A little more than 1 is rounding.
    if sum > 1.0 + 1e-9 { Err(format!("faults: the fractions add up to {sum}, more than 1")) } else { Ok(row) }
}

/// Per operation, the faults with the upper ends of their shares of 0..1.
#[derive(Debug)]
pub(crate) struct FaultTable(Vec<Vec<(f64, Fault)>>);

impl FaultTable {
    pub(crate) fn draw(&self, op: Operation, rng: &mut impl Rng) -> Option<Fault> {
        let row = &self.0[op.index()];
        if row.is_empty() {
            return None;
        }
        let ticket = rng.random::<f64>();
        row.iter().find(|(upper, _)| ticket < *upper).map(|(_, fault)| *fault)
    }
}

#[cfg(test)]
mod tests {
    use rand::{SeedableRng, rngs::StdRng};

    use super::*;

    fn count(json: &str, op: Operation) -> BTreeMap<&'static str, u32> {
        let table = serde_json::from_str::<Faults>(json).unwrap().table().unwrap();
        let mut rng = StdRng::seed_from_u64(3);
        let mut counts = BTreeMap::new();
        for _ in 0..10_000 {
            *counts.entry(table.draw(op, &mut rng).map_or("none", Fault::name)).or_default() += 1;
        }
        counts
    }

    #[test]
    fn fractions_are_kept_and_timeouts_are_halved() {
        let counts = count(r#"{"timeout": 0.4, "ThrottlingException": 0.1}"#, Operation::EnableKey);
        assert!((1900..2100).contains(&counts["timeout_before"]), "{counts:?}");
        assert!((1900..2100).contains(&counts["timeout_after"]), "{counts:?}");
        assert!((900..1100).contains(&counts["ThrottlingException"]), "{counts:?}");
    }

    #[test]
    fn an_operation_of_its_own_overrides_what_it_names() {
        let json = r#"{"timeout": 0.5, "EnableKey": {"timeout": 0, "disconnect_after": 1.0}}"#;
        assert_eq!(count(json, Operation::EnableKey), BTreeMap::from([("disconnect_after", 10_000)]));
        assert!(count(json, Operation::DisableKey).contains_key("timeout_after"));
    }

    #[test]
    fn what_cannot_be_is_refused() {
        for json in [
            r#"{"timeuot": 0.1}"#,
            r#"{"timeout": 1.1}"#,
            r#"{"timeout": 0.6, "disconnect": 0.6}"#,
            r#"{"EnabelKey": {"timeout": 0.1}}"#,
        ] {
            assert!(serde_json::from_str::<Faults>(json).unwrap().table().is_err(), "{json}");
        }
    }
}
