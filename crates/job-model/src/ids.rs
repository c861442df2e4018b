//! Typed ids, so that a job's id cannot be passed where a worker's is wanted.

use std::{fmt, str::FromStr};

use uuid::Uuid;

macro_rules! uuid_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
        #[serde(transparent)]
        pub struct $name(Uuid);

        impl $name {
            /// Wraps an id made elsewhere (a new one comes from the caller's clock or source of chance).
            pub const fn from_uuid(id: Uuid) -> Self {
                Self(id)
            }

            /// The bare UUID, for a database column or a message.
            pub const fn as_uuid(&self) -> Uuid {
                self.0
            }

            /// The 16 bytes a message carries.
            pub fn to_vec(self) -> Vec<u8> {
                self.0.as_bytes().to_vec()
            }

            /// Reads the 16 bytes of a message.
            pub fn from_slice(bytes: &[u8]) -> Option<Self> {
                Uuid::from_slice(bytes).ok().map(Self)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl FromStr for $name {
            type Err = uuid::Error;
            fn from_str(text: &str) -> Result<Self, Self::Err> {
                text.parse().map(Self)
            }
        }
    };
}

uuid_id! {
    /// A bulk job: a UUIDv7, so that ids sort by creation.
    JobId
}
uuid_id! {
    /// One run of a worker process; made at its start and never used again.
    WorkerId
}
uuid_id! {
    /// A policy template.
    TemplateId
}
uuid_id! {
    /// A registered key: a UUIDv7 of Keyfleet's own, not the key's id in AWS.
    ResourceId
}
uuid_id! {
    /// A synchronization of registered keys with KMS: a UUIDv7.
    SyncId
}
uuid_id! {
    /// A container: an AWS account with its Regions.
    ContainerId
}

/// One key of a job: `seq` counts from 0 in the caller's order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TaskRef {
    /// The job.
    pub job: JobId,
    /// The key's place in it.
    pub seq: u32,
}

/// A permit for one try of one task: the leader's epoch and a number within it, never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GoId(u64);

impl GoId {
    const NUMBER_BITS: u32 = 40;

    /// The `number`th Go of the leader of `epoch`. 40 bits of numbers last a leader three years at 10,000 a second.
    pub const fn new(epoch: u32, number: u64) -> Self {
        Self(((epoch as u64) << Self::NUMBER_BITS) | (number & ((1 << Self::NUMBER_BITS) - 1)))
    }

    /// Reads the number a message carries.
    pub const fn from_u64(raw: u64) -> Self {
        Self(raw)
    }

    /// The number a message carries.
    pub const fn as_u64(self) -> u64 {
        self.0
    }
}
