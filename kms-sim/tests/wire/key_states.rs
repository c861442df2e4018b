//! AWS's key-state table, cell by cell (AWS KMS developer guide, "Key states").

use std::time::Duration;

use kms_sim::{KeyState, NewKeys, clock::ManualClock};
use serde_json::{Value, json};

use crate::client::{Kms, arn};

/// What a cell of the table says.
#[derive(Clone, Copy, Debug)]
enum Cell {
    /// Granted, and the key is in this state afterwards.
    Ok(&'static str),
    /// Refused with this code, in these words after the key's ARN; the state stays.
    No(&'static str, &'static str),
}
use Cell::{No, Ok};

const INVALID: &str = "KMSInvalidStateException";
const PENDING: Cell = No(INVALID, "is pending deletion.");
const REPLICA: Cell = No(INVALID, "is pending replica deletion.");
const IMPORT: Cell = No(INVALID, "is pending import.");
const CREATING: Cell = No(INVALID, "is creating.");
const UPDATING: Cell = No(INVALID, "is updating.");
const NOT_PENDING: Cell = No(INVALID, "is not pending deletion.");
const EXTERNAL: Cell = No("UnsupportedOperationException", "origin is EXTERNAL which is not valid for this operation.");
const STORE: Cell =
    No("UnsupportedOperationException", "origin is AWS_CLOUDHSM which is not valid for this operation.");
const DISABLED: Cell = No("DisabledException", "is disabled.");
const SCHEDULED: Cell = Ok("PendingDeletion");

/// Granted in every state, which stays.
const ALWAYS: [Cell; 8] = [
    Ok("Enabled"),
    Ok("Disabled"),
    Ok("PendingDeletion"),
    Ok("PendingImport"),
    Ok("Unavailable"),
    Ok("Creating"),
    Ok("Updating"),
    Ok("PendingReplicaDeletion"),
];

/// For what changes a key's description, tags or names.
const SETTLED: [Cell; 8] =
    [Ok("Enabled"), Ok("Disabled"), PENDING, Ok("PendingImport"), Ok("Unavailable"), CREATING, UPDATING, REPLICA];

const ROTATION: [Cell; 8] = [Ok("Enabled"), DISABLED, PENDING, EXTERNAL, STORE, CREATING, UPDATING, REPLICA];

/// Columns: Enabled, Disabled, PendingDeletion, PendingImport, Unavailable, Creating, Updating, PendingReplicaDeletion.
const TABLE: [(&str, [Cell; 8]); 16] = [
    ("EnableKey", [Ok("Enabled"), Ok("Enabled"), PENDING, IMPORT, Ok("Unavailable"), CREATING, UPDATING, REPLICA]),
    ("DisableKey", [Ok("Disabled"), Ok("Disabled"), PENDING, IMPORT, Ok("Unavailable"), CREATING, UPDATING, REPLICA]),
    ("ScheduleKeyDeletion", [SCHEDULED, SCHEDULED, PENDING, SCHEDULED, SCHEDULED, SCHEDULED, UPDATING, REPLICA]),
    (
        "CancelKeyDeletion",
        [NOT_PENDING, NOT_PENDING, Ok("Disabled"), NOT_PENDING, NOT_PENDING, NOT_PENDING, NOT_PENDING, Ok("Disabled")],
    ),
    ("PutKeyPolicy", ALWAYS),
    ("GetKeyPolicy", ALWAYS),
    ("DescribeKey", ALWAYS),
    ("ListResourceTags", ALWAYS),
    ("ListAliases", ALWAYS),
    ("TagResource", SETTLED),
    ("UntagResource", SETTLED),
    ("CreateAlias", SETTLED),
    ("UpdateKeyDescription", SETTLED),
    ("EnableKeyRotation", ROTATION),
    ("DisableKeyRotation", ROTATION),
    (
        "GetKeyRotationStatus",
        [
            Ok("Enabled"),
            Ok("Disabled"),
            Ok("PendingDeletion"),
            EXTERNAL,
            Ok("Unavailable"),
            Ok("Creating"),
            Ok("Updating"),
            Ok("PendingReplicaDeletion"),
        ],
    ),
];

/// What each operation needs to be complete.
fn request(op: &str, id: &str) -> Value {
    match op {
        "PutKeyPolicy" => {
            let statement = json!({"Effect": "Allow", "Principal": "*", "Action": "kms:*", "Resource": "*"});
            json!({"KeyId": id, "Policy": json!({ "Statement": statement }).to_string()})
        }
        "TagResource" => json!({"KeyId": id, "Tags": [{"TagKey": "a", "TagValue": "b"}]}),
        "UntagResource" => json!({"KeyId": id, "TagKeys": ["a"]}),
        "CreateAlias" => json!({"AliasName": format!("alias/{id}"), "TargetKeyId": id}),
        "UpdateKeyDescription" => json!({"KeyId": id, "Description": "new"}),
        _ => json!({ "KeyId": id }),
    }
}

#[tokio::test]
async fn every_cell_of_the_table_is_answered_as_aws_does() {
    let kms = Kms::start().await;
    for (op, cells) in TABLE {
        for (state, cell) in KeyState::ALL.into_iter().zip(cells) {
            let id = kms.make(state);
            let answer = kms.call(op, request(op, &id)).await;
            assert!(answer.request_id.is_some(), "{op} in {state}");
            let after = kms.state(&id).await;
            match cell {
                Ok(expected) => {
                    assert_eq!(answer.status, 200, "{op} in {state}: {answer:?}");
                    assert_eq!(after, expected, "{op} in {state}");
                }
                No(code, words) => {
                    assert_eq!(answer.refused(400, code), format!("{} {words}", arn(&id)), "{op} in {state}");
                    assert_eq!(after, state.name(), "{op} in {state} changed the key");
                }
            }
        }
    }
}

#[tokio::test]
async fn operations_that_tell_nothing_have_an_empty_body() {
    let kms = Kms::start().await;
    let id = kms.make(KeyState::Disabled);
    for op in ["EnableKey", "DisableKey", "TagResource", "UpdateKeyDescription", "PutKeyPolicy"] {
        assert_eq!(kms.call(op, request(op, &id)).await.ok(), Value::Null, "{op}");
    }
}

#[tokio::test]
async fn a_deletion_is_scheduled_and_canceled_with_aws_s_answers() {
    let kms = Kms::start().await;
    let id = kms.make(KeyState::Enabled);
    let scheduled = kms.call("ScheduleKeyDeletion", json!({"KeyId": id, "PendingWindowInDays": 7})).await.ok();
    let date = (ManualClock::START_NS / 1_000_000_000 + 7 * 86_400) as f64;
    assert_eq!(
        scheduled,
        json!({"KeyId": arn(&id), "DeletionDate": date, "KeyState": "PendingDeletion", "PendingWindowInDays": 7})
    );
    let metadata = kms.key("DescribeKey", &id).await.ok()["KeyMetadata"].clone();
    assert_eq!(metadata["DeletionDate"], date);
    assert_eq!(metadata["Enabled"], false);

    assert_eq!(kms.key("CancelKeyDeletion", &id).await.ok(), json!({ "KeyId": arn(&id) }));
    let metadata = kms.key("DescribeKey", &id).await.ok()["KeyMetadata"].clone();
    assert_eq!((metadata["KeyState"].as_str(), metadata.get("DeletionDate")), (Some("Disabled"), None));
}

#[tokio::test]
async fn the_window_is_7_to_30_days_and_30_if_not_given() {
    let kms = Kms::start().await;
    for days in [-1, 0, 6, 31, i64::MAX] {
        let id = kms.make(KeyState::Enabled);
        let answer = kms.call("ScheduleKeyDeletion", json!({"KeyId": id, "PendingWindowInDays": days})).await;
        let message = answer.refused(400, "ValidationException");
        assert!(message.contains("pendingWindowInDays") && message.contains(&days.to_string()), "{message}");
        assert_eq!(kms.state(&id).await, "Enabled");
    }
    let id = kms.make(KeyState::Enabled);
    let scheduled = kms.key("ScheduleKeyDeletion", &id).await.ok();
    assert_eq!(scheduled["PendingWindowInDays"], 30);
}

#[tokio::test]
async fn a_key_is_gone_when_its_window_is_over() {
    let kms = Kms::start().await;
    let id = kms.make(KeyState::Enabled);
    kms.call("ScheduleKeyDeletion", json!({"KeyId": id, "PendingWindowInDays": 7})).await.ok();
    kms.clock.advance(Duration::from_secs(7 * 86_400 - 1));
    assert_eq!(kms.state(&id).await, "PendingDeletion");
    kms.clock.advance(Duration::from_secs(1));
    for op in ["DescribeKey", "CancelKeyDeletion"] {
        let message = kms.key(op, &id).await.refused(400, "NotFoundException");
        assert_eq!(message, format!("Key '{}' does not exist", arn(&id)));
    }
    assert_eq!(kms.call("ListKeys", json!({})).await.ok()["Keys"], json!([]));
}

#[tokio::test]
async fn passing_states_pass_and_an_unavailable_key_remembers_what_was_asked() {
    let kms = Kms::start().await;
    let settle = |id: &str| {
        kms.sim.make_keys(NewKeys { ids: vec![id.to_owned()], ..NewKeys::default() }).unwrap();
    };
    let id = kms.make(KeyState::Unavailable);
    kms.key("DisableKey", &id).await.ok();
    assert_eq!(kms.state(&id).await, "Unavailable");
    settle(&id);
    assert_eq!(kms.state(&id).await, "Disabled");

    for state in [KeyState::Creating, KeyState::Updating] {
        let id = kms.make(state);
        settle(&id);
        kms.key("EnableKey", &id).await.ok();
        assert_eq!(kms.state(&id).await, "Enabled");
    }
}

#[tokio::test]
async fn rotation_is_told_as_off_while_a_deletion_is_pending() {
    let kms = Kms::start().await;
    let id = kms.make(KeyState::Enabled);
    kms.key("EnableKeyRotation", &id).await.ok();
    assert_eq!(kms.key("GetKeyRotationStatus", &id).await.ok()["KeyRotationEnabled"], true);
    kms.key("ScheduleKeyDeletion", &id).await.ok();
    assert_eq!(kms.key("GetKeyRotationStatus", &id).await.ok()["KeyRotationEnabled"], false);
    kms.key("CancelKeyDeletion", &id).await.ok();
    assert_eq!(kms.key("GetKeyRotationStatus", &id).await.ok()["KeyRotationEnabled"], true);
}
