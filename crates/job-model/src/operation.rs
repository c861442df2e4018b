//! The bulk operations and what each asks of a key.

use std::{fmt, str::FromStr, sync::Arc};

/// A bulk operation, in CCKM's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Operation {
    /// `enablekey`
    EnableKey,
    /// `disablekey`
    DisableKey,
    /// `schedulekeydeletion`
    ScheduleKeyDeletion,
    /// `cancelkeydeletion`
    CancelKeyDeletion,
    /// `applypolicytemplate`
    ApplyPolicyTemplate,
}

impl Operation {
    /// All of them, in the API's order.
    pub const ALL: [Self; 5] = [
        Self::EnableKey,
        Self::DisableKey,
        Self::ScheduleKeyDeletion,
        Self::CancelKeyDeletion,
        Self::ApplyPolicyTemplate,
    ];

    /// The word of the REST API and the database.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::EnableKey => "enablekey",
            Self::DisableKey => "disablekey",
            Self::ScheduleKeyDeletion => "schedulekeydeletion",
            Self::CancelKeyDeletion => "cancelkeydeletion",
            Self::ApplyPolicyTemplate => "applypolicytemplate",
        }
    }

    /// The mutating KMS operation: the name its quota goes by.
    pub const fn kms_operation(self) -> &'static str {
        match self {
            Self::EnableKey => "EnableKey",
            Self::DisableKey => "DisableKey",
            Self::ScheduleKeyDeletion => "ScheduleKeyDeletion",
            Self::CancelKeyDeletion => "CancelKeyDeletion",
            Self::ApplyPolicyTemplate => "PutKeyPolicy",
        }
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The word names no operation.
#[derive(Debug, thiserror::Error)]
#[error(
    "unknown operation {0:?}; known are enablekey, disablekey, schedulekeydeletion, cancelkeydeletion, applypolicytemplate"
)]
pub struct UnknownOperation(pub String);

impl FromStr for Operation {
    type Err = UnknownOperation;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|op| op.as_str() == text).ok_or_else(|| UnknownOperation(text.to_owned()))
    }
}

/// What a job asks of each of its keys: the operation with all it needs.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Request {
    /// Be enabled.
    EnableKey,
    /// Be disabled.
    DisableKey,
    /// Be deleted after this many days.
    ScheduleKeyDeletion {
        /// 7 to 30 (AWS's `PendingWindowInDays`).
        days: u32,
    },
    /// Be no longer pending deletion.
    CancelKeyDeletion,
    /// Have this policy.
    ApplyPolicy {
        /// JSON text.
        policy: Arc<str>,
    },
}

impl Request {
    /// The waiting periods KMS takes, in days.
    pub const DAYS: std::ops::RangeInclusive<u32> = 7..=30;
    /// KMS's waiting period when none is given, in days.
    pub const DEFAULT_DAYS: u32 = 30;

    /// The operation this is a request of.
    pub const fn operation(&self) -> Operation {
        match self {
            Self::EnableKey => Operation::EnableKey,
            Self::DisableKey => Operation::DisableKey,
            Self::ScheduleKeyDeletion { .. } => Operation::ScheduleKeyDeletion,
            Self::CancelKeyDeletion => Operation::CancelKeyDeletion,
            Self::ApplyPolicy { .. } => Operation::ApplyPolicyTemplate,
        }
    }

    /// Whether KMS refuses it, for the key's state, on a key that is in the asked state.
    pub const fn refused_when_there(&self) -> bool {
        match self {
            Self::ScheduleKeyDeletion { .. } | Self::CancelKeyDeletion => true,
            Self::EnableKey | Self::DisableKey | Self::ApplyPolicy { .. } => false,
        }
    }

    /// Whether a write of `self` and one of `other` leave a key in different states, so that a lagging reading after
    /// one cannot be told from the other's effect.
    pub fn contradicts(&self, other: &Self) -> bool {
        self.aspect() == other.aspect() && self != other
    }

    /// What of the key the request changes: its state or its policy. Requests of different aspects never contradict.
    pub const fn aspect(&self) -> Aspect {
        match self {
            Self::EnableKey | Self::DisableKey | Self::ScheduleKeyDeletion { .. } | Self::CancelKeyDeletion => {
                Aspect::State
            }
            Self::ApplyPolicy { .. } => Aspect::Policy,
        }
    }
}

/// A part of a key that requests change independently of the other part.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Aspect {
    /// Enabled, disabled, pending deletion.
    State,
    /// The key policy.
    Policy,
}
