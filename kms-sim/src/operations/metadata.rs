//! The description of a key that DescribeKey and CreateKey answer with.

use serde::Serialize;

use super::epoch_seconds;
use crate::store::{Key, KeyState, Scope, Version};

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Described<'a> {
    pub(super) key_metadata: Metadata<'a>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Metadata<'a> {
    #[serde(rename = "AWSAccountId")]
    account: &'a str,
    arn: String,
    creation_date: f64,
    customer_master_key_spec: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    deletion_date: Option<f64>,
    description: &'a str,
    enabled: bool,
    encryption_algorithms: [&'static str; 1],
    key_id: &'a str,
    key_manager: &'static str,
    key_spec: &'static str,
    key_state: KeyState,
    key_usage: &'static str,
    multi_region: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    multi_region_configuration: Option<MultiRegionConfiguration<'a>>,
    origin: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pending_deletion_window_in_days: Option<u32>,
}

/// No replicas can be made here.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct MultiRegionConfiguration<'a> {
    multi_region_key_type: &'static str,
    primary_key: MultiRegionKey<'a>,
    replica_keys: [MultiRegionKey<'a>; 0],
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct MultiRegionKey<'a> {
    arn: String,
    region: &'a str,
}

impl<'a> Metadata<'a> {
    pub(super) fn new(scope: &'a Scope, id: &'a str, key: &Key, version: &'a Version) -> Self {
        Self {
            account: &scope.account,
            arn: scope.key_arn(id),
            creation_date: epoch_seconds(key.created_ns),
            customer_master_key_spec: "SYMMETRIC_DEFAULT",
            deletion_date: version.deletion_ns.map(epoch_seconds),
            description: version.description.as_deref().unwrap_or_default(),
            enabled: version.state == KeyState::Enabled,
            encryption_algorithms: ["SYMMETRIC_DEFAULT"],
            key_id: id,
            key_manager: "CUSTOMER",
            key_spec: "SYMMETRIC_DEFAULT",
            key_state: version.state,
            key_usage: "ENCRYPT_DECRYPT",
            multi_region: key.multi_region,
            multi_region_configuration: key.multi_region.then(|| MultiRegionConfiguration {
                multi_region_key_type: "PRIMARY",
                primary_key: MultiRegionKey { arn: scope.key_arn(id), region: &scope.region },
                replica_keys: [],
            }),
            origin: if key.external { "EXTERNAL" } else { "AWS_KMS" },
            // Told only while there is no date yet: the period begins when the last replica is gone.
            pending_deletion_window_in_days: match version.state {
                KeyState::PendingReplicaDeletion => version.window_days,
                KeyState::Enabled
                | KeyState::Disabled
                | KeyState::PendingDeletion
                | KeyState::PendingImport
                | KeyState::Unavailable
                | KeyState::Creating
                | KeyState::Updating => None,
            },
        }
    }
}
