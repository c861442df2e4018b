//! A dry run tells what the run after it does.

use job_model::{
    AgainReason, Forecast, KeyState, Outcome, Request,
    forecast::forecast,
    outcome::Failure,
    plan::{Leave, Step, Try},
};
use proptest::prelude::*;

use crate::kms::{At, Key, Kms, date, refusal};

const DAY: u64 = 24 * 60 * 60;
const NOW: At = 20_000 * DAY;

/// Runs one try against KMS with true readings, and tells how it ended and whether it called.
fn run(kms: &mut Kms, request: &Request, trust_reading: bool) -> (Outcome, bool) {
    let mut run = Try::new(request, Leave { acting: true, doubted: false, trust_reading });
    let mut called = false;
    let mut step = Step::Observe;
    loop {
        step = match step {
            Step::Observe => run.observed(Ok(kms.read(request, NOW, 0)), date(NOW)),
            Step::Act => {
                called = true;
                run.acted(kms.call(request, NOW).map(drop).map_err(Failure::Refused))
            }
            Step::Done(outcome) => return (outcome, called),
        };
    }
}

/// What the dry run says, after which KMS must be as before; then what the run does.
fn compared(key: &Key, request: &Request, trust_reading: bool) -> (Outcome, Outcome, bool) {
    let mut kms = Kms::new(key.clone(), NOW + DAY);
    let said = forecast(request, trust_reading, Ok(kms.read(request, NOW, 0)), date(NOW));
    let (came, called) = run(&mut kms, request, trust_reading);
    (said, came, called)
}

fn requests() -> Vec<Request> {
    vec![
        Request::EnableKey,
        Request::DisableKey,
        Request::ScheduleKeyDeletion { days: 7 },
        Request::ScheduleKeyDeletion { days: 30 },
        Request::CancelKeyDeletion,
        Request::ApplyPolicy { policy: "{}".into() },
        Request::ApplyPolicy { policy: r#"{"Version":"2012-10-17"}"#.into() },
    ]
}

fn check(key: &Key, request: &Request, trust_reading: bool) {
    let (said, came, called) = compared(key, request, trust_reading);
    let context = format!("{request:?} on {key:?}, trusted {trust_reading}: {said:?}, and then {came:?}");
    match said {
        Outcome::Foretold(Forecast::Would) => {
            assert_eq!(came, Outcome::Succeeded { already: false }, "{context}");
            assert!(called, "{context}");
        }
        Outcome::Foretold(Forecast::Already) => {
            assert_eq!(came, Outcome::Succeeded { already: true }, "{context}");
        }
        Outcome::Foretold(Forecast::Impossible(reason)) => {
            assert!(matches!(came, Outcome::Refused(_)) && !reason.is_empty(), "{context}");
        }
        Outcome::Again { reason, .. } => {
            assert!(
                key.state.passes() && matches!(came, Outcome::Again { reason: then, .. } if then == reason),
                "{context}"
            );
        }
        Outcome::Succeeded { .. } | Outcome::Refused(_) | Outcome::Unstarted => panic!("{context}"),
    }
}

#[test]
fn every_operation_in_every_state_comes_as_foretold() {
    for state in KeyState::ALL {
        for days in [7, 12, 30] {
            let deletion_date = state.is_pending_deletion().then(|| date(NOW + days * DAY));
            let key = Key { state, deletion_date, policy: "{}".to_owned() };
            for request in requests() {
                for trust_reading in [true, false] {
                    check(&key, &request, trust_reading);
                }
            }
        }
    }
}

proptest! {
    #[test]
    fn any_deletion_date_comes_as_foretold(
        seconds in 0..40 * DAY,
        days in 7u32..=30,
        trust_reading: bool,
        replica: bool,
    ) {
        let state = if replica { KeyState::PendingReplicaDeletion } else { KeyState::PendingDeletion };
        let key = Key { state, deletion_date: Some(date(NOW + seconds)), policy: "{}".to_owned() };
        check(&key, &Request::ScheduleKeyDeletion { days }, trust_reading);
    }
}

/// The words, one by one: they are part of the interface.
#[test]
fn every_forecast_is_told_in_its_words() {
    let told = |forecast: Forecast| requests().iter().map(|request| forecast.told(request)).collect::<Vec<_>>();
    assert_eq!(
        told(Forecast::Would),
        [
            "Would enable the key",
            "Would disable the key",
            "Would schedule the key's deletion in 7 days",
            "Would schedule the key's deletion in 30 days",
            "Would cancel the key's deletion",
            "Would apply the policy",
            "Would apply the policy",
        ]
    );
    assert_eq!(
        told(Forecast::Already),
        [
            "Already enabled",
            "Already disabled",
            "Already pending deletion at the asked date",
            "Already pending deletion at the asked date",
            "Already not pending deletion",
            "Already has the policy",
            "Already has the policy",
        ]
    );
    for text in told(Forecast::Impossible("why".to_owned())) {
        assert_eq!(text, "Impossible: why");
    }
}

#[test]
fn what_cannot_be_read_is_told_or_read_again() {
    let of = |failure| forecast(&Request::EnableKey, true, Err(failure), date(NOW));
    let again = |reason, said| Outcome::Again { reason, said };
    let slow = refusal("ThrottlingException", 400);
    assert_eq!(of(Failure::Refused(slow.clone())), again(AgainReason::Throttled, slow));
    let broken = refusal("KMSInternalException", 500);
    assert_eq!(of(Failure::Refused(broken.clone())), again(AgainReason::Unavailable, broken));
    let denied = refusal("AccessDeniedException", 400);
    assert_eq!(of(Failure::Refused(denied.clone())), Outcome::Refused(denied));
    let unknown = Forecast::Impossible("NotFoundException: ".to_owned());
    assert_eq!(of(Failure::Refused(refusal("NotFoundException", 400))), Outcome::Foretold(unknown));
    for failure in [Failure::Unsent("why".to_owned()), Failure::Unanswered("why".to_owned())] {
        assert!(
            matches!(of(failure), Outcome::Again { reason: AgainReason::Unavailable, .. }),
            "a reading is no doubt"
        );
    }
    assert_eq!(of(Failure::Void), Outcome::Unstarted);
}
