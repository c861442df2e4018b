//! A job as the API writes it.
//!
//! The order of the fields is part of the interface, and a job of a million keys is written without ever being whole
//! in memory. So a job is four pieces of JSON text around the two parts that grow with its keys, and every answer,
//! whole or streamed, is put together from the same pieces.

use std::io::Write as _;

use job_model::{Operation, OverallStatus, SMALL_JOB, TaskState, forecast::IMPOSSIBLE};
use keyfleet_proto::{
    convert::{self, BadField},
    jobs::v1 as proto,
};
use serde::Serialize;
use serde_json::value::RawValue;

use crate::{error::ApiError, times::rfc3339};

/// The only cloud there is.
pub(super) const CLOUD: &str = "aws";

/// A job's JSON but for its keys.
pub(super) struct JobForm {
    /// The fields before `detailed_status`.
    head: Vec<u8>,
    /// The fields between it and `keys`.
    middle: Vec<u8>,
    /// The fields after `keys`.
    tail: Vec<u8>,
    /// Whether the job has few enough keys to stand in every answer.
    small: bool,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Head<'a> {
    id: &'a str,
    uri: String,
    account: String,
    created_at: String,
    updated_at: String,
    #[serde(rename = "completed_at", skip_serializing_if = "Option::is_none")]
    completed_at: Option<String>,
    #[serde(rename = "overall_status")]
    overall_status: &'static str,
}

#[derive(Serialize)]
struct Middle {
    abort: bool,
    cloud: &'static str,
}

#[derive(Serialize)]
struct Tail<'a> {
    operation: &'static str,
    counts: Counts,
    #[serde(skip_serializing_if = "Option::is_none")]
    days: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    policy_template_id: Option<&'a str>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    force: bool,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    dry_run: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_rate: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    selector: Option<&'a RawValue>,
}

#[derive(Serialize)]
struct Counts {
    total: u64,
    in_progress: u64,
    succeeded: u64,
    failed: u64,
    canceled: u64,
    already: u64,
}

impl JobForm {
    pub(super) fn of(job: Option<&proto::Job>) -> Result<Self, ApiError> {
        job.ok_or(BadField("job")).and_then(Self::read).map_err(|error| inconsistent(&error))
    }

    fn read(job: &proto::Job) -> Result<Self, BadField> {
        let account = job.tenant.split(':').next().unwrap_or_default();
        let counts = job.counts.as_ref().ok_or(BadField("counts"))?;
        let status: OverallStatus = convert::overall_status(job.overall_status)?.ok_or(BadField("overall_status"))?;
        let operation = Operation::try_from(job.operation())?;
        Ok(Self {
            head: inside(&Head {
                id: &job.id,
                uri: format!("{}:cckm:bulkjob:{}", job.tenant, job.id),
                account: format!("{}:admin:accounts:{account}", job.tenant),
                created_at: rfc3339(job.created_at_us),
                updated_at: rfc3339(job.updated_at_us),
                completed_at: job.completed_at_us.map(rfc3339),
                overall_status: status.as_str(),
            }),
            middle: inside(&Middle { abort: job.abort, cloud: CLOUD }),
            tail: inside(&Tail {
                operation: operation.as_str(),
                counts: Counts {
                    total: counts.total,
                    in_progress: counts.in_progress,
                    succeeded: counts.succeeded,
                    failed: counts.failed,
                    canceled: counts.canceled,
                    already: counts.already,
                },
                days: job.days,
                policy_template_id: job.policy_template_id.as_deref(),
                force: job.force,
                dry_run: job.dry_run,
                max_rate: job.max_rate,
                selector: selector(&job.selector)?,
            }),
            small: counts.total <= SMALL_JOB as u64,
        })
    }

    /// Whether its keys stand in every answer.
    pub(super) const fn is_small(&self) -> bool {
        self.small
    }

    /// The job without `keys` and `detailed_status`.
    pub(super) fn write_bare(&self, out: &mut Vec<u8>) {
        out.push(b'{');
        for (number, part) in [&self.head, &self.middle, &self.tail].into_iter().enumerate() {
            if number > 0 {
                out.push(b',');
            }
            out.extend_from_slice(part);
        }
        out.push(b'}');
    }

    /// The job with all its keys.
    pub(super) fn write_whole(&self, out: &mut Vec<u8>, tasks: &[proto::Task]) -> Result<(), ApiError> {
        self.write_head(out);
        for (number, task) in tasks.iter().enumerate() {
            write_status(out, task, number == 0)?;
        }
        self.write_middle(out);
        for (number, task) in tasks.iter().enumerate() {
            write_key(out, task, number == 0);
        }
        self.write_tail(out);
        Ok(())
    }

    /// [`Self::write_whole`] for a small job, [`Self::write_bare`] for another.
    pub(super) fn write_usual(&self, out: &mut Vec<u8>, tasks: &[proto::Task]) -> Result<(), ApiError> {
        if self.small {
            self.write_whole(out, tasks)
        } else {
            self.write_bare(out);
            Ok(())
        }
    }

    /// Up to the first of the statuses.
    pub(super) fn write_head(&self, out: &mut Vec<u8>) {
        out.push(b'{');
        out.extend_from_slice(&self.head);
        out.extend_from_slice(b",\"detailed_status\":{");
    }

    /// From the last of the statuses to the first key.
    pub(super) fn write_middle(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"},");
        out.extend_from_slice(&self.middle);
        out.extend_from_slice(b",\"keys\":[");
    }

    /// From the last key to the end.
    pub(super) fn write_tail(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"],");
        out.extend_from_slice(&self.tail);
        out.push(b'}');
    }
}

/// One member of `detailed_status`.
pub(super) fn write_status(out: &mut Vec<u8>, task: &proto::Task, first: bool) -> Result<(), ApiError> {
    write_key(out, task, first);
    out.push(b':');
    match task_state(task)? {
        TaskState::Pending => out.extend_from_slice(b"\"in_progress\""),
        // Of a dry run: what it foretells.
        TaskState::Succeeded if !task.detail.is_empty() => write_string(out, &task.detail),
        TaskState::Failed if task.detail.starts_with(IMPOSSIBLE) => write_string(out, &task.detail),
        TaskState::Succeeded => out.extend_from_slice(b"\"Success\""),
        TaskState::Failed => write_string(out, &format!("Failed: {}", task.detail)),
        TaskState::Canceled => out.extend_from_slice(b"\"Canceled\""),
    }
    Ok(())
}

/// One member of `keys`.
pub(super) fn write_key(out: &mut Vec<u8>, task: &proto::Task, first: bool) {
    if !first {
        out.push(b',');
    }
    write_string(out, &task.key);
}

/// The state of a task.
pub(super) fn task_state(task: &proto::Task) -> Result<TaskState, ApiError> {
    convert::task_state(task.state)
        .and_then(|state| state.ok_or(BadField("state")))
        .map_err(|error| inconsistent(&error))
}

fn write_string(out: &mut Vec<u8>, text: &str) {
    serde_json::to_writer(out.by_ref(), text).expect("a string has a JSON form and memory takes it");
}

/// The members of a value's JSON object, without the braces.
fn inside(value: &impl Serialize) -> Vec<u8> {
    let mut text = serde_json::to_vec(value).expect("strings, numbers and booleans have a JSON form");
    text.pop();
    text.remove(0);
    text
}

fn inconsistent(error: &BadField) -> ApiError {
    tracing::error!(%error, "The scheduler's answer makes no sense.");
    ApiError::Internal
}

/// The stored text; none of a job whose keys were named.
fn selector(text: &str) -> Result<Option<&RawValue>, BadField> {
    if text.is_empty() { Ok(None) } else { serde_json::from_str(text).map(Some).map_err(|_| BadField("selector")) }
}

#[cfg(test)]
#[path = "form_tests.rs"]
mod tests;
