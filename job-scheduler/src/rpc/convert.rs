//! Rows as messages.

use job_model::Operation;
use keyfleet_proto::jobs::v1 as wire;
use time::OffsetDateTime;

use crate::store::{
    jobs::Job,
    tasks::{Ended, Task},
};

pub(super) fn micros(at: OffsetDateTime) -> i64 {
    i64::try_from(at.unix_timestamp_nanos() / 1_000).unwrap_or(0)
}

pub(super) fn job(job: &Job) -> wire::Job {
    let in_progress = job.total.saturating_sub(job.succeeded + job.failed + job.canceled);
    wire::Job {
        id: job.id.to_string(),
        tenant: job.tenant.to_string(),
        created_by: job.created_by.clone(),
        operation: wire::Operation::from(job.operation).into(),
        days: job.days,
        policy_template_id: job.policy_template_id.clone(),
        force: job.force,
        dry_run: job.dry_run,
        abort: job.abort,
        overall_status: wire::OverallStatus::from(job.status).into(),
        counts: Some(wire::Counts {
            total: job.total.into(),
            in_progress: in_progress.into(),
            succeeded: job.succeeded.into(),
            failed: job.failed.into(),
            canceled: job.canceled.into(),
            already: job.already.into(),
        }),
        created_at_us: micros(job.created_at),
        updated_at_us: micros(job.updated_at),
        completed_at_us: job.completed_at.map(micros),
        max_rate: job.max_rate,
        selector: job.selector.clone().unwrap_or_default(),
    }
}

pub(super) fn task(task: Task) -> wire::Task {
    wire::Task {
        seq: task.seq,
        key: task.key,
        state: wire::TaskState::from(task.state).into(),
        detail: task.detail.unwrap_or_default(),
        attempts: task.attempts,
        already: task.already,
        state_before: task.state_before.unwrap_or_default(),
        started_at_us: task.started_at.map(micros),
        finished_at_us: task.finished_at.map(micros),
    }
}

pub(super) fn ended(task: Ended) -> wire::Task {
    wire::Task {
        seq: task.seq,
        key: task.key,
        state: wire::TaskState::from(task.state).into(),
        detail: task.detail.unwrap_or_default(),
        ..wire::Task::default()
    }
}

pub(super) fn operation(value: i32) -> Result<Operation, tonic::Status> {
    wire::Operation::try_from(value)
        .ok()
        .and_then(|operation| Operation::try_from(operation).ok())
        .ok_or_else(|| tonic::Status::invalid_argument("operation: it is missing or unknown"))
}
