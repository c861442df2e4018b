//! What is decided in each key state, cell by cell.

use std::time::Duration;

use job_model::{KeyState, Observed, Plan, Request, plan::plan};
use time::OffsetDateTime;

use crate::kms::{Answer, answer};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
const SECOND: Duration = Duration::from_secs(1);

fn now() -> OffsetDateTime {
    OffsetDateTime::UNIX_EPOCH + 20_000 * DAY
}

fn seen(state: KeyState, deletion_date: Option<OffsetDateTime>) -> Observed {
    Observed::State { state, deletion_date }
}

fn schedule() -> Request {
    Request::ScheduleKeyDeletion { days: 7 }
}

#[derive(Debug, PartialEq)]
enum Cell {
    Act,
    There,
    Impossible,
}

fn decided(request: &Request, observed: &Observed) -> Cell {
    match plan(request, observed, now()) {
        Plan::Act => Cell::Act,
        Plan::AlreadyThere => Cell::There,
        Plan::Impossible(_) => Cell::Impossible,
    }
}

#[test]
fn every_operation_in_every_state() {
    use Cell::{Act, Impossible, There};
    use KeyState as K;
    let requests = [Request::EnableKey, Request::DisableKey, schedule(), Request::CancelKeyDeletion];
    // A pending key is to be deleted at another date here; dates have a test of their own.
    #[rustfmt::skip]
    let table = [
        //                             EnableKey   DisableKey  Schedule    CancelKeyDeletion
        (K::Enabled,                  [There,      Act,        Act,        There]),
        (K::Disabled,                 [Act,        There,      Act,        There]),
        (K::PendingDeletion,          [Impossible, Impossible, Impossible, Act]),
        (K::PendingReplicaDeletion,   [Impossible, Impossible, Impossible, Act]),
        (K::PendingImport,            [Impossible, Impossible, Act,        There]),
        (K::Unavailable,              [Act,        Act,        Act,        There]),
        (K::Creating,                 [Impossible, Impossible, Act,        There]),
        (K::Updating,                 [Impossible, Impossible, Impossible, There]),
    ];
    assert_eq!(table.iter().map(|(state, _)| *state).collect::<Vec<_>>(), K::ALL);
    for (state, row) in table {
        for (request, cell) in requests.iter().zip(row) {
            let date = state.is_pending_deletion().then(|| now() + 20 * DAY);
            assert_eq!(decided(request, &seen(state, date)), cell, "{request:?} on a key that is {state:?}");
        }
    }
}

#[test]
fn what_is_decided_agrees_with_what_aws_answers() {
    for state in KeyState::ALL {
        for request in [Request::EnableKey, Request::DisableKey, schedule(), Request::CancelKeyDeletion] {
            let decided = plan(&request, &seen(state, None), now());
            match answer(&request, state) {
                Answer::Becomes(_) | Answer::TakesEffectLater => {
                    assert_eq!(decided, Plan::Act, "{request:?} {state:?}");
                }
                Answer::NoChange => assert_eq!(decided, Plan::AlreadyThere, "{request:?} {state:?}"),
                Answer::InvalidState if request == Request::CancelKeyDeletion => {
                    assert_eq!(decided, Plan::AlreadyThere, "{state:?}: it is not pending, which is what is asked");
                }
                Answer::InvalidState => assert!(matches!(decided, Plan::Impossible(_)), "{request:?} {state:?}"),
            }
        }
    }
}

#[test]
fn a_pending_key_is_there_when_its_date_is_within_a_day_of_the_asked_one() {
    let asked = now() + 7 * DAY;
    for state in [KeyState::PendingDeletion, KeyState::PendingReplicaDeletion] {
        for date in [asked, asked + DAY, asked - DAY] {
            assert_eq!(decided(&schedule(), &seen(state, Some(date))), Cell::There, "{date}");
        }
        for date in [asked + DAY + SECOND, asked - DAY - SECOND, now(), asked + 23 * DAY] {
            assert_eq!(decided(&schedule(), &seen(state, Some(date))), Cell::Impossible, "{date}");
        }
        assert_eq!(decided(&schedule(), &seen(state, None)), Cell::Impossible);
        let date = now() + 30 * DAY;
        assert_eq!(decided(&Request::ScheduleKeyDeletion { days: 30 }, &seen(state, Some(date))), Cell::There);
    }
}

#[test]
fn a_policy_is_there_when_it_says_the_same() {
    let apply = |policy: &str| Request::ApplyPolicy { policy: policy.into() };
    let current = Observed::Policy(r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Sid":"a"}]}"#.to_owned());
    let same = [
        r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Sid":"a"}]}"#,
        "{ \"Version\" : \"2012-10-17\",\n  \"Statement\": [ { \"Effect\": \"Allow\", \"Sid\": \"a\" } ] }\n",
        r#"{"Statement":[{"Sid":"a","Effect":"Allow"}],"Version":"2012-10-17"}"#,
    ];
    for policy in same {
        assert_eq!(decided(&apply(policy), &current), Cell::There, "{policy}");
    }
    let other = [
        r#"{"Version":"2012-10-17","Statement":[{"Effect":"Deny","Sid":"a"}]}"#,
        r#"{"Version":"2012-10-17","Statement":[]}"#,
        r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Sid":"a "}]}"#,
        "{}",
        "not JSON",
    ];
    for policy in other {
        assert_eq!(decided(&apply(policy), &current), Cell::Act, "{policy}");
    }
    assert_eq!(decided(&apply("not JSON"), &Observed::Policy("not JSON".to_owned())), Cell::There);
    assert_eq!(decided(&apply("not JSON"), &Observed::Policy("not  JSON".to_owned())), Cell::Act);
}

#[test]
fn a_policy_can_be_put_in_every_state_and_says_nothing_of_the_state() {
    for state in KeyState::ALL {
        assert_eq!(decided(&Request::ApplyPolicy { policy: "{}".into() }, &seen(state, None)), Cell::Act, "{state:?}");
    }
    for request in [Request::EnableKey, Request::DisableKey, schedule(), Request::CancelKeyDeletion] {
        assert_eq!(decided(&request, &Observed::Policy("{}".to_owned())), Cell::Act, "{request:?}");
    }
}
