//! What the callers of a run were told, written down as it happens.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::Result;
use reqwest::Method;
use serde_json::json;
use tokio::time::timeout;

use super::evidence::{Answer, Call, Caller as Who, Event, View};
use crate::caller::{self, BULKJOB, Caller};
use crate::job::JobView;

/// A caller gives an answer up after this: longer than the gateways' own wait of a cancel, shorter than a run.
const GIVEN_UP_AFTER: Duration = Duration::from_secs(12);

/// How long a list is asked for: the newest jobs.
const LISTED: &str = "?limit=20";

/// What one caller of one tenant is at one gateway, and the book it writes to.
#[derive(Debug)]
pub(super) struct Writer<'b> {
    pub(super) book: &'b Book,
    pub(super) who: Who,
    pub(super) caller: Caller,
}

/// Everything the callers did, shared by all of them.
#[derive(Debug, Default)]
pub(super) struct Book {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    history: Vec<Event>,
    /// The jobs that were answered 201, in that order.
    jobs: Vec<String>,
    /// Every key that was asked for.
    keys: BTreeMap<String, Asked>,
}

/// What a key was when it was asked for, and what it is to be.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked {
    /// It was in the asked state already.
    pub(super) held_before: bool,
    /// The KMS end has it.
    pub(super) exists: bool,
    /// It belongs to a container of its caller's tenant.
    pub(super) reachable: bool,
    /// The key states that are the asked one.
    pub(super) wanted: &'static [&'static str],
}

impl Book {
    fn open(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Any job that was answered 201, by a number drawn.
    pub(super) fn any_job(&self, drawn: u64) -> Option<String> {
        let inner = self.open();
        let count = inner.jobs.len() as u64;
        inner.jobs.get(usize::try_from(drawn % count.max(1)).unwrap_or_default()).cloned()
    }

    /// Notes keys before anybody is asked to change them.
    pub(super) fn note_keys(&self, keys: &[(String, Asked)]) {
        self.open().keys.extend(keys.iter().cloned());
    }

    /// The history and the keys so far.
    pub(super) fn read(&self) -> (Vec<Event>, BTreeMap<String, Asked>) {
        let inner = self.open();
        (inner.history.clone(), inner.keys.clone())
    }

    fn note(&self, event: Event) {
        let mut inner = self.open();
        if let (Call::Create { .. }, Answer::Job(201, view)) = (&event.call, &event.answer)
            && !inner.jobs.contains(&view.id)
        {
            inner.jobs.push(view.id.clone());
        }
        inner.history.push(event);
    }
}

impl Writer<'_> {
    /// Calls, and writes down what came of it.
    ///
    /// # Errors
    /// When a good answer is not of the API's form: that is a defect, not a fault.
    pub(super) async fn call(&self, call: Call, operation: &str) -> Result<Answer> {
        let asked_ns = now_ns();
        let request = match &call {
            Call::Create { once, keys, .. } => {
                let body = json!({"operation": operation, "keys": keys});
                let request = self.caller.call(Method::POST, BULKJOB).json(&body);
                match once {
                    Some(once) => request.header("Idempotency-Key", once),
                    None => request,
                }
            }
            Call::Read { job } => self.caller.call(Method::GET, &format!("{BULKJOB}/{job}")),
            Call::Cancel { job } => self.caller.call(Method::POST, &format!("{BULKJOB}/{job}/cancel")),
            Call::List => self.caller.call(Method::GET, &format!("{BULKJOB}{LISTED}")),
        };
        let answer = match timeout(GIVEN_UP_AFTER, request.send()).await {
            Ok(Ok(answer)) => read(&call, &answer)?,
            // Cut off or given up: nobody knows what it did.
            Ok(Err(_)) | Err(_) => Answer::Nothing,
        };
        let event = Event { caller: self.who.clone(), asked_ns, answered_ns: now_ns(), call, answer: answer.clone() };
        self.book.note(event);
        Ok(answer)
    }
}

fn read(call: &Call, answer: &caller::Answer) -> Result<Answer> {
    if !(200..300).contains(&answer.status) {
        return Ok(Answer::Refused(answer.status));
    }
    Ok(match call {
        Call::List => {
            let jobs: Vec<JobView> = serde_json::from_value(answer.body["resources"].clone())?;
            Answer::Jobs(jobs.into_iter().map(View::from).collect())
        }
        Call::Create { .. } | Call::Read { .. } | Call::Cancel { .. } => {
            Answer::Job(answer.status, View::from(answer.job()?))
        }
    })
}

impl From<JobView> for View {
    fn from(job: JobView) -> Self {
        Self {
            id: job.id,
            overall: job.overall_status,
            abort: job.abort,
            counts: job.counts,
            statuses: job.detailed_status,
        }
    }
}

/// The wall clock, which the KMS end's log goes by as well: nanoseconds since 1970.
pub(super) fn now_ns() -> u64 {
    u64::try_from(service_kit::clock::wall().unix_timestamp_nanos()).unwrap_or_default()
}
