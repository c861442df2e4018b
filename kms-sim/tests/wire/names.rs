//! How keys are named, whose they are, and what is said of names that lead nowhere.

use std::collections::HashMap;

use kms_sim::{KeyState, NewKeys};
use serde_json::json;

use crate::client::{ACCOUNT, Kms, REGION, arn};

const NOBODY: &str = "1234abcd-12ab-34cd-56ef-1234567890ab";

#[tokio::test]
async fn a_key_is_found_by_id_and_arn_and_where_aws_allows_it_by_alias() {
    let kms = Kms::start().await;
    let id = kms.make(KeyState::Disabled);
    kms.call("CreateAlias", json!({"AliasName": "alias/mine", "TargetKeyId": id})).await.ok();
    let alias_arn = format!("arn:aws:kms:{REGION}:{ACCOUNT}:alias/mine");
    for name in [&id, &arn(&id), "alias/mine", &alias_arn] {
        assert_eq!(kms.key("DescribeKey", name).await.ok()["KeyMetadata"]["KeyId"], id, "{name}");
    }
    for name in [&id, &arn(&id)] {
        kms.key("EnableKey", name).await.ok();
    }
    let message = kms.key("EnableKey", "alias/mine").await.refused(400, "NotFoundException");
    assert_eq!(message, "Invalid keyId 'alias/mine'");
    kms.key("EnableKey", &alias_arn).await.refused(400, "InvalidArnException");
    assert!(
        kms.sim
            .log(0)
            .iter()
            .filter(|row| row.op.is_some_and(|op| op.name() == "EnableKey"))
            .any(|row| row.key.as_deref() == Some(&id))
    );
}

#[tokio::test]
async fn names_that_lead_nowhere_are_refused_in_aws_s_words() {
    let kms = Kms::start().await;
    let kms_arn = |region: &str, account: &str, rest: &str| format!("arn:aws:kms:{region}:{account}:{rest}");
    let nobody = format!("key/{NOBODY}");
    for (name, code, message) in [
        (NOBODY.to_owned(), "NotFoundException", format!("Key '{}' does not exist", arn(NOBODY))),
        (arn(NOBODY), "NotFoundException", format!("Key '{}' does not exist", arn(NOBODY))),
        ("not-a-key".to_owned(), "NotFoundException", "Invalid keyId 'not-a-key'".to_owned()),
        (
            "alias/none".to_owned(),
            "NotFoundException",
            format!("Alias arn:aws:kms:{REGION}:{ACCOUNT}:alias/none is not found."),
        ),
        (kms_arn("eu-west-1", ACCOUNT, &nobody), "NotFoundException", "Invalid arn eu-west-1".to_owned()),
        ("arn:aws:s3:::bucket".to_owned(), "InvalidArnException", "Invalid arn arn:aws:s3:::bucket".to_owned()),
    ] {
        assert_eq!(kms.key("DescribeKey", &name).await.refused(400, code), message, "{name}");
    }
    let foreign = kms_arn(REGION, "222233334444", &nobody);
    let message = kms.key("EnableKey", &foreign).await.refused(400, "AccessDeniedException");
    assert!(message.contains("kms:EnableKey") && message.contains(&foreign), "{message}");
    kms.key("DescribeKey", "").await.refused(400, "ValidationException");
    kms.call("EnableKey", json!({})).await.refused(400, "ValidationException");
}

#[tokio::test]
async fn requests_that_are_none_are_refused_and_logged() {
    let kms = Kms::start().await;
    let auth = || Some("AWS4-HMAC-SHA256 Credential=A/20260101/us-east-1/kms/aws4_request".to_owned());
    kms.send("EnableKey", auth(), "{".to_owned()).await.refused(400, "SerializationException");
    kms.send("EnableKey", auth(), r#"{"KeyId": 5}"#.to_owned()).await.refused(400, "SerializationException");
    kms.send("EnableKey", None, "{}".to_owned()).await.refused(400, "MissingAuthenticationTokenException");
    kms.send("EnableKey", Some("Bearer x".to_owned()), "{}".to_owned())
        .await
        .refused(400, "IncompleteSignatureException");
    kms.send("Encrypt", auth(), "{}".to_owned()).await.refused(400, "UnknownOperationException");
    assert_eq!(kms.sim.log(0).len(), 5);
}

#[tokio::test]
async fn accounts_and_regions_are_apart() {
    let kms = Kms::start().await;
    let (status, _) = kms.admin("POST", "accounts", r#"{"AKIDOTHER": "222233334444"}"#).await;
    assert_eq!(status, 200);
    let new = NewKeys {
        account: Some("222233334444".to_owned()),
        region: Some("eu-west-1".to_owned()),
        ..NewKeys::default()
    };
    let id = kms.sim.make_keys(new).unwrap().remove(0);
    let body = json!({ "KeyId": id }).to_string();
    let described = kms.call_as("AKIDOTHER", "eu-west-1", "DescribeKey", body.clone()).await.ok();
    assert_eq!(described["KeyMetadata"]["Arn"], format!("arn:aws:kms:eu-west-1:222233334444:key/{id}"));
    for (credential, region) in [("AKIDOTHER", REGION), ("AKIDEXAMPLE", "eu-west-1")] {
        kms.call_as(credential, region, "DescribeKey", body.clone()).await.refused(400, "NotFoundException");
    }
    let row = &kms.sim.log(0)[0];
    assert_eq!((row.account.as_str(), row.region.as_str()), ("222233334444", "eu-west-1"));
}

/// An answer of STS: its status and its XML.
async fn sts(kms: &Kms, form: &str) -> (u16, String) {
    let request = reqwest::Client::new()
        .post(kms.sim.url())
        .header("content-type", "application/x-www-form-urlencoded")
        .body(form.to_owned());
    let response = request.send().await.unwrap();
    (response.status().as_u16(), response.text().await.unwrap())
}

fn tags(xml: &str) -> HashMap<&str, &str> {
    xml.split('<').filter_map(|part| part.split_once('>')).filter(|(name, _)| !name.starts_with('/')).collect()
}

const ROLE: &str = "arn:aws:iam::222233334444:role/keyfleet";
const ASSUME: &str = "Action=AssumeRole&Version=2011-06-15&RoleSessionName=test\
                      &RoleArn=arn%3Aaws%3Aiam%3A%3A222233334444%3Arole%2Fkeyfleet";

#[tokio::test]
async fn an_assumed_role_acts_in_its_own_account() {
    let kms = Kms::start().await;
    let (status, xml) = sts(&kms, ASSUME).await;
    assert_eq!(status, 200, "{xml}");
    let tags = tags(&xml);
    assert_eq!(tags["Arn"], "arn:aws:sts::222233334444:assumed-role/keyfleet/test");
    assert_eq!(tags["Expiration"], "2026-01-01T01:00:00Z");
    assert!(!tags["SecretAccessKey"].is_empty() && !tags["SessionToken"].is_empty());

    let created = kms.call_as(tags["AccessKeyId"], REGION, "CreateKey", "{}".to_owned()).await.ok();
    assert_eq!(created["KeyMetadata"]["AWSAccountId"], "222233334444");

    let (status, xml) = sts(&kms, "Action=AssumeRole&RoleArn=x&RoleSessionName=test").await;
    assert!(status == 400 && xml.contains("<Code>ValidationError</Code>"), "{xml}");
}

#[tokio::test]
async fn a_role_s_rule_says_who_may_assume_it_and_for_how_long() {
    let kms = Kms::start().await;
    let rule = async |rule: serde_json::Value| {
        assert_eq!(kms.admin("POST", "roles", &json!({ ROLE: rule }).to_string()).await.0, 200);
    };
    rule(json!({"external_id": "ours", "valid_s": 3})).await;
    for form in [ASSUME.to_owned(), format!("{ASSUME}&ExternalId=theirs")] {
        let (status, xml) = sts(&kms, &form).await;
        assert!(status == 403 && xml.contains("<Code>AccessDenied</Code>"), "{xml}");
    }
    let (status, xml) = sts(&kms, &format!("{ASSUME}&ExternalId=ours")).await;
    assert_eq!(status, 200, "{xml}");
    let tags = tags(&xml);
    assert_eq!(tags["Expiration"], "2026-01-01T00:00:03Z");
    kms.call_as(tags["AccessKeyId"], REGION, "CreateKey", "{}".to_owned()).await.ok();
    kms.clock.advance(std::time::Duration::from_secs(3));
    let late = kms.call_as(tags["AccessKeyId"], REGION, "CreateKey", "{}".to_owned()).await;
    late.refused(400, "ExpiredTokenException");

    rule(json!({"refuse": "Throttling"})).await;
    let (status, xml) = sts(&kms, ASSUME).await;
    assert!(status == 400 && xml.contains("<Code>Throttling</Code>"), "{xml}");
    assert_eq!(kms.admin("GET", "roles", "").await.1, json!({ ROLE: 4 }).to_string());
    assert_eq!(kms.admin("POST", "roles", r#"{"x": {"extern_id": 1}}"#).await.0, 400);
}
