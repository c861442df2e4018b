//! Synchronizations of registered keys with KMS: one file per call.

pub(crate) mod cancel;
pub(crate) mod create;
pub(crate) mod get;
pub(crate) mod list;

use std::collections::BTreeMap;

use axum::extract::{FromRequestParts, Path};
use http::request::Parts;
use keyfleet_proto::estate::v1 as proto;
use serde::Serialize;

use crate::{error::ApiError, times::rfc3339};

/// A synchronization
#[derive(Serialize, utoipa::ToSchema)]
pub(crate) struct SynchronizationForm {
    id: String,
    #[schema(example = "kylo:kylo:cckm:synchronize:0190a1b2-0000-7000-8000-000000000000")]
    uri: String,
    #[schema(example = "kylo:kylo:admin:accounts:kylo")]
    account: String,
    /// RFC 3339, UTC, microseconds
    #[serde(rename = "createdAt")]
    created_at: String,
    #[serde(rename = "updatedAt")]
    updated_at: String,
    /// Absent until it has ended
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    completed_at: Option<String>,
    /// The containers' names
    kms: Vec<String>,
    /// As given
    regions: Vec<String>,
    synchronize_all: bool,
    /// `in_progress`, `completed`, `error` (some part has failed) or `canceled`
    overall_status: String,
    /// By container and Region: `in_progress`, `completed`, `canceled` or `Failed: <code>: <text>`
    detailed_status: BTreeMap<String, String>,
    counts: SynchronizationCounts,
}

/// How many keys were met
#[derive(Serialize, utoipa::ToSchema)]
pub(crate) struct SynchronizationCounts {
    /// Found so far
    keys: u64,
    /// That KMS refused to describe
    skipped: u64,
}

impl SynchronizationForm {
    fn of(sync: proto::Synchronization) -> Self {
        let account = sync.tenant.split(':').next().unwrap_or_default();
        Self {
            uri: format!("{}:cckm:synchronize:{}", sync.tenant, sync.id),
            account: format!("{}:admin:accounts:{account}", sync.tenant),
            id: sync.id,
            created_at: rfc3339(sync.created_at_us),
            updated_at: rfc3339(sync.updated_at_us),
            completed_at: sync.completed_at_us.map(rfc3339),
            kms: sync.kms,
            regions: sync.regions,
            synchronize_all: sync.all,
            overall_status: sync.overall_status,
            counts: SynchronizationCounts {
                keys: sync.parts.iter().map(|part| part.keys).sum(),
                skipped: sync.parts.iter().map(|part| part.skipped).sum(),
            },
            detailed_status: sync
                .parts
                .into_iter()
                .map(|part| (format!("{}/{}", part.kms, part.region), part.status))
                .collect(),
        }
    }
}

/// The synchronization a path names.
pub(crate) struct SynchronizationPath(String);

impl<S: Send + Sync> FromRequestParts<S> for SynchronizationPath {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let path = Path::<String>::from_request_parts(parts, state).await;
        path.map(|Path(id)| Self(id))
            .map_err(|_| ApiError::NotFound("there is no synchronization of this id".to_owned()))
    }
}
