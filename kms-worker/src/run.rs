//! One try of one task, and one look at a doubtful key.
//!
//! `job_model::plan::Try` decides; here its requests are made, each under the Go's permit. What the flag, the lease or a
//! new session forbids before any mutating request ends as `Unstarted`.

use std::sync::Arc;

use job_model::{
    KeyAddress, Observed, Outcome, Plan, Request, TaskRef,
    forecast::forecast,
    outcome::{Failure, Meaning},
    plan::{self, Leave, Step, Try},
};
use service_kit::clock;
use time::OffsetDateTime;

use crate::{
    kms::{Answer, Kms},
    metrics,
    permit::Permit,
};

/// What a job asks of each of its keys.
#[derive(Debug)]
pub struct Spec {
    /// The operation with all it needs.
    pub request: Request,
    /// Act whatever is read.
    pub force: bool,
    /// Observe and decide only.
    pub dry_run: bool,
}

/// A Go, ready to be tried.
#[derive(Debug)]
pub struct Attempt {
    /// The task.
    pub task: TaskRef,
    /// Its key.
    pub key: KeyAddress,
    /// What is asked of it.
    pub spec: Arc<Spec>,
    /// What the Go allows; a job that forces is not trusted with a reading, whatever the Go says.
    pub leave: Leave,
    /// What allows its requests.
    pub permit: Arc<Permit>,
}

/// How a try ended.
#[derive(Debug)]
pub struct Tried {
    /// Its outcome.
    pub outcome: Outcome,
    /// The key's state as first seen, in AWS's word; empty when none was seen.
    pub state_before: &'static str,
    /// A mutating request was sent.
    pub acted: bool,
    /// When it began.
    pub started_at: OffsetDateTime,
    /// When it ended.
    pub finished_at: OffsetDateTime,
}

/// Runs one try to its end.
pub async fn attempt(kms: &Kms, attempt: &Attempt) -> Tried {
    let started_at = clock::wall();
    let (outcome, state_before, acted) =
        if attempt.spec.dry_run { foretell(kms, attempt).await } else { walk(kms, attempt).await };
    let finished_at = clock::wall();
    metrics::try_ended(&outcome);
    tracing::debug!(
        job.id = %attempt.task.job,
        task.seq = attempt.task.seq,
        outcome = metrics::outcome_word(&outcome),
        acted,
        duration_ms = (finished_at - started_at).whole_milliseconds(),
        "A try has ended."
    );
    Tried { outcome, state_before, acted, started_at, finished_at }
}

/// One try of a dry run: it reads the key, and that is all.
async fn foretell(kms: &Kms, attempt: &Attempt) -> (Outcome, &'static str, bool) {
    let Attempt { key, spec, leave, permit, .. } = attempt;
    let seen = match permit.begin() {
        Ok(()) => kms.key(key).observe(&spec.request, permit).await.result,
        Err(_void) => Err(Failure::Void),
    };
    let state_before = seen.as_ref().map_or("", Observed::state_word);
    let outcome = forecast(&spec.request, leave.trust_reading && !spec.force, seen, clock::wall());
    (outcome, state_before, false)
}

/// One try of a run, step by step: its outcome, the key's state as first seen, and whether a mutating request was sent.
async fn walk(kms: &Kms, attempt: &Attempt) -> (Outcome, &'static str, bool) {
    let Attempt { key, spec, leave, permit, .. } = attempt;
    let key = kms.key(key);
    let leave = Leave { trust_reading: leave.trust_reading && !spec.force, ..*leave };
    let mut run = Try::new(&spec.request, leave);
    let mut acted = false;
    let mut step = match permit.begin() {
        Ok(()) => Step::Observe,
        Err(_void) => Step::Done(Outcome::Unstarted),
    };
    let outcome = loop {
        step = match step {
            Step::Observe => {
                let seen = match permit.check() {
                    Ok(()) => key.observe(&spec.request, permit).await.result,
                    Err(_void) => Err(Failure::Void),
                };
                run.observed(seen, clock::wall())
            }
            Step::Act => {
                let over_at = tokio::time::Instant::now() + key.operation_timeout();
                let answer = match permit.check() {
                    Ok(()) => key.act(&spec.request, permit).await,
                    Err(_void) => Answer { result: Err(Failure::Void), sent: false },
                };
                acted |= answer.sent;
                if matches!(answer.result, Err(Failure::Unanswered(_))) {
                    // A request that lost its connection may take effect until its time is over. Until then the Go stays
                    // open, so that nobody else writes to the key and the job does not end.
                    tokio::time::sleep_until(over_at).await;
                }
                run.acted(answer.result)
            }
            Step::Done(outcome) => break outcome,
        };
    };
    (outcome, run.state_before(), acted)
}

/// What a look at a doubtful key showed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Looked {
    /// The key was seen.
    Seen {
        /// It is in the state its job asks for.
        there: bool,
        /// Its state, in AWS's word; empty for a policy.
        state: &'static str,
    },
    /// KMS's final answer to the read.
    Refused {
        /// KMS's error code.
        code: String,
        /// KMS's text.
        text: String,
    },
    /// Nothing was learnt; look again later.
    Unavailable {
        /// KMS's error code, or a word for what failed.
        code: String,
        /// What was said.
        text: String,
    },
}

/// Looks at a key for a job. Reads only, under the lease, whatever the flag says.
pub async fn look(kms: &Kms, key: &KeyAddress, request: &Request, permit: &Arc<Permit>) -> Looked {
    let answer = match permit.begin() {
        Ok(()) => kms.key(key).observe(request, permit).await.result,
        Err(_void) => Err(Failure::Void),
    };
    match answer {
        Ok(seen) => Looked::Seen {
            there: plan::plan(request, &seen, clock::wall()) == Plan::AlreadyThere,
            state: seen.state_word(),
        },
        // No HTTP status: it was not KMS that refused, but something on the way (no credentials, say).
        Err(Failure::Refused(refusal)) if refusal.status == 0 => {
            Looked::Unavailable { code: refusal.code, text: refusal.text }
        }
        Err(Failure::Refused(refusal)) => match refusal.meaning() {
            Meaning::Final | Meaning::InvalidState => Looked::Refused { code: refusal.code, text: refusal.text },
            Meaning::Throttled | Meaning::Passing | Meaning::Unclear => {
                Looked::Unavailable { code: refusal.code, text: refusal.text }
            }
        },
        Err(Failure::Unsent(why)) => Looked::Unavailable { code: "Unsent".to_owned(), text: why },
        Err(Failure::Unanswered(why)) => Looked::Unavailable { code: "Unanswered".to_owned(), text: why },
        Err(Failure::Void) => {
            Looked::Unavailable { code: "Void".to_owned(), text: "the look's lease has lapsed".to_owned() }
        }
    }
}
