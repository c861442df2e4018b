//! The states of tasks and jobs, and the only functions that change them.
//!
//! A task ends once: the first final state wins and later events are refused as [`Refused`]. A job runs, stops on
//! demand, and finishes. SQL guards repeat these transitions and the CHECK constraints list the same words.

use std::{fmt, str::FromStr};

/// Where a task stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TaskState {
    /// Not ended.
    Pending,
    /// KMS confirmed it, or the key was seen to be in the asked state.
    Succeeded,
    /// KMS refused, or the outcome could not be learnt.
    Failed,
    /// The job ended before the key was changed.
    Canceled,
}

/// What ends a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TaskEvent {
    /// Confirmed or seen.
    Succeed,
    /// Refused or unknown.
    Fail,
    /// Stopped before the key was changed.
    Cancel,
}

/// Where a job stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum JobState {
    /// Tasks are dispatched and run.
    Running,
    /// Aborted: nothing new starts, what is under way is awaited or looked at.
    Stopping,
    /// Every task has its final state.
    Finished,
}

/// What moves a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum JobEvent {
    /// A caller cancels it.
    Abort,
    /// Its last task has ended.
    Finish,
}

/// The event does not apply in this state; nothing changes.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("the event does not apply in this state")]
pub struct Refused;

impl TaskState {
    /// The states that stay.
    pub const FINAL: [Self; 3] = [Self::Succeeded, Self::Failed, Self::Canceled];
    /// All states.
    pub const ALL: [Self; 4] = [Self::Pending, Self::Succeeded, Self::Failed, Self::Canceled];

    /// The state after `event`.
    ///
    /// # Errors
    /// [`Refused`] when the task has ended already.
    pub const fn next(self, event: TaskEvent) -> Result<Self, Refused> {
        match (self, event) {
            (Self::Pending, TaskEvent::Succeed) => Ok(Self::Succeeded),
            (Self::Pending, TaskEvent::Fail) => Ok(Self::Failed),
            (Self::Pending, TaskEvent::Cancel) => Ok(Self::Canceled),
            (Self::Succeeded | Self::Failed | Self::Canceled, _) => Err(Refused),
        }
    }

    /// The word of the API and the database.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Canceled => "canceled",
        }
    }
}

impl JobState {
    /// All states.
    pub const ALL: [Self; 3] = [Self::Running, Self::Stopping, Self::Finished];

    /// The state after `event`. An abort of a stopping or finished job changes nothing and is no error: a second or
    /// late command is harmless.
    ///
    /// # Errors
    /// [`Refused`] when a finished job is to finish again.
    pub const fn next(self, event: JobEvent) -> Result<Self, Refused> {
        match (self, event) {
            (Self::Running | Self::Stopping, JobEvent::Abort) => Ok(Self::Stopping),
            (Self::Finished, JobEvent::Abort) => Ok(Self::Finished),
            (Self::Running | Self::Stopping, JobEvent::Finish) => Ok(Self::Finished),
            (Self::Finished, JobEvent::Finish) => Err(Refused),
        }
    }

    /// The word of the database.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Stopping => "stopping",
            Self::Finished => "finished",
        }
    }
}

/// What clients see of a job: everything before the end reads `in_progress`, because they poll until it is not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum OverallStatus {
    /// Not ended.
    InProgress,
    /// Ended, otherwise; some keys may have failed.
    Completed,
    /// Ended; none succeeded and some failed.
    Error,
    /// An abort came and keys were left.
    Canceled,
}

impl OverallStatus {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::InProgress, Self::Completed, Self::Error, Self::Canceled];

    /// The word of the API and the database.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::InProgress => "in_progress",
            Self::Completed => "completed",
            Self::Error => "error",
            Self::Canceled => "canceled",
        }
    }
}

/// The word names no state.
#[derive(Debug, thiserror::Error)]
#[error("unknown state {0:?}")]
pub struct UnknownState(pub String);

macro_rules! words {
    ($($name:ident),*) => {$(
        impl FromStr for $name {
            type Err = UnknownState;
            fn from_str(text: &str) -> Result<Self, Self::Err> {
                Self::ALL.into_iter().find(|s| s.as_str() == text).ok_or_else(|| UnknownState(text.to_owned()))
            }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }
    )*};
}
words!(TaskState, JobState, OverallStatus);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn task_event() -> impl Strategy<Value = TaskEvent> {
        prop_oneof![Just(TaskEvent::Succeed), Just(TaskEvent::Fail), Just(TaskEvent::Cancel)]
    }

    fn job_event() -> impl Strategy<Value = JobEvent> {
        prop_oneof![Just(JobEvent::Abort), Just(JobEvent::Finish)]
    }

    proptest! {
        #[test]
        fn the_first_final_state_of_a_task_wins(events in prop::collection::vec(task_event(), 1..20)) {
            let mut state = TaskState::Pending;
            let mut first = None;
            for event in events {
                if let Ok(next) = state.next(event) {
                    state = next;
                    first.get_or_insert(next);
                }
                prop_assert!(first.is_some_and(|first| first == state));
                prop_assert!(TaskState::FINAL.contains(&state));
            }
        }

        #[test]
        fn a_job_never_runs_again(events in prop::collection::vec(job_event(), 1..20)) {
            let mut state = JobState::Running;
            for event in events {
                let before = state;
                state = state.next(event).unwrap_or(state);
                prop_assert_ne!(state, JobState::Running);
                prop_assert!(before != JobState::Finished || state == JobState::Finished);
            }
        }
    }

    #[test]
    fn words_read_back() {
        for state in TaskState::ALL {
            assert_eq!(state.as_str().parse::<TaskState>().unwrap(), state);
        }
        for state in JobState::ALL {
            assert_eq!(state.as_str().parse::<JobState>().unwrap(), state);
        }
        for status in OverallStatus::ALL {
            assert_eq!(status.as_str().parse::<OverallStatus>().unwrap(), status);
        }
    }
}
