//! Bulk jobs as the OpenAPI document describes them. The forms themselves are written and read elsewhere, piece by
//! piece ([`super::form`], [`super::order`]); a test compares the two.
#![expect(dead_code, reason = "the fields only describe")]

use std::collections::BTreeMap;

use utoipa::ToSchema;

use super::selector::Selector;

/// What a create takes
#[derive(ToSchema)]
pub(crate) struct Order {
    /// What to do to each key
    operation: Operation,
    /// Registered resource ids, AWS key ids or ARNs; 1 to 1,000,000 (a setting). Either these or a selector
    #[schema(min_items = 1, example = json!(["1f2d9e1c-1111-4222-8333-444455556666"]))]
    keys: Option<Vec<String>>,
    /// Of schedulekeydeletion alone: the waiting period in days; 30 when absent
    #[schema(minimum = 7, maximum = 30)]
    days: Option<u32>,
    /// Of applypolicytemplate, which needs it
    policy_template_id: Option<String>,
    /// Make the call for each key, also when it looks as if it were in the asked state
    force: Option<bool>,
    /// Only tell what would come of each key, and change none
    dry_run: Option<bool>,
    /// Keys per second over the whole job, at the most; the quotas hold all the same
    #[schema(minimum = 0.01)]
    max_rate: Option<f64>,
    /// Instead of keys: all registered keys that match
    selector: Option<Selector>,
}

/// What to do to each key
#[derive(ToSchema)]
#[schema(rename_all = "lowercase")]
pub(crate) enum Operation {
    EnableKey,
    DisableKey,
    ScheduleKeyDeletion,
    CancelKeyDeletion,
    ApplyPolicyTemplate,
}

/// A bulk job
#[derive(ToSchema)]
pub(crate) struct Job {
    id: uuid::Uuid,
    #[schema(example = "kylo:kylo:cckm:bulkjob:e612b64f-6364-48ce-92ec-c6dd608d7ad0")]
    uri: String,
    #[schema(example = "kylo:kylo:admin:accounts:kylo")]
    account: String,
    /// RFC 3339, UTC, microseconds
    #[schema(rename = "createdAt", example = "2023-02-10T08:19:48.558869Z")]
    created_at: String,
    #[schema(rename = "updatedAt", example = "2023-02-10T08:19:48.970377Z")]
    updated_at: String,
    /// Absent until the job has ended
    #[schema(nullable = false, example = "2023-02-10T08:19:48.970204Z")]
    completed_at: Option<String>,
    overall_status: OverallStatus,
    /// By key: `in_progress`, `Success`, `Failed: <KMS error code>: <text>` or `Canceled`; of a dry run also `Would …`,
    /// `Already …` and `Impossible: …`. Left out of a job of over 1,000 keys, but where it is asked for by its id
    #[schema(nullable = false)]
    detailed_status: Option<BTreeMap<String, String>>,
    /// Whether it was told to stop
    abort: bool,
    #[schema(example = "aws")]
    cloud: String,
    /// As given, each once. Left out like `detailed_status`
    #[schema(nullable = false)]
    keys: Option<Vec<String>>,
    operation: Operation,
    counts: Counts,
    /// As given
    #[schema(nullable = false)]
    days: Option<u32>,
    /// As given
    #[schema(nullable = false)]
    policy_template_id: Option<String>,
    /// Present when it was given as true
    #[schema(nullable = false)]
    force: Option<bool>,
    /// Present when it was given as true
    #[schema(nullable = false)]
    dry_run: Option<bool>,
    /// As given
    #[schema(nullable = false)]
    max_rate: Option<f64>,
    /// What its keys were selected by
    #[schema(nullable = false)]
    selector: Option<Selector>,
}

/// How many keys are how far
#[derive(ToSchema)]
pub(crate) struct Counts {
    total: u64,
    in_progress: u64,
    succeeded: u64,
    failed: u64,
    canceled: u64,
    /// Of the succeeded: in the asked state before, without a call
    already: u64,
}

/// How far the job is. A job that waits or stops is in progress
#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
pub(crate) enum OverallStatus {
    InProgress,
    Completed,
    Error,
    Canceled,
}
