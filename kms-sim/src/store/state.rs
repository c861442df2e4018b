//! The states a key can be in, in AWS's words.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

/// A key's state (AWS KMS developer guide, "Key states").
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum KeyState {
    /// In use.
    #[default]
    Enabled,
    /// Not to be used.
    Disabled,
    /// To be deleted at its date.
    PendingDeletion,
    /// Without its imported key material.
    PendingImport,
    /// Its custom key store is disconnected.
    Unavailable,
    /// A replica in the making; passes.
    Creating,
    /// Its primary Region is being changed; passes.
    Updating,
    /// To be deleted once its replicas are.
    PendingReplicaDeletion,
}

impl KeyState {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Enabled,
        Self::Disabled,
        Self::PendingDeletion,
        Self::PendingImport,
        Self::Unavailable,
        Self::Creating,
        Self::Updating,
        Self::PendingReplicaDeletion,
    ];

    /// AWS's name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Enabled => "Enabled",
            Self::Disabled => "Disabled",
            Self::PendingDeletion => "PendingDeletion",
            Self::PendingImport => "PendingImport",
            Self::Unavailable => "Unavailable",
            Self::Creating => "Creating",
            Self::Updating => "Updating",
            Self::PendingReplicaDeletion => "PendingReplicaDeletion",
        }
    }

    /// The words of AWS's refusals: `<ARN> is pending deletion.`
    pub(crate) const fn words(self) -> &'static str {
        match self {
            Self::Enabled => "enabled",
            Self::Disabled => "disabled",
            Self::PendingDeletion => "pending deletion",
            Self::PendingImport => "pending import",
            Self::Unavailable => "unavailable",
            Self::Creating => "creating",
            Self::Updating => "updating",
            Self::PendingReplicaDeletion => "pending replica deletion",
        }
    }
}

impl fmt::Display for KeyState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Not the name of a key state.
#[derive(Debug, thiserror::Error)]
#[error("no key state is called {0:?}")]
pub struct UnknownState(String);

impl FromStr for KeyState {
    type Err = UnknownState;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|state| state.name() == text).ok_or_else(|| UnknownState(text.to_owned()))
    }
}

impl Serialize for KeyState {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

impl<'de> Deserialize<'de> for KeyState {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}
