//! What a quota counts: one KMS operation in one Region of one account.

use std::{fmt, sync::Arc};

use crate::Operation;

/// A lane of mutating calls. Jobs whose keys share a lane share its pace.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Lane {
    /// The AWS account.
    pub account: Arc<str>,
    /// The Region.
    pub region: Arc<str>,
    /// The bulk operation; its quota is that of [`Operation::kms_operation`].
    pub operation: Operation,
}

impl Lane {
    /// The lane of the reads that observing for this lane costs.
    pub fn reading(&self) -> Reading {
        Reading {
            account: self.account.clone(),
            region: self.region.clone(),
            kms_operation: match self.operation {
                Operation::EnableKey
                | Operation::DisableKey
                | Operation::ScheduleKeyDeletion
                | Operation::CancelKeyDeletion => "DescribeKey",
                Operation::ApplyPolicyTemplate => "GetKeyPolicy",
            },
        }
    }
}

impl fmt::Display for Lane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.account, self.region, self.operation.kms_operation())
    }
}

/// A lane of reads: DescribeKey or GetKeyPolicy have quotas too.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Reading {
    /// The AWS account.
    pub account: Arc<str>,
    /// The Region.
    pub region: Arc<str>,
    /// `DescribeKey` or `GetKeyPolicy`.
    pub kms_operation: &'static str,
}
