//! Conversions at the edge: generated types to those of `job-model` and back. What does not fit names its field.

use job_model::{
    AgainReason, Forecast, JobId, KeyAddress, Operation, Outcome, OverallStatus, Refusal, Request, TaskRef, TaskState,
    WorkerId,
};

use crate::{jobs::v1 as jobs, workers::v1 as workers};

/// A message has a field that is missing or makes no sense.
#[derive(Debug, thiserror::Error)]
#[error("the field {0} is missing or makes no sense")]
pub struct BadField(pub &'static str);

/// The job's id from its 16 bytes.
///
/// # Errors
/// [`BadField`] when there are not 16.
pub fn job_id(bytes: &[u8]) -> Result<JobId, BadField> {
    JobId::from_slice(bytes).ok_or(BadField("job_id"))
}

/// The worker's id from its 16 bytes.
///
/// # Errors
/// [`BadField`] when there are not 16.
pub fn worker_id(bytes: &[u8]) -> Result<WorkerId, BadField> {
    WorkerId::from_slice(bytes).ok_or(BadField("worker_id"))
}

impl From<TaskRef> for workers::TaskRef {
    fn from(task: TaskRef) -> Self {
        Self { job_id: task.job.to_vec().into(), seq: task.seq }
    }
}

impl TryFrom<&workers::TaskRef> for TaskRef {
    type Error = BadField;
    fn try_from(task: &workers::TaskRef) -> Result<Self, BadField> {
        Ok(Self { job: job_id(&task.job_id)?, seq: task.seq })
    }
}

/// A required task reference.
///
/// # Errors
/// [`BadField`] when it is missing or wrong.
pub fn task(field: Option<&workers::TaskRef>) -> Result<TaskRef, BadField> {
    field.ok_or(BadField("task"))?.try_into()
}

impl From<Operation> for jobs::Operation {
    fn from(operation: Operation) -> Self {
        match operation {
            Operation::EnableKey => Self::EnableKey,
            Operation::DisableKey => Self::DisableKey,
            Operation::ScheduleKeyDeletion => Self::ScheduleKeyDeletion,
            Operation::CancelKeyDeletion => Self::CancelKeyDeletion,
            Operation::ApplyPolicyTemplate => Self::ApplyPolicyTemplate,
        }
    }
}

impl TryFrom<jobs::Operation> for Operation {
    type Error = BadField;
    fn try_from(operation: jobs::Operation) -> Result<Self, BadField> {
        match operation {
            jobs::Operation::Unspecified => Err(BadField("operation")),
            jobs::Operation::EnableKey => Ok(Self::EnableKey),
            jobs::Operation::DisableKey => Ok(Self::DisableKey),
            jobs::Operation::ScheduleKeyDeletion => Ok(Self::ScheduleKeyDeletion),
            jobs::Operation::CancelKeyDeletion => Ok(Self::CancelKeyDeletion),
            jobs::Operation::ApplyPolicyTemplate => Ok(Self::ApplyPolicyTemplate),
        }
    }
}

impl From<TaskState> for jobs::TaskState {
    fn from(state: TaskState) -> Self {
        match state {
            TaskState::Pending => Self::Pending,
            TaskState::Succeeded => Self::Succeeded,
            TaskState::Failed => Self::Failed,
            TaskState::Canceled => Self::Canceled,
        }
    }
}

impl From<OverallStatus> for jobs::OverallStatus {
    fn from(status: OverallStatus) -> Self {
        match status {
            OverallStatus::InProgress => Self::InProgress,
            OverallStatus::Completed => Self::Completed,
            OverallStatus::Error => Self::Error,
            OverallStatus::Canceled => Self::Canceled,
        }
    }
}

/// The status a filter names; `None` for any.
///
/// # Errors
/// [`BadField`] when the number is none of the enum's.
pub fn overall_status(value: i32) -> Result<Option<OverallStatus>, BadField> {
    Ok(match jobs::OverallStatus::try_from(value).map_err(|_| BadField("overall_status"))? {
        jobs::OverallStatus::Unspecified => None,
        jobs::OverallStatus::InProgress => Some(OverallStatus::InProgress),
        jobs::OverallStatus::Completed => Some(OverallStatus::Completed),
        jobs::OverallStatus::Error => Some(OverallStatus::Error),
        jobs::OverallStatus::Canceled => Some(OverallStatus::Canceled),
    })
}

/// The task state a filter or an answer names; `None` for any.
///
/// # Errors
/// [`BadField`] when the number is none of the enum's.
pub fn task_state(value: i32) -> Result<Option<TaskState>, BadField> {
    Ok(match jobs::TaskState::try_from(value).map_err(|_| BadField("state"))? {
        jobs::TaskState::Unspecified => None,
        jobs::TaskState::Pending => Some(TaskState::Pending),
        jobs::TaskState::Succeeded => Some(TaskState::Succeeded),
        jobs::TaskState::Failed => Some(TaskState::Failed),
        jobs::TaskState::Canceled => Some(TaskState::Canceled),
    })
}

impl From<&KeyAddress> for workers::KeyAddress {
    fn from(key: &KeyAddress) -> Self {
        Self { account: key.account.to_string(), region: key.region.to_string(), key_id: key.id.to_string() }
    }
}

/// A required key address.
///
/// # Errors
/// [`BadField`] when it is missing.
pub fn key(field: Option<workers::KeyAddress>) -> Result<KeyAddress, BadField> {
    let key = field.ok_or(BadField("key"))?;
    Ok(KeyAddress { account: key.account.into(), region: key.region.into(), id: key.key_id.into() })
}

/// What a job asks of each key.
///
/// # Errors
/// [`BadField`] when the operation is unknown.
pub fn request(spec: &workers::JobSpec) -> Result<Request, BadField> {
    Ok(match Operation::try_from(spec.operation())? {
        Operation::EnableKey => Request::EnableKey,
        Operation::DisableKey => Request::DisableKey,
        Operation::ScheduleKeyDeletion => Request::ScheduleKeyDeletion { days: spec.days },
        Operation::CancelKeyDeletion => Request::CancelKeyDeletion,
        Operation::ApplyPolicyTemplate => Request::ApplyPolicy { policy: spec.policy.as_str().into() },
    })
}

/// The same, the other way.
pub fn spec(job: JobId, request: &Request, force: bool, dry_run: bool) -> workers::JobSpec {
    let (days, policy) = match request {
        Request::ScheduleKeyDeletion { days } => (*days, String::new()),
        Request::ApplyPolicy { policy } => (0, policy.to_string()),
        Request::EnableKey | Request::DisableKey | Request::CancelKeyDeletion => (0, String::new()),
    };
    workers::JobSpec {
        job_id: job.to_vec().into(),
        operation: jobs::Operation::from(request.operation()).into(),
        days,
        policy,
        force,
        dry_run,
    }
}

impl From<AgainReason> for workers::AgainReason {
    fn from(reason: AgainReason) -> Self {
        match reason {
            AgainReason::NeedsActing => Self::NeedsActing,
            AgainReason::Throttled => Self::Throttled,
            AgainReason::Unavailable => Self::Unavailable,
            AgainReason::Unanswered => Self::Unanswered,
        }
    }
}

impl From<Outcome> for workers::report::Outcome {
    fn from(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Succeeded { already } => Self::Succeeded(workers::Succeeded { already }),
            Outcome::Refused(refusal) => Self::Refused(workers::Refused { code: refusal.code, text: refusal.text }),
            Outcome::Again { reason, said } => Self::Again(workers::Again {
                reason: workers::AgainReason::from(reason).into(),
                code: said.code,
                text: said.text,
            }),
            Outcome::Foretold(forecast) => {
                let (forecast, reason) = match forecast {
                    Forecast::Would => (workers::Forecast::Would, String::new()),
                    Forecast::Already => (workers::Forecast::Already, String::new()),
                    Forecast::Impossible(reason) => (workers::Forecast::Impossible, reason),
                };
                Self::Foretold(workers::Foretold { forecast: forecast.into(), reason })
            }
            Outcome::Unstarted => Self::Unstarted(workers::Unstarted {}),
        }
    }
}

/// A report's outcome.
///
/// # Errors
/// [`BadField`] when it is missing or its reason unknown.
pub fn outcome(field: Option<workers::report::Outcome>) -> Result<Outcome, BadField> {
    use workers::report::Outcome as Wire;
    Ok(match field.ok_or(BadField("outcome"))? {
        Wire::Succeeded(workers::Succeeded { already }) => Outcome::Succeeded { already },
        Wire::Refused(workers::Refused { code, text }) => Outcome::Refused(Refusal { code, text, status: 0 }),
        Wire::Again(again) => Outcome::Again {
            reason: match again.reason() {
                workers::AgainReason::Unspecified => return Err(BadField("reason")),
                workers::AgainReason::NeedsActing => AgainReason::NeedsActing,
                workers::AgainReason::Throttled => AgainReason::Throttled,
                workers::AgainReason::Unavailable => AgainReason::Unavailable,
                workers::AgainReason::Unanswered => AgainReason::Unanswered,
            },
            said: Refusal { code: again.code, text: again.text, status: 0 },
        },
        Wire::Unstarted(workers::Unstarted {}) => Outcome::Unstarted,
        Wire::Foretold(foretold) => Outcome::Foretold(match foretold.forecast() {
            workers::Forecast::Unspecified => return Err(BadField("forecast")),
            workers::Forecast::Would => Forecast::Would,
            workers::Forecast::Already => Forecast::Already,
            workers::Forecast::Impossible => Forecast::Impossible(foretold.reason),
        }),
    })
}
