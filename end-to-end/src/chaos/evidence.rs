//! The evidence of a run: what callers saw, what the database holds, what arrived at the KMS end.
//!
//! All times are wall-clock nanoseconds since 1970. Callers and the KMS end run on one machine, so they share the clock.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::job::Counts;
use crate::kms_end::Row;

/// Everything that a run left.
#[derive(Clone, Debug, Default)]
pub struct Evidence {
    /// The calls, in any order.
    pub history: Vec<Event>,
    /// Every key that a job names.
    pub keys: BTreeMap<String, KeyFact>,
    /// The jobs in the database.
    pub jobs: Vec<JobRow>,
    /// Their tasks in the database.
    pub tasks: Vec<TaskRow>,
    /// The KMS end's log, whole.
    pub kms: Vec<Row>,
    /// Each accepted job as all readers tell it once everything has come to rest.
    pub at_rest: Vec<AtRest>,
}

/// A call and what came of it.
#[derive(Clone, Debug)]
pub struct Event {
    /// Who called.
    pub caller: Caller,
    /// When it was sent.
    pub asked_ns: u64,
    /// When its answer was read whole, or was given up.
    pub answered_ns: u64,
    /// What was asked.
    pub call: Call,
    /// What was answered.
    pub answer: Answer,
}

/// Who calls.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[expect(missing_docs, reason = "the names say it")]
pub struct Caller {
    pub tenant: String,
    pub user: String,
}

/// What is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Call {
    /// A job over these keys.
    Create {
        /// The `Idempotency-Key`.
        once: Option<String>,
        /// The KMS operation it leads to, such as `EnableKey`.
        op: &'static str,
        /// In the caller's order.
        keys: Vec<String>,
    },
    /// `GET …/{id}`.
    Read {
        /// The job.
        job: String,
    },
    /// `POST …/{id}/cancel`.
    Cancel {
        /// The job.
        job: String,
    },
    /// `GET …/bulkjob`.
    List,
}

/// What is answered.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    /// A status and a job.
    Job(u16, View),
    /// A page of a list.
    Jobs(Vec<View>),
    /// A status without a job.
    Refused(u16),
    /// Nothing: cut off, or given up. The call may still take effect.
    Nothing,
}

/// A job as a reader is told.
#[derive(Clone, Debug, PartialEq)]
#[expect(missing_docs, reason = "the fields of the REST API")]
pub struct View {
    pub id: String,
    pub overall: String,
    pub abort: bool,
    pub counts: Counts,
    /// Empty where the call leaves it out.
    pub statuses: BTreeMap<String, String>,
}

/// A key as it was and is at the KMS end.
#[derive(Clone, Copy, Debug)]
pub struct KeyFact {
    /// Before the job it was in the state that the job asks for.
    pub held_before: bool,
    /// It is when all is over.
    pub holds_after: bool,
    /// It belongs to a container of its caller's tenant; a key of nobody's is told as not found without asking KMS.
    pub reachable: bool,
}

/// A row of `jobs` with its cursors.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "the columns of the table")]
pub struct JobRow {
    pub id: String,
    pub tenant: String,
    pub state: String,
    pub abort: bool,
    pub counts: Counts,
    /// `job_lanes.next_seq` by lane.
    pub cursors: BTreeMap<i16, i32>,
}

/// A row of `tasks`.
#[derive(Clone, Debug, Deserialize)]
#[expect(missing_docs, reason = "the columns of the table")]
pub struct TaskRow {
    pub job: String,
    pub seq: i32,
    pub lane: i16,
    pub key: String,
    pub state: String,
    pub detail: Option<String>,
}

/// A job as each reader tells it at rest.
#[derive(Clone, Debug)]
pub struct AtRest {
    /// From `{id}`, with all statuses.
    pub read: View,
    /// From the list; `None` when it is not there.
    pub listed: Option<View>,
    /// From `{id}/keys`: key, state, detail.
    pub rows: Vec<(String, String, Option<String>)>,
}

impl Evidence {
    /// The calls in the order of their answers.
    #[must_use]
    pub fn by_answer(&self) -> Vec<&Event> {
        let mut events: Vec<&Event> = self.history.iter().collect();
        events.sort_by_key(|event| event.answered_ns);
        events
    }

    /// The accepted creates: id, event.
    pub fn accepted(&self) -> impl Iterator<Item = (&str, &Event)> {
        self.history.iter().filter_map(|event| match (&event.call, &event.answer) {
            (Call::Create { .. }, Answer::Job(201, view)) => Some((view.id.as_str(), event)),
            _ => None,
        })
    }
}

impl TaskRow {
    /// The status that readers must be told. No row is written for what an abort left: it *is* canceled, what lies at or
    /// past the cursor from the abort on, the rest when the job has finished.
    #[must_use]
    pub fn status(&self, job: &JobRow) -> String {
        let undispatched = job.cursors.get(&self.lane).is_some_and(|next| self.seq >= *next);
        match self.state.as_str() {
            "pending" if job.abort && (undispatched || job.state == "finished") => "Canceled".to_owned(),
            state => status(state, self.detail.as_deref()),
        }
    }
}

/// The status in a job's words of a state in `{id}/keys`' words.
#[must_use]
pub fn status(state: &str, detail: Option<&str>) -> String {
    match state {
        "succeeded" => "Success".to_owned(),
        "failed" => format!("Failed: {}", detail.unwrap_or_default()),
        "canceled" => "Canceled".to_owned(),
        _ => "in_progress".to_owned(),
    }
}

/// Whether the request may have taken effect: granted, or worked on and not answered.
#[must_use]
pub fn may_have_worked(row: &Row) -> bool {
    row.status == 200 || matches!(row.error.as_deref(), Some("timeout_after" | "disconnect_after" | "junk_after"))
}
