//! The KMS operations that are answered.
//!
//! The list is this crate's own, as is the key-state table: a stand-in that shared them with the code it is there to
//! test would repeat its mistakes.

use std::{fmt, str::FromStr};

/// Defines the enum, its list and its names in one place, so that none can be forgotten.
macro_rules! operations {
    ($($name:ident),+ $(,)?) => {
        /// A KMS operation (API model `kms/2014-11-01`, target `TrentService.<name>`).
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[expect(missing_docs, reason = "the names are AWS's, and are their own description")]
        pub enum Operation { $($name),+ }

        impl Operation {
            /// All of them.
            pub const ALL: [Self; Self::COUNT] = [$(Self::$name),+];
            /// How many there are.
            pub const COUNT: usize = [$(stringify!($name)),+].len();

            /// AWS's name.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$name => stringify!($name)),+ }
            }
        }

        impl FromStr for Operation {
            type Err = UnknownOperation;
            fn from_str(text: &str) -> Result<Self, Self::Err> {
                match text {
                    $(stringify!($name) => Ok(Self::$name),)+
                    unknown => Err(UnknownOperation(unknown.to_owned())),
                }
            }
        }
    };
}

operations! {
    CreateKey,
    DescribeKey,
    ListKeys,
    EnableKey,
    DisableKey,
    ScheduleKeyDeletion,
    CancelKeyDeletion,
    GetKeyPolicy,
    PutKeyPolicy,
    ListAliases,
    CreateAlias,
    TagResource,
    UntagResource,
    ListResourceTags,
    EnableKeyRotation,
    DisableKeyRotation,
    GetKeyRotationStatus,
    UpdateKeyDescription,
}

impl Operation {
    /// The position in [`Self::ALL`].
    pub const fn index(self) -> usize {
        self as usize
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The simulator does not answer this operation.
#[derive(Debug, thiserror::Error)]
#[error("kms-sim knows no operation {0:?}")]
pub struct UnknownOperation(pub String);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_positions_agree() {
        for (at, op) in Operation::ALL.into_iter().enumerate() {
            assert_eq!(op.index(), at);
            assert_eq!(op.name().parse::<Operation>().unwrap(), op);
        }
        assert!("Encrypt".parse::<Operation>().is_err());
    }

    #[test]
    fn each_has_a_quota_of_aws() {
        for op in Operation::ALL {
            assert!(job_model::quota::Quotas::aws().per_second(op.name()).is_some(), "{op}");
        }
    }
}
