//! Answers that nobody of AWS's would give: none of them panics, none is taken for a success or a reading.
//!
//! What stands between a worker and KMS (a proxy, a captive portal, somebody else's service) answers as well. Told as a
//! success is only what KMS's own success says; a 2xx that is not it leaves the outcome open, any other status refuses.

use std::time::Duration;

use futures_util::{StreamExt as _, future::join_all, stream};
use job_model::{Observed, Operation, Request, outcome::Failure};
use keyfleet_proto::workers::v1::{PageKind, PageRequest, Reach, Reaches, page_result::Outcome};
use kms_worker::{kms::Answer, pages};
use proptest::{collection::vec, prelude::*, strategy::ValueTree as _, test_runner::TestRunner};
use serde_json::{Value, json};
use service_kit::clock;

use crate::{
    end::{End, address, kms_and_sts, permit, requests},
    junk_end::{JunkEnd, Said, json, said, spoilt, text},
};

const ROLE: &str = "arn:aws:iam::222233334444:role/one";
const PATIENCE: Duration = Duration::from_secs(20);

/// So many of these, or as many as `PROPTEST_CASES` says.
fn cases<T: std::fmt::Debug>(most: u32, strategy: impl Strategy<Value = T>) -> Vec<T> {
    let mut runner = TestRunner::default();
    let count = if std::env::var_os("PROPTEST_CASES").is_some() { runner.config().cases } else { most };
    vec(strategy, usize::try_from(count).unwrap()).new_tree(&mut runner).unwrap().current()
}

/// An answer as KMS writes them.
fn plain(status: u16, body: &str) -> Said {
    let body = body.as_bytes().to_vec();
    Said { status, content_type: "application/x-amz-json-1.1", error_type: None, body, broken: false }
}

/// Enables a key of an account that is reached by a role.
async fn act_by_role(end: &JunkEnd) -> Answer<()> {
    end.says("EnableKey", plain(200, ""));
    let _once = End::new(end.url.clone());
    let kms = kms_and_sts(&end.url, &end.url, PATIENCE, clock::boottime);
    let reach = Reach { account: "222233334444".to_owned(), role_arn: ROLE.to_owned(), ..Reach::default() };
    kms.reach(Reaches { accounts: vec![reach] }.into());
    let key = job_model::KeyAddress { account: "222233334444".into(), ..address("key") };
    kms.key(&key).act(&Request::EnableKey, &permit()).await
}

fn described() -> Value {
    json!({"KeyMetadata": {"AWSAccountId": "111122223333", "KeyId": "key", "Arn": "arn:aws:kms:us-east-1:111122223333:key/key",
        "CreationDate": 1.7e9, "Enabled": true, "Description": "", "KeyUsage": "ENCRYPT_DECRYPT", "KeyState": "PendingDeletion",
        "DeletionDate": 1.8e9, "Origin": "AWS_KMS", "KeyManager": "CUSTOMER", "KeySpec": "SYMMETRIC_DEFAULT",
        "EncryptionAlgorithms": ["SYMMETRIC_DEFAULT"], "MultiRegion": false, "PendingDeletionWindowInDays": 7}})
}

fn bodies(good: Value) -> impl Strategy<Value = Vec<u8>> {
    let refusal = json!({"__type": "com.amazonaws.kms#NotFoundException", "message": "no such key"});
    prop_oneof![
        5 => spoilt(good).prop_map(|body| body.to_string().into_bytes()),
        3 => spoilt(refusal).prop_map(|body| body.to_string().into_bytes()),
        2 => json().prop_map(|body| body.to_string().into_bytes()),
        1 => vec(any::<u8>(), 0..300),
        1 => Just(Vec::new()),
        1 => prop::sample::select(vec!["{}", "null", "[]", "7", "{", "\"\"", "1e999", "{\"KeyMetadata\":{\"DeletionDate\":1e999}}",
            "<html>Welcome to the hotel's network</html>", "{\"status\":\"log in first\"}"]).prop_map(|body| body.as_bytes().to_vec()),
    ]
}

/// What of a failure follows from the status alone.
fn check_failure(failure: &Failure, said: &Said) {
    match failure {
        Failure::Unanswered(why) => {
            assert!(!why.is_empty() && (said.is_success() || said.broken), "{failure:?} {said:?}");
        }
        // A state that AWS adds later is told as one.
        Failure::Refused(refusal) if refusal.status == 0 => assert_eq!(refusal.code, "UnknownKeyState", "{said:?}"),
        Failure::Refused(refusal) => {
            assert_eq!(refusal.status, said.status, "{refusal:?} {said:?}");
            assert!(!said.is_success() && !refusal.code.is_empty() && !refusal.text.is_empty(), "{refusal:?} {said:?}");
        }
        Failure::Unsent(_) | Failure::Void => panic!("{failure:?} to {said:?}"),
    }
}

fn check_seen(answer: &Answer<Observed>, said: &Said) {
    assert!(answer.sent);
    let body = said.json().unwrap_or_default();
    match &answer.result {
        Ok(Observed::State { state, .. }) => {
            assert!(said.is_success() && body["KeyMetadata"]["KeyState"] == state.as_str(), "{answer:?} from {said:?}");
        }
        Ok(Observed::Policy(policy)) => {
            assert!(said.is_success() && body["Policy"] == policy.as_str(), "{answer:?} from {said:?}");
        }
        Err(failure) => check_failure(failure, said),
    }
}

fn check_acted(operation: Operation, answer: &Answer<()>, said: &Said) {
    assert!(answer.sent);
    let Err(failure) = &answer.result else {
        let body = said.json();
        let confirmed = match operation {
            // They have no output.
            Operation::EnableKey | Operation::DisableKey | Operation::ApplyPolicyTemplate => {
                said.body.is_empty() || body == Some(Value::Null) || body == Some(json!({}))
            }
            Operation::ScheduleKeyDeletion | Operation::CancelKeyDeletion => {
                body.is_some_and(|body| body["KeyId"].as_str().is_some_and(|id| !id.is_empty()))
            }
        };
        assert!(said.is_success() && !said.broken && confirmed, "a success from {said:?}");
        return;
    };
    check_failure(failure, said);
}

#[tokio::test]
async fn no_answer_to_a_look_is_taken_for_a_reading_that_it_is_not() {
    let end = JunkEnd::start().await;
    let client = End::new(end.url.clone());
    let answers =
        prop_oneof![said(bodies(described())), said(bodies(json!({"Policy": "{}", "PolicyName": "default"})))];
    for said in cases(150, answers) {
        end.says("DescribeKey", said.clone());
        end.says("GetKeyPolicy", said.clone());
        for request in [Request::EnableKey, Request::ApplyPolicy { policy: "{}".into() }] {
            check_seen(&client.key("key").observe(&request, &permit()).await, &said);
        }
    }
}

#[tokio::test]
async fn no_answer_to_a_call_is_taken_for_a_success_that_it_is_not() {
    let end = JunkEnd::start().await;
    let client = End::new(end.url.clone());
    let good = json!({"KeyId": "arn:aws:kms:us-east-1:111122223333:key/key", "DeletionDate": 1.8e9, "KeyState": "PendingDeletion",
        "PendingWindowInDays": 7});
    for said in cases(100, said(bodies(good))) {
        for request in requests() {
            end.says(request.operation().kms_operation(), said.clone());
            let answer = client.key("key").act(&request, &permit()).await;
            check_acted(request.operation(), &answer, &said);
        }
    }
}

/// Each with an end of its own, at once: reads that may yet succeed are made again for a while.
#[tokio::test]
async fn no_page_is_told_that_was_not_listed() {
    let list = json!({"Keys": [{"KeyId": "a", "KeyArn": "b"}, {"KeyId": "key", "KeyArn": "c"}], "Truncated": false,
        "Aliases": [{"AliasName": "alias/a", "TargetKeyId": "a"}]});
    let kind = prop::sample::select(vec![PageKind::Keys, PageKind::Aliases]);
    let all = cases(100, (kind, said(bodies(list.clone())), said(bodies(described())), any::<bool>()));
    join_all(all.into_iter().map(async |(kind, listed, key, is_list)| {
        // Either the list is junk, or what is told of its keys.
        let (listed, key) =
            if is_list { (listed, plain(200, &described().to_string())) } else { (plain(200, &list.to_string()), key) };
        let end = JunkEnd::start().await;
        for operation in ["ListKeys", "ListAliases"] {
            end.says(operation, listed.clone());
        }
        end.says("DescribeKey", key.clone());
        end.says("ListResourceTags", plain(200, r#"{"Tags": []}"#));
        let (account, region) = ("111122223333".to_owned(), "us-east-1".to_owned());
        let request = PageRequest { page: 1, account, region, kind: kind.into(), marker: String::new(), limit: 9 };
        let result = pages::read(&End::new(end.url.clone()).kms, &request, permit()).await;
        let body = listed.json().unwrap_or_default();
        match result.outcome.unwrap() {
            Outcome::Keys(page) => {
                assert!(listed.is_success() && body["Keys"].is_array(), "{page:?} from {listed:?}");
                for seen in page.keys {
                    let told = key.json().unwrap_or_default();
                    assert!(key.is_success() && told["KeyMetadata"]["KeyState"] == seen.state, "{seen:?} from {key:?}");
                    assert!(serde_json::from_str::<Value>(&seen.metadata).is_ok_and(|metadata| metadata.is_object()));
                }
            }
            Outcome::Aliases(page) => {
                assert!(listed.is_success() && body["Aliases"].is_array(), "{page:?} from {listed:?}");
            }
            Outcome::Refused(refused) => {
                assert!(!refused.code.is_empty() && !listed.is_success(), "{refused:?} {listed:?}");
            }
            Outcome::Unavailable(again) => assert!(!again.text.is_empty(), "{again:?}"),
        }
    }))
    .await;
}

/// STS's answers, good but for what is junk in them.
fn sts_body() -> impl Strategy<Value = Vec<u8>> {
    let field = |good: &'static str| prop_oneof![3 => Just(good.to_owned()), 1 => text(), 1 => "[<>&;a-z0-9]{0,20}"];
    let ends = prop_oneof![
        2 => Just("2099-01-01T00:00:00Z".to_owned()),
        2 => prop::sample::select(vec!["0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z", "99999-01-01T00:00:00Z", "-1", "1e999", "", "2001-01-01T00:00:00Z"])
            .prop_map(str::to_owned),
        1 => text(),
    ];
    let credentials = (field("ASIAEXAMPLE"), field("secret"), field("token"), ends, prop::sample::select(vec![0, 0, 0, 1, 2, 3, 4])).prop_map(
        |(id, secret, token, ends, without)| {
            let mut parts = [("AccessKeyId", id), ("SecretAccessKey", secret), ("SessionToken", token), ("Expiration", ends)]
                .map(|(name, value)| format!("<{name}>{value}</{name}>"))
                .to_vec();
            if without > 0 {
                parts.remove(without - 1);
            }
            let parts = parts.concat();
            format!(
                "<AssumeRoleResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><AssumeRoleResult><Credentials>{parts}\
                 </Credentials></AssumeRoleResult></AssumeRoleResponse>"
            )
        },
    );
    let refusal = (text(), text()).prop_map(|(code, message)| {
        format!("<ErrorResponse><Error><Type>Sender</Type><Code>{code}</Code><Message>{message}</Message></Error></ErrorResponse>")
    });
    prop_oneof![
        4 => credentials.prop_map(String::into_bytes),
        2 => refusal.prop_map(String::into_bytes),
        1 => vec(any::<u8>(), 0..300),
        1 => json().prop_map(|body| body.to_string().into_bytes()),
        1 => prop::sample::select(vec!["", "<html>busy</html>", "<AssumeRoleResponse/>", "<a><b></a>", "<?xml version=\"1.0\"?>"])
            .prop_map(|body| body.as_bytes().to_vec()),
    ]
}

/// Some at once, because STS is asked again where that may help.
#[tokio::test]
async fn kms_is_asked_with_no_credentials_that_sts_did_not_give() {
    let each = stream::iter(cases(60, said(sts_body()))).map(async |said| {
        let end = JunkEnd::start().await;
        end.says("AssumeRole", said.clone());
        let answer = act_by_role(&end).await;
        let body = String::from_utf8_lossy(&said.body);
        match answer.result {
            Ok(()) => {
                assert!(said.is_success() && !said.broken && end.was_asked("EnableKey"), "{said:?}");
                for empty in ["<AccessKeyId></", "<SecretAccessKey></", "<SessionToken></"] {
                    assert!(body.contains(&empty[1..empty.len() - 3]) && !body.contains(empty), "{body}");
                }
            }
            Err(Failure::Unsent(why)) => assert!(!why.is_empty() && !answer.sent, "{said:?}"),
            Err(Failure::Refused(refusal)) => {
                assert_eq!((refusal.code.as_str(), refusal.status, answer.sent), ("CredentialsError", 0, false));
            }
            Err(failure) => panic!("{failure:?} from {said:?}"),
        }
    });
    each.buffer_unordered(8).collect::<()>().await;
}

#[tokio::test]
async fn somebody_else_s_json_is_no_success() {
    let end = JunkEnd::start().await;
    let client = End::new(end.url.clone());
    for (body, request) in [
        (r#"{"status": "log in first"}"#, Request::EnableKey),
        (r#""""#, Request::DisableKey),
        (r#"{"KeyId": ""}"#, Request::CancelKeyDeletion),
    ] {
        end.says(request.operation().kms_operation(), plain(200, body));
        let answer = client.key("key").act(&request, &permit()).await;
        assert!(answer.sent && matches!(answer.result, Err(Failure::Unanswered(_))), "{body} gave {answer:?}");
    }
}

#[tokio::test]
async fn a_refusal_of_no_words_is_told_by_its_status() {
    let end = JunkEnd::start().await;
    end.says("EnableKey", plain(400, r#"{"__type": "", "message": ""}"#));
    let answer = End::new(end.url.clone()).key("key").act(&Request::EnableKey, &permit()).await;
    let Err(Failure::Refused(refusal)) = answer.result else { panic!("{answer:?}") };
    assert_eq!((refusal.code.as_str(), refusal.status), ("Http400", 400));
    assert_eq!(refusal.text, "HTTP status 400 without an explanation");
}

/// After the last page of a synchronization, what was not met counts as gone.
#[tokio::test]
async fn an_answer_without_a_list_is_no_empty_list() {
    for (kind, body) in [
        (PageKind::Keys, "{}"),
        (PageKind::Keys, r#"{"Keys": [{"KeyArn": "a"}]}"#),
        (PageKind::Aliases, r#"{"status": "log in first"}"#),
    ] {
        let end = JunkEnd::start().await;
        end.says("ListKeys", plain(200, body));
        end.says("ListAliases", plain(200, body));
        let (account, region) = ("111122223333".to_owned(), "us-east-1".to_owned());
        let request = PageRequest { page: 1, account, region, kind: kind.into(), marker: String::new(), limit: 9 };
        let result = pages::read(&End::new(end.url.clone()).kms, &request, permit()).await;
        assert!(matches!(result.outcome, Some(Outcome::Unavailable(_))), "{body} gave {:?}", result.outcome);
    }
}

#[tokio::test]
async fn credentials_that_are_empty_sign_nothing() {
    let end = JunkEnd::start().await;
    let body = "<AssumeRoleResponse><AssumeRoleResult><Credentials><AccessKeyId></AccessKeyId><SecretAccessKey>s\
        </SecretAccessKey><SessionToken>t</SessionToken><Expiration>2099-01-01T00:00:00Z</Expiration></Credentials>\
        </AssumeRoleResult></AssumeRoleResponse>";
    end.says("AssumeRole", plain(200, body));
    let answer = act_by_role(&end).await;
    assert!(matches!(answer.result, Err(Failure::Unsent(_))) && !end.was_asked("EnableKey"), "{answer:?}");
}
