//! A dry run: observe and decide, and tell what a run would do.
//!
//! It has no step that acts, so nothing here can ask for a request that changes a key. What it tells is what
//! [`crate::plan::Try`] would come to if the reading is true and nothing else happens meanwhile; the table in
//! `tests/decision/forecast.rs` compares the two cell by cell. What only the call itself can show (a missing permission to
//! act, a policy that KMS finds malformed) it cannot foretell.

use time::OffsetDateTime;

use crate::{
    Observed, Outcome, Plan, Request,
    outcome::{AgainReason, Failure, Meaning, Refusal},
    plan::{again, no_answer, plan},
};

/// What a run would come to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Forecast {
    /// It would make the call.
    Would,
    /// The key is in the asked state: there is nothing to do.
    Already,
    /// KMS would refuse, for this reason.
    Impossible(String),
}

/// How every [`Forecast::Impossible`] begins, as it is told.
pub const IMPOSSIBLE: &str = "Impossible: ";

impl Forecast {
    /// The status text of a key, as the API tells it.
    pub fn told(&self, request: &Request) -> String {
        let text = match (self, request) {
            (Self::Impossible(reason), _) => return format!("{IMPOSSIBLE}{reason}"),
            (Self::Would, Request::EnableKey) => "Would enable the key",
            (Self::Would, Request::DisableKey) => "Would disable the key",
            (Self::Would, Request::ScheduleKeyDeletion { days }) => {
                return format!("Would schedule the key's deletion in {days} days");
            }
            (Self::Would, Request::CancelKeyDeletion) => "Would cancel the key's deletion",
            (Self::Would, Request::ApplyPolicy { .. }) => "Would apply the policy",
            (Self::Already, Request::EnableKey) => "Already enabled",
            (Self::Already, Request::DisableKey) => "Already disabled",
            (Self::Already, Request::ScheduleKeyDeletion { .. }) => "Already pending deletion at the asked date",
            (Self::Already, Request::CancelKeyDeletion) => "Already not pending deletion",
            (Self::Already, Request::ApplyPolicy { .. }) => "Already has the policy",
        };
        text.to_owned()
    }
}

/// What `answer`, the reading of a key at the time `now`, foretells of `request`. A reading that is not trusted (a recent
/// write of ours asked for something else, or the job forces) makes a run call all the same, so it would.
pub fn forecast(
    request: &Request,
    trust_reading: bool,
    answer: Result<Observed, Failure>,
    now: OffsetDateTime,
) -> Outcome {
    let observed = match answer {
        Ok(observed) => observed,
        Err(Failure::Void) => return Outcome::Unstarted,
        Err(Failure::Unsent(why)) => return again(AgainReason::Unavailable, no_answer("Unsent", why)),
        Err(Failure::Unanswered(why)) => return again(AgainReason::Unavailable, no_answer("Unanswered", why)),
        Err(Failure::Refused(refusal)) => {
            return match refusal.meaning() {
                Meaning::Throttled => again(AgainReason::Throttled, refusal),
                Meaning::Passing | Meaning::Unclear => again(AgainReason::Unavailable, refusal),
                Meaning::Final if refusal.says_not_found() => {
                    let Refusal { code, text, .. } = refusal;
                    Outcome::Foretold(Forecast::Impossible(format!("{code}: {text}")))
                }
                // Who may not read may still act: nothing is foretold.
                Meaning::Final | Meaning::InvalidState => Outcome::Refused(refusal),
            };
        }
    };
    let passes = matches!(observed, Observed::State { state, .. } if state.passes());
    match plan(request, &observed, now) {
        Plan::Act => Outcome::Foretold(Forecast::Would),
        // KMS would refuse, for the key is there; and that is then told.
        Plan::AlreadyThere if trust_reading || request.refused_when_there() => Outcome::Foretold(Forecast::Already),
        Plan::AlreadyThere => Outcome::Foretold(Forecast::Would),
        Plan::Impossible(reason) if passes => {
            again(AgainReason::Unavailable, no_answer("KMSInvalidStateException", reason.to_owned()))
        }
        Plan::Impossible(reason) => Outcome::Foretold(Forecast::Impossible(reason.to_owned())),
    }
}
