//! A task's way: offered, started, tried, reported, acknowledged; over sessions, too.

use std::time::Duration;

use job_model::Request;
use keyfleet_proto::{
    convert,
    workers::v1::{Forecast, FromLeader, report::Outcome},
};
use kms_sim::{KeyState, Operation, When};
use service_kit::clock;

use crate::{
    leader::go,
    setup::{Setup, task},
};

#[tokio::test]
async fn a_task_runs_and_its_delivery_is_acknowledged_with_its_report() {
    let mut setup = Setup::new().await;
    let mut session = setup.leader.leased().await;
    let key = setup.key(KeyState::Disabled);
    setup.offer(&[task(1, 7)]).await;
    assert_eq!(session.start().await, task(1, 7));
    assert!(setup.made(&key).is_empty(), "a delivery is only an offer");
    session.go(1, task(1, 7), &key, &Request::EnableKey).await;
    let report = session.report().await;
    assert!(matches!(&report.outcome, Some(Outcome::Succeeded(succeeded)) if !succeeded.already), "{report:?}");
    assert_eq!((report.go, report.state_before.as_str(), report.acted), (go(1).as_u64(), "Disabled", true));
    assert!(report.started_at_us > 0 && report.finished_at_us >= report.started_at_us);
    assert_eq!(setup.made(&key), ["DescribeKey", "EnableKey"]);
    session.acknowledge(&report, true).await;
    session.heard().await;
    setup.stop().await;
    assert_eq!(setup.left_over().await, []);
}

#[tokio::test]
async fn a_dry_run_changes_nothing_even_where_its_go_would_let_it() {
    let mut setup = Setup::new().await;
    let mut session = setup.leader.leased().await;
    for (number, force) in [(1, false), (2, true)] {
        let key = setup.key(KeyState::Disabled);
        let task = task(number.into(), 0);
        session.go_of(number, task, &key, convert::spec(task.job, &Request::EnableKey, force, true)).await;
        let report = session.report().await;
        let Some(Outcome::Foretold(foretold)) = &report.outcome else { panic!("{report:?}") };
        assert_eq!((foretold.forecast(), report.acted), (Forecast::Would, false));
        assert_eq!(report.state_before, "Disabled");
        assert_eq!(setup.made(&key), ["DescribeKey"]);
    }
}

#[tokio::test]
async fn what_is_not_final_stays_with_the_worker_and_goes_back_when_it_leaves() {
    let mut setup = Setup::new().await;
    let mut session = setup.leader.leased().await;
    setup.offer(&[task(1, 0), task(1, 1), task(1, 2)]).await;
    for seq in 0..3 {
        assert_eq!(session.start().await, task(1, seq));
    }
    let key = setup.key(KeyState::Disabled);
    setup.sim.configure(serde_json::from_str(r#"{"faults": {"ThrottlingException": 1.0}}"#).unwrap()).unwrap();
    session.go(1, task(1, 0), &key, &Request::EnableKey).await;
    let report = session.report().await;
    assert!(matches!(&report.outcome, Some(Outcome::Again(again)) if again.code == "ThrottlingException"));
    session.acknowledge(&report, false).await;
    setup.sim.configure(serde_json::from_str(r#"{"faults": {}}"#).unwrap()).unwrap();
    session.go(2, task(1, 0), &key, &Request::EnableKey).await;
    let report = session.report().await;
    assert!(matches!(&report.outcome, Some(Outcome::Succeeded(_))), "{report:?}");
    session.acknowledge(&report, true).await;
    session.say(FromLeader { nevers: vec![task(1, 1).into()], ..FromLeader::default() }).await;
    // Its report comes after the Never has been handled.
    session.go(3, task(2, 0), &key, &Request::EnableKey).await;
    let report = session.report().await;
    session.acknowledge(&report, true).await;
    session.heard().await;
    setup.stop().await;
    assert_eq!(setup.left_over().await, [task(1, 2)]);
}

#[tokio::test]
async fn a_task_delivered_twice_is_started_once() {
    let mut setup = Setup::new().await;
    let mut session = setup.leader.leased().await;
    setup.offer(&[task(1, 0), task(1, 0), task(1, 1)]).await;
    assert_eq!(session.start().await, task(1, 0));
    assert_eq!(session.start().await, task(1, 1));
    let key = setup.key(KeyState::Enabled);
    session.go(1, task(1, 0), &key, &Request::EnableKey).await;
    let report = session.report().await;
    assert!(matches!(&report.outcome, Some(Outcome::Succeeded(succeeded)) if succeeded.already));
    assert!(!report.acted);
    session.acknowledge(&report, true).await;
    session.heard().await;
    setup.stop().await;
    assert_eq!(setup.left_over().await, [task(1, 1)]);
}

#[tokio::test]
async fn a_new_session_hears_of_what_has_begun_and_gets_its_reports() {
    let mut setup = Setup::new().await;
    let mut session = setup.leader.leased().await;
    let (reported, held) = (setup.key(KeyState::Disabled), setup.key(KeyState::Disabled));
    setup.offer(&[task(1, 0), task(1, 1), task(1, 2)]).await;
    for _ in 0..3 {
        session.start().await;
    }
    session.go(1, task(1, 0), &reported, &Request::EnableKey).await;
    session.report().await;
    setup.sim.hold(Operation::EnableKey, When::Before, Some(held.clone()));
    session.go(2, task(1, 1), &held, &Request::EnableKey).await;
    setup.sim.held(1).await;
    drop(session);

    let (mut session, hello) = setup.leader.session().await;
    let mut open: Vec<u64> = hello.open_gos.iter().map(|open| open.go).collect();
    open.sort_unstable();
    assert_eq!(open, [go(1).as_u64(), go(2).as_u64()]);
    assert_eq!(session.start().await, task(1, 2), "what has no Go is asked for again");
    let again = session.report().await;
    assert_eq!(again.go, go(1).as_u64());
    setup.sim.release(None);
    let late = session.report().await;
    assert_eq!(late.go, go(2).as_u64());
    assert!(matches!(&late.outcome, Some(Outcome::Succeeded(_))), "{late:?}");
    session.acknowledge(&again, true).await;
    session.acknowledge(&late, true).await;
    session.heard().await;
    setup.stop().await;
    assert_eq!(setup.left_over().await, [task(1, 2)]);
    assert_eq!(setup.made(&held), ["DescribeKey", "EnableKey"], "nothing was sent twice");
}

#[tokio::test]
async fn an_unanswered_call_is_reported_as_such_when_its_time_is_over() {
    let timeout = Duration::from_secs(1);
    let mut setup = Setup::with_timeout(timeout, clock::boottime).await;
    let mut session = setup.leader.leased().await;
    let key = setup.key(KeyState::Disabled);
    let faults = r#"{"faults": {"EnableKey": {"disconnect_after": 1.0}}}"#;
    setup.sim.configure(serde_json::from_str(faults).unwrap()).unwrap();
    session.go(1, task(1, 0), &key, &Request::EnableKey).await;
    let report = session.report().await;
    let Some(Outcome::Again(again)) = &report.outcome else { panic!("{report:?}") };
    assert_eq!(again.reason(), keyfleet_proto::workers::v1::AgainReason::Unanswered);
    assert!(report.acted);
    let took = u128::try_from(report.finished_at_us - report.started_at_us).unwrap();
    assert!(took >= timeout.as_micros(), "until then it may take effect");
    assert_eq!(setup.made(&key), ["DescribeKey", "EnableKey"]);
}
