//! Faults, holds and latency: what a client sees, and what happened all the same.

use kms_sim::{KeyState, Operation, Outcome, When};
use serde_json::json;

use crate::client::{Kms, rest};

#[tokio::test]
async fn error_codes_come_with_aws_s_statuses_and_without_the_work() {
    let kms = Kms::start().await;
    let id = kms.make(KeyState::Disabled);
    for (code, status) in [
        ("ThrottlingException", 400),
        ("KMSInternalException", 500),
        ("DependencyTimeoutException", 500),
        ("KeyUnavailableException", 500),
        ("AccessDeniedException", 400),
    ] {
        kms.configure(json!({"faults": {"EnableKey": {code: 1.0}}}));
        kms.key("EnableKey", &id).await.refused(status, code);
        assert_eq!(kms.state(&id).await, "Disabled", "{code}");
    }
    kms.configure(json!({"faults": {}}));
    kms.key("EnableKey", &id).await.ok();
}

#[tokio::test]
async fn an_unavailable_service_answers_html_without_a_code() {
    let kms = Kms::start().await;
    kms.configure(json!({"faults": {"ServiceUnavailable": 1.0}}));
    let answer = kms.call("ListKeys", json!({})).await;
    assert_eq!((answer.status, answer.error_type), (503, None));
    assert!(answer.body.as_str().unwrap().starts_with("<html>"));
}

#[tokio::test]
async fn a_dropped_connection_says_nothing_whether_the_work_was_done_or_not() {
    let kms = Kms::start().await;
    for (fault, after) in [("disconnect_before", "Disabled"), ("disconnect_after", "Enabled")] {
        let id = kms.make(KeyState::Disabled);
        kms.configure(json!({"next": [{"op": "EnableKey", "key": id, "fault": fault}]}));
        let stream = kms.begin("EnableKey", &id).await;
        assert_eq!(rest(stream).await, "", "{fault}");
        let row = kms.sim.log(0).pop().unwrap();
        assert_eq!((row.outcome.status(), row.outcome.error()), (0, Some(fault)));
        assert_eq!(kms.state(&id).await, after, "{fault}");
        assert!(kms.sim.config().next.is_empty(), "used once");
    }
}

#[tokio::test]
async fn junk_is_a_success_that_says_nothing_whether_the_work_was_done_or_not() {
    let kms = Kms::start().await;
    for (fault, after) in [("junk_before", "Disabled"), ("junk_after", "Enabled")] {
        let id = kms.make(KeyState::Disabled);
        kms.configure(json!({"next": [{"op": "EnableKey", "key": id, "fault": fault}]}));
        let answer = kms.key("EnableKey", &id).await;
        // A text is what no JSON comes to.
        assert!(answer.status == 200 && answer.body.is_string(), "{fault}: {}", answer.body);
        let row = kms.sim.log(0).pop().unwrap();
        assert_eq!((row.outcome.status(), row.outcome.error()), (0, Some(fault)));
        assert_eq!(kms.state(&id).await, after, "{fault}");
    }
}

#[tokio::test]
async fn a_timeout_keeps_the_connection_open_without_an_answer() {
    let kms = Kms::start().await;
    for (n, (fault, after)) in [("timeout_before", "Disabled"), ("timeout_after", "Enabled")].into_iter().enumerate() {
        let id = kms.make(KeyState::Disabled);
        kms.configure(json!({"next": [{"op": "EnableKey", "fault": fault}]}));
        let stream = kms.begin("EnableKey", &id).await;
        // A request and the look after it for each round.
        let row = kms.logged(2 * n as u64 + 1, |row| row.outcome != Outcome::Pending).await;
        assert_eq!((row.outcome.status(), row.outcome.error()), (0, Some(fault)));
        assert_eq!(kms.state(&id).await, after, "{fault}");
        let still_open = stream.try_read(&mut [0; 1]).unwrap_err();
        assert_eq!(still_open.kind(), std::io::ErrorKind::WouldBlock, "{fault}");
    }
}

#[tokio::test]
async fn fractions_of_one_are_every_request() {
    let kms = Kms::start().await;
    let id = kms.make(KeyState::Disabled);
    kms.configure(json!({"faults": {"disconnect": 1.0}}));
    for _ in 0..20 {
        assert_eq!(rest(kms.begin("EnableKey", &id).await).await, "");
    }
    let stats = kms.sim.stats()["EnableKey"].clone();
    assert_eq!(stats["disconnect_before"] + stats["disconnect_after"], 20, "{stats:?}");
}

#[tokio::test]
async fn a_request_goes_on_when_its_client_has_gone() {
    let kms = Kms::start().await;
    let id = kms.make(KeyState::Disabled);
    kms.sim.hold(Operation::EnableKey, When::Before, None);
    let stream = kms.begin("EnableKey", &id).await;
    assert_eq!(kms.sim.held(1).await.ops["EnableKey"], 1);
    drop(stream);
    assert_eq!(kms.state(&id).await, "Disabled");
    assert_eq!(kms.sim.log(0)[0].outcome, Outcome::Pending, "it is in the log from its arrival on");
    kms.sim.release(Some(Operation::EnableKey));
    kms.logged(1, |row| row.outcome == Outcome::Ok).await;
    assert_eq!(kms.state(&id).await, "Enabled");
}

#[tokio::test]
async fn a_request_held_after_its_work_has_taken_effect() {
    let kms = Kms::start().await;
    let [id, other] = [KeyState::Disabled, KeyState::Disabled].map(|state| kms.make(state));
    kms.sim.hold(Operation::EnableKey, When::After, Some(id.clone()));
    kms.key("EnableKey", &other).await.ok();
    let held = async { kms.key("EnableKey", &id).await.ok() };
    let look = async {
        kms.sim.held(1).await;
        assert_eq!(kms.state(&id).await, "Enabled");
        kms.sim.release(None);
    };
    tokio::join!(held, look);
    assert_eq!(kms.sim.held(0).await.waiting, 0);
}

#[tokio::test]
async fn holds_are_steered_over_http_too() {
    let kms = Kms::start().await;
    let id = kms.make(KeyState::Disabled);
    assert_eq!(kms.admin("POST", "hold", r#"{"op": "EnableKey"}"#).await.0, 200);
    let request = async { kms.key("EnableKey", &id).await.ok() };
    let steer = async {
        let (_, held) = kms.admin("GET", "held?at_least=1", "").await;
        assert_eq!(held, r#"{"waiting":1,"ops":{"EnableKey":1}}"#);
        assert_eq!(kms.admin("POST", "release", r#"{"op": "EnableKey"}"#).await.0, 200);
    };
    tokio::join!(request, steer);
    assert_eq!(kms.state(&id).await, "Enabled");
}
