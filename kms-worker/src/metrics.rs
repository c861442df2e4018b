//! What this worker counts.

use std::time::Duration;

use job_model::{
    AgainReason, Outcome,
    outcome::{Failure, Meaning},
};

/// Explains the metrics to whoever scrapes them. Once per process.
pub fn describe() {
    metrics::describe_counter!("keyfleet_worker_tries_total", "Tries of tasks, by how they ended.");
    metrics::describe_counter!("keyfleet_worker_kms_requests_total", "KMS requests, by operation and answer.");
    metrics::describe_histogram!("keyfleet_worker_kms_request_seconds", "Duration of KMS requests, by operation.");
    metrics::describe_counter!("keyfleet_worker_lease_lapses_total", "Leases that lapsed before they were renewed.");
    metrics::describe_counter!(
        "keyfleet_worker_credentials_total",
        "Loads of AWS credentials, AssumeRole included, by what they gave."
    );
    metrics::describe_gauge!("keyfleet_connections_file_good", "1 unless CONNECTIONS_FILE cannot be read or used.");
    metrics::describe_gauge!("keyfleet_worker_open_gos", "Gos that run or whose report is not acknowledged.");
    metrics::describe_gauge!("keyfleet_worker_held_deliveries", "Deliveries held and not acknowledged.");
}

pub(crate) fn kms_request(operation: &'static str, failure: Option<&Failure>, took: Duration) {
    let answer = match failure {
        None => "ok",
        Some(Failure::Void) => "void",
        Some(Failure::Unsent(_)) => "unsent",
        Some(Failure::Unanswered(_)) => "unanswered",
        Some(Failure::Refused(refusal)) => match refusal.meaning() {
            Meaning::Throttled => "throttled",
            Meaning::Final | Meaning::InvalidState => "refused",
            Meaning::Passing | Meaning::Unclear => "failed",
        },
    };
    metrics::counter!("keyfleet_worker_kms_requests_total", "operation" => operation, "answer" => answer).increment(1);
    metrics::histogram!("keyfleet_worker_kms_request_seconds", "operation" => operation).record(took.as_secs_f64());
}

pub(crate) fn outcome_word(outcome: &Outcome) -> &'static str {
    match outcome {
        Outcome::Succeeded { already: true } => "already",
        Outcome::Succeeded { already: false } => "succeeded",
        Outcome::Refused(_) => "refused",
        Outcome::Foretold(_) => "foretold",
        Outcome::Unstarted => "unstarted",
        Outcome::Again { reason, .. } => match reason {
            AgainReason::NeedsActing => "needs_acting",
            AgainReason::Throttled => "throttled",
            AgainReason::Unavailable => "unavailable",
            AgainReason::Unanswered => "unanswered",
        },
    }
}

pub(crate) fn try_ended(outcome: &Outcome) {
    metrics::counter!("keyfleet_worker_tries_total", "outcome" => outcome_word(outcome)).increment(1);
}

/// Credentials were loaded, or not: for a reason that passes, or not.
pub(crate) fn credentials(passing: Option<bool>) {
    let outcome = match passing {
        None => "loaded",
        Some(true) => "unavailable",
        Some(false) => "refused",
    };
    metrics::counter!("keyfleet_worker_credentials_total", "outcome" => outcome).increment(1);
}

pub(crate) fn lease_lapsed() {
    metrics::counter!("keyfleet_worker_lease_lapses_total").increment(1);
}

#[expect(clippy::cast_precision_loss, reason = "a few thousand at most")]
pub(crate) fn levels(open_gos: usize, held: usize) {
    metrics::gauge!("keyfleet_worker_open_gos").set(open_gos as f64);
    metrics::gauge!("keyfleet_worker_held_deliveries").set(held as f64);
}
