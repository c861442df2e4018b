//! What each of KMS's errors means for a task.

use job_model::{
    AgainReason, Observed, Outcome, Refusal, Request,
    outcome::{Failure, Meaning},
    plan::{KeyState, Leave, Step, Try},
};
use time::OffsetDateTime;

fn refusal(code: &str, status: u16) -> Refusal {
    Refusal { code: code.to_owned(), text: "text".to_owned(), status }
}

/// The list of `Errors` in AWS's documentation of the operations, and of the common errors of its services.
#[test]
fn every_error_has_its_meaning() {
    let table = [
        ("ThrottlingException", 400, Meaning::Throttled),
        ("Throttling", 400, Meaning::Throttled),
        ("TooManyRequestsException", 429, Meaning::Throttled),
        ("RequestLimitExceeded", 503, Meaning::Throttled),
        ("Http429", 429, Meaning::Throttled),
        ("KeyUnavailableException", 500, Meaning::Passing),
        ("DependencyTimeoutException", 500, Meaning::Unclear),
        ("KMSInternalException", 500, Meaning::Unclear),
        ("ServiceUnavailable", 503, Meaning::Unclear),
        ("Http502", 502, Meaning::Unclear),
        ("InternalFailure", 500, Meaning::Unclear),
        ("KMSInvalidStateException", 400, Meaning::InvalidState),
        ("NotFoundException", 400, Meaning::Final),
        ("InvalidArnException", 400, Meaning::Final),
        ("MalformedPolicyDocumentException", 400, Meaning::Final),
        ("LimitExceededException", 400, Meaning::Final),
        ("UnsupportedOperationException", 400, Meaning::Final),
        ("DisabledException", 400, Meaning::Final),
        ("AccessDeniedException", 400, Meaning::Final),
        ("ExpiredTokenException", 400, Meaning::Final),
        ("UnrecognizedClientException", 400, Meaning::Final),
        ("ValidationException", 400, Meaning::Final),
        ("Http404", 404, Meaning::Final),
    ];
    for (code, status, meaning) in table {
        assert_eq!(refusal(code, status).meaning(), meaning, "{code} {status}");
    }
}

const SURE: Leave = Leave { acting: true, doubted: false, trust_reading: true };

fn disabled() -> Result<Observed, Failure> {
    Ok(Observed::State { state: KeyState::Disabled, deletion_date: None })
}

/// One try of EnableKey on a disabled key, whose call is refused.
fn refused_with(refused: Refusal) -> Step {
    let mut run = Try::new(&Request::EnableKey, SURE);
    assert_eq!(run.observed(disabled(), OffsetDateTime::UNIX_EPOCH), Step::Act);
    run.acted(Err(Failure::Refused(refused)))
}

#[test]
fn a_refusal_is_told_or_tried_again() {
    let again = |reason, said: Refusal| Step::Done(Outcome::Again { reason, said });
    let slow = refusal("ThrottlingException", 400);
    assert_eq!(refused_with(slow.clone()), again(AgainReason::Throttled, slow));
    let busy = refusal("KeyUnavailableException", 500);
    assert_eq!(refused_with(busy.clone()), again(AgainReason::Unavailable, busy));
    let broken = refusal("KMSInternalException", 500);
    assert_eq!(refused_with(broken.clone()), again(AgainReason::Unanswered, broken));
    let denied = refusal("AccessDeniedException", 400);
    assert_eq!(refused_with(denied.clone()), Step::Done(Outcome::Refused(denied)));
    assert_eq!(refused_with(refusal("KMSInvalidStateException", 400)), Step::Observe);
}

#[test]
fn only_a_request_whose_effect_is_unknown_is_doubtful() {
    for reason in [AgainReason::NeedsActing, AgainReason::Throttled, AgainReason::Unavailable, AgainReason::Unanswered]
    {
        assert_eq!(reason.doubtful(), reason == AgainReason::Unanswered, "{reason:?}");
    }
}

#[test]
fn a_caller_who_may_not_read_may_still_act() {
    let mut run = Try::new(&Request::EnableKey, SURE);
    let denied = Err(Failure::Refused(refusal("AccessDeniedException", 400)));
    assert_eq!(run.observed(denied, OffsetDateTime::UNIX_EPOCH), Step::Act);
    assert_eq!(run.acted(Ok(())), Step::Done(Outcome::Succeeded { already: false }));
}

#[test]
fn a_refusal_after_a_doubtful_try_is_not_told_while_the_key_cannot_be_read() {
    let denied = refusal("AccessDeniedException", 400);
    let mut run = Try::new(&Request::CancelKeyDeletion, Leave { doubted: true, ..SURE });
    assert_eq!(run.observed(Err(Failure::Refused(denied.clone())), OffsetDateTime::UNIX_EPOCH), Step::Act);
    let said = refusal("KMSInvalidStateException", 400);
    assert_eq!(run.acted(Err(Failure::Refused(said.clone()))), Step::Observe);
    let step = run.observed(Err(Failure::Refused(denied)), OffsetDateTime::UNIX_EPOCH);
    assert_eq!(step, Step::Done(Outcome::Again { reason: AgainReason::Unavailable, said }));
}

#[test]
fn a_key_that_is_not_there_is_told_without_a_call() {
    for code in ["NotFoundException", "InvalidArnException"] {
        let mut run = Try::new(&Request::DisableKey, SURE);
        let step = run.observed(Err(Failure::Refused(refusal(code, 400))), OffsetDateTime::UNIX_EPOCH);
        assert_eq!(step, Step::Done(Outcome::Refused(refusal(code, 400))));
    }
}

#[test]
fn a_reading_that_contradicts_kms_is_an_old_one() {
    // Another job has scheduled the key's deletion a moment ago, and reads still show it enabled.
    let stale = || Ok(Observed::State { state: KeyState::Enabled, deletion_date: None });
    let mut run = Try::new(&Request::EnableKey, Leave { trust_reading: false, ..SURE });
    assert_eq!(run.observed(stale(), OffsetDateTime::UNIX_EPOCH), Step::Act);
    let said = refusal("KMSInvalidStateException", 400);
    assert_eq!(run.acted(Err(Failure::Refused(said.clone()))), Step::Observe);
    let step = run.observed(stale(), OffsetDateTime::UNIX_EPOCH);
    assert_eq!(step, Step::Done(Outcome::Again { reason: AgainReason::Unavailable, said }));
}
