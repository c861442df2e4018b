//! Eventual consistency: reads tell the state of a while ago, writes act on the state of now.

use std::time::Duration;

use kms_sim::{KeyState, NewKeys};
use serde_json::json;

use crate::client::Kms;

const LAG: Duration = Duration::from_millis(2000);
const BIT: Duration = Duration::from_millis(1);

async fn lagging() -> Kms {
    let kms = Kms::start().await;
    kms.configure(json!({"read_lag_ms": 2000}));
    // The clock's start is no special moment.
    kms.clock.advance(Duration::from_secs(10));
    kms
}

#[tokio::test]
async fn a_read_tells_the_state_before_a_write_until_the_lag_is_over() {
    let kms = lagging().await;
    let id = kms.make(KeyState::Enabled);
    kms.key("DisableKey", &id).await.ok();
    kms.clock.advance(LAG - BIT);
    assert_eq!(kms.state(&id).await, "Enabled");
    kms.clock.advance(BIT);
    assert_eq!(kms.state(&id).await, "Disabled");
}

#[tokio::test]
async fn several_writes_are_seen_one_after_the_other() {
    let kms = lagging().await;
    let id = kms.make(KeyState::Enabled);
    kms.key("DisableKey", &id).await.ok();
    kms.clock.advance(LAG / 2);
    kms.key("ScheduleKeyDeletion", &id).await.ok();
    kms.clock.advance(LAG / 2);
    assert_eq!(kms.state(&id).await, "Disabled");
    kms.clock.advance(LAG / 2);
    assert_eq!(kms.state(&id).await, "PendingDeletion");
}

#[tokio::test]
async fn a_write_acts_on_the_state_of_now() {
    let kms = lagging().await;
    let id = kms.make(KeyState::Enabled);
    kms.key("ScheduleKeyDeletion", &id).await.ok();
    assert_eq!(kms.state(&id).await, "Enabled");
    kms.key("EnableKey", &id).await.refused(400, "KMSInvalidStateException");
}

#[tokio::test]
async fn policies_and_lists_lag_as_well() {
    let kms = lagging().await;
    let id = kms.make(KeyState::Enabled);
    let policy =
        json!({"Statement": {"Effect": "Allow", "Principal": "*", "Action": "*", "Resource": "*"}}).to_string();
    kms.call("PutKeyPolicy", json!({"KeyId": id, "Policy": policy})).await.ok();
    let created = kms.call("CreateKey", json!({})).await.ok()["KeyMetadata"]["KeyId"].as_str().unwrap().to_owned();
    let listed = async || kms.call("ListKeys", json!({})).await.ok()["Keys"].as_array().unwrap().len();
    let told = async || kms.key("GetKeyPolicy", &id).await.ok()["Policy"].as_str().unwrap().to_owned();

    assert!(told().await.contains("key-default-1"));
    assert_eq!(listed().await, 1);
    kms.key("DescribeKey", &created).await.refused(400, "NotFoundException");
    kms.key("DisableKey", &created).await.ok();
    kms.clock.advance(LAG);
    assert_eq!(told().await, policy);
    assert_eq!(listed().await, 2);
    assert_eq!(kms.state(&created).await, "Disabled");
}

#[tokio::test]
async fn keys_made_for_a_test_are_there_at_once_and_their_changes_lag() {
    let kms = lagging().await;
    let id = kms.make(KeyState::Disabled);
    assert_eq!(kms.state(&id).await, "Disabled");
    kms.sim.make_keys(NewKeys { ids: vec![id.clone()], state: Some(KeyState::Enabled), ..NewKeys::default() }).unwrap();
    assert_eq!(kms.state(&id).await, "Disabled");
    kms.clock.advance(LAG);
    assert_eq!(kms.state(&id).await, "Enabled");
}
