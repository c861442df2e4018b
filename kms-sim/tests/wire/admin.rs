//! `/_sim` over HTTP.

use kms_sim::{Config, KeyState};
use serde_json::{Value, json};

use crate::client::Kms;

#[tokio::test]
async fn the_configuration_is_told_and_changed_in_part() {
    let kms = Kms::start().await;
    let (status, text) = kms.admin("POST", "config", r#"{"quota": {"EnableKey": 50}, "read_lag_ms": 5}"#).await;
    assert_eq!(status, 200);
    let config: Value = serde_json::from_str(&text).unwrap();
    assert_eq!((&config["quota"], &config["read_lag_ms"]), (&json!({"EnableKey": 50.0}), &json!(5)));
    assert_eq!(kms.admin("GET", "config", "").await, (200, text));
    for wrong in [
        r#"{"quota": "none"}"#,
        r#"{"quota": {"EnabelKey": 1}}"#,
        r#"{"faults": {"timeout": 2}}"#,
        r#"{"latency_ms": {"mean": -1}}"#,
        r#"{"unknown": 1}"#,
        "{",
    ] {
        let (status, text) = kms.admin("POST", "config", wrong).await;
        let message: Value = serde_json::from_str(&text).unwrap();
        assert!(status == 400 && message["message"].is_string(), "{wrong}: {text}");
    }
}

#[tokio::test]
async fn keys_are_made_by_number_and_by_id() {
    let kms = Kms::start().await;
    let made = async |body: &str| -> Vec<String> {
        let (status, text) = kms.admin("POST", "keys", body).await;
        assert_eq!(status, 200, "{text}");
        serde_json::from_str(&text).unwrap()
    };
    let ids = made(r#"{"count": 1000, "state": "Disabled"}"#).await;
    assert_eq!(ids.len(), 1000);
    assert_eq!(kms.state(&ids[999]).await, "Disabled");
    assert_eq!(made(r#"{"ids": ["a", "b"], "count": 3}"#).await[..2], ["a", "b"]);
    assert_eq!(kms.state("a").await, "Enabled");
    assert_eq!(made(r#"{"ids": ["a"], "state": "PendingDeletion"}"#).await, ["a"]);
    assert_eq!(kms.state("a").await, "PendingDeletion");
    for wrong in [r#"{"state": "Lost"}"#, r#"{"account": "1"}"#, r#"{"ids": ["a/b"]}"#, r#"{"cuont": 1}"#] {
        assert_eq!(kms.admin("POST", "keys", wrong).await.0, 400, "{wrong}");
    }
}

#[tokio::test]
async fn the_log_has_a_line_for_each_request_in_the_agreed_form() {
    let kms = Kms::start().await;
    let id = kms.make(KeyState::PendingDeletion);
    kms.key("EnableKey", &id).await;
    kms.call("ListKeys", json!({})).await.ok();
    let (_, text) = kms.admin("GET", "log", "").await;
    let rows: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let at_ns = kms_sim::clock::ManualClock::START_NS;
    assert_eq!(
        rows,
        [
            json!({"n": 1, "at_ns": at_ns, "account": "111122223333", "region": "us-east-1", "op": "EnableKey",
                   "key": id, "status": 400, "error": "KMSInvalidStateException"}),
            json!({"n": 2, "at_ns": at_ns, "account": "111122223333", "region": "us-east-1", "op": "ListKeys",
                   "key": null, "status": 200, "error": null}),
        ]
    );
    assert_eq!(kms.admin("GET", "log?after=1", "").await.1.lines().count(), 1);
    assert_eq!(kms.admin("GET", "log?after=2", "").await.1, "");
    assert_eq!(kms.admin("GET", "log?after=x", "").await.0, 400);
}

#[tokio::test]
async fn a_long_log_comes_whole() {
    let kms = Kms::start().await;
    for _ in 0..2500 {
        kms.call("ListKeys", json!({})).await.ok();
    }
    let (_, text) = kms.admin("GET", "log?after=100", "").await;
    let numbers: Vec<u64> =
        text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()["n"].as_u64().unwrap()).collect();
    assert_eq!(numbers, (101..=2500).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_reset_forgets_everything() {
    let kms = Kms::start().await;
    let id = kms.make(KeyState::Enabled);
    kms.key("EnableKey", &id).await.ok();
    kms.configure(json!({"quota": "aws", "read_lag_ms": 7, "next": [{"op": "EnableKey", "fault": "timeout_after"}]}));
    assert_eq!(kms.admin("POST", "reset", "").await.0, 200);
    assert_eq!(kms.sim.config(), Config { quota: job_model::quota::Quotas::off(), ..Config::default() });
    assert_eq!(kms.sim.log(0), []);
    assert_eq!(kms.admin("GET", "stats", "").await.1, "{}");
    kms.key("EnableKey", &id).await.refused(400, "NotFoundException");
    assert_eq!(kms.sim.log(0)[0].n, 1);
    let (_, stats) = kms.admin("GET", "stats", "").await;
    assert_eq!(stats, r#"{"EnableKey":{"NotFoundException":1}}"#);
}

#[tokio::test]
async fn what_is_not_there_is_said_so() {
    let kms = Kms::start().await;
    assert_eq!(kms.admin("GET", "nothing", "").await.0, 404);
    assert_eq!(kms.admin("GET", "reset", "").await.0, 405);
    assert_eq!(kms.admin("POST", "hold", r#"{"op": "Enable"}"#).await.0, 400);
}

#[tokio::test]
async fn a_stopped_simulator_no_longer_listens() {
    let kms = Kms::start().await;
    let addr = kms.sim.addr();
    kms.sim.shutdown().await;
    assert!(tokio::net::TcpStream::connect(addr).await.is_err());
}
