//! PutKeyPolicy: what is refused, and that the rest comes back as it was put.

use kms_sim::KeyState;
use serde_json::{Value, json};

use crate::client::{ACCOUNT, Kms};

fn allow(principal: &Value, action: &str) -> Value {
    json!({"Effect": "Allow", "Principal": principal, "Action": action, "Resource": "*"})
}

fn root() -> Value {
    json!({"AWS": format!("arn:aws:iam::{ACCOUNT}:root")})
}

async fn put(kms: &Kms, id: &str, policy: impl ToString) -> crate::client::Answer {
    kms.call("PutKeyPolicy", json!({"KeyId": id, "PolicyName": "default", "Policy": policy.to_string()})).await
}

#[tokio::test]
async fn a_policy_comes_back_as_it_was_put() {
    let kms = Kms::start().await;
    let id = kms.make(KeyState::PendingDeletion);
    let default = kms.key("GetKeyPolicy", &id).await.ok();
    assert_eq!(default["PolicyName"], "default");
    let mut policies = vec![default["Policy"].as_str().unwrap().to_owned()];
    for statement in [
        json!([allow(&root(), "kms:*")]),
        allow(&json!("*"), "kms:PutKeyPolicy"),
        allow(&json!({"AWS": [ACCOUNT]}), "kms:Put*"),
        json!([allow(&json!({"Service": "logs.amazonaws.com"}), "kms:Decrypt"), allow(&root(), "*")]),
        json!([
            allow(&root(), "kms:*"),
            {"Effect": "Deny", "Principal": "*", "NotAction": "kms:*", "Resource": "*"},
        ]),
    ] {
        policies.push(json!({"Version": "2012-10-17", "Statement": statement}).to_string());
    }
    for policy in policies {
        put(&kms, &id, &policy).await.ok();
        assert_eq!(kms.key("GetKeyPolicy", &id).await.ok()["Policy"], policy);
    }
}

#[tokio::test]
async fn malformed_policies_are_refused() {
    let kms = Kms::start().await;
    let id = kms.make(KeyState::Enabled);
    let before = kms.key("GetKeyPolicy", &id).await.ok();
    let of = |statement: Value| json!({ "Statement": statement }).to_string();
    for policy in [
        "{".to_owned(),
        "[]".to_owned(),
        "{}".to_owned(),
        of(json!([])),
        of(json!({"Effect": "Maybe", "Principal": "*", "Action": "*", "Resource": "*"})),
        of(json!({"Effect": "Allow", "Action": "*", "Resource": "*"})),
        of(json!({"Effect": "Allow", "Principal": "*", "Resource": "*"})),
        of(json!({"Effect": "Allow", "Principal": "*", "Action": "*"})),
        of(json!([allow(&root(), "*"), allow(&json!({"AWS": "nobody"}), "*")])),
        of(json!([allow(&root(), "*"), allow(&json!({"Group": "x"}), "*")])),
    ] {
        put(&kms, &id, &policy).await.refused(400, "MalformedPolicyDocumentException");
    }
    assert_eq!(kms.key("GetKeyPolicy", &id).await.ok(), before);
}

#[tokio::test]
async fn nobody_is_locked_out_unless_that_check_is_bypassed() {
    let kms = Kms::start().await;
    let id = kms.make(KeyState::Enabled);
    let conditional = {
        let mut statement = allow(&root(), "kms:*");
        statement["Condition"] = json!({"Bool": {"aws:MultiFactorAuthPresent": "true"}});
        statement
    };
    for statement in [
        json!([allow(&root(), "kms:Get*")]),
        json!([allow(&json!({"AWS": "arn:aws:iam::222233334444:root"}), "kms:*")]),
        json!([allow(&json!({"Service": "logs.amazonaws.com"}), "kms:*")]),
        json!([conditional]),
        json!([
            allow(&root(), "kms:*"),
            {"Effect": "Deny", "Principal": "*", "Action": "kms:PutKeyPolicy", "Resource": "*"},
        ]),
    ] {
        let policy = json!({ "Statement": statement }).to_string();
        let message = put(&kms, &id, &policy).await.refused(400, "MalformedPolicyDocumentException");
        assert_eq!(message, "The new key policy will not allow you to update the key policy in the future.");
        let bypassed = json!({"KeyId": id, "Policy": policy, "BypassPolicyLockoutSafetyCheck": true});
        kms.call("PutKeyPolicy", bypassed).await.ok();
    }
}

#[tokio::test]
async fn a_policy_has_at_most_32_kilobytes() {
    let kms = Kms::start().await;
    let id = kms.make(KeyState::Enabled);
    let sized = |bytes: usize| {
        let short = json!({"Id": "", "Statement": allow(&root(), "kms:*")}).to_string();
        short.replacen("\"\"", &format!("\"{}\"", "x".repeat(bytes - short.len())), 1)
    };
    assert_eq!(sized(32 * 1024).len(), 32 * 1024);
    put(&kms, &id, sized(32 * 1024)).await.ok();
    put(&kms, &id, sized(32 * 1024 + 1)).await.refused(400, "LimitExceededException");
    put(&kms, &id, "").await.refused(400, "ValidationException");
}

#[tokio::test]
async fn there_is_one_policy_of_one_name() {
    let kms = Kms::start().await;
    let id = kms.make(KeyState::Enabled);
    let request = json!({"KeyId": id, "PolicyName": "other"});
    assert_eq!(kms.call("GetKeyPolicy", request).await.refused(400, "NotFoundException"), "No such policy exists");
    kms.call("PutKeyPolicy", json!({"KeyId": id})).await.refused(400, "ValidationException");
}
