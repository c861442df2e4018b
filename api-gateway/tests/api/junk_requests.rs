//! Requests that no client means to send, through the whole router: each is answered in the one form, a bad one with
//! the name of what is bad, and never as a fault of ours.

use axum::body::Body;
use http::Method;
use proptest::{collection::vec, prelude::*, strategy::ValueTree as _, test_runner::TestRunner};
use serde_json::{Value, json};

use crate::{
    junk::{self, text},
    support::{Answer, JOBS, Stage, request},
};

const LISTS: [&str; 5] = [
    JOBS,
    "/api/v1/cckm/aws/kms",
    "/api/v1/cckm/aws/keys",
    "/api/v1/cckm/aws/templates",
    "/api/v1/cckm/aws/synchronization-jobs",
];

/// So many of these, or as many as `PROPTEST_CASES` says.
fn cases<T: std::fmt::Debug>(most: u32, strategy: impl Strategy<Value = T>) -> Vec<T> {
    let mut runner = TestRunner::default();
    let count = if std::env::var_os("PROPTEST_CASES").is_some() { runner.config().cases } else { most };
    vec(strategy, usize::try_from(count).unwrap()).new_tree(&mut runner).unwrap().current()
}

async fn stage() -> (Stage, String) {
    let stage = Stage::set_with(&["--token-rate=1000000", "--token-burst=1000000"]).await;
    let token = stage.log_in("admin").await;
    (stage, token)
}

/// An answer to whoever sent `what`: a success, or a refusal that says why.
fn check(answer: &Answer, what: &str) {
    let status = answer.status.as_u16();
    assert!((200..500).contains(&status), "{status} to {what}: {}", String::from_utf8_lossy(&answer.body));
    if status >= 400 {
        let code = answer.json()["code"].as_u64().unwrap();
        let message = answer.refusal(status, u32::try_from(code).unwrap());
        if status == 400 {
            // A field's name may be longer than a message can be.
            let names = message.contains(": ") || message.ends_with('…');
            assert!(names || message.contains("body") || message.contains("query"), "{what} gave {message}");
        }
    }
}

/// Parameters that there are, with anything for a value, and some that there are not.
fn query() -> impl Strategy<Value = String> {
    let name = prop::sample::select(vec![
        "skip",
        "limit",
        "sort",
        "id",
        "overall_status",
        "cloud",
        "name",
        "account_id",
        "connection",
        "status",
        "cloud_name",
        "keyid",
        "arn",
        "alias",
        "kms",
        "kms_id",
        "region",
        "keystate",
        "enabled",
        "gone",
        "origin",
        "cckm_policy_template_id",
        "tags",
        "kms_name",
        "is_verified",
        "policy_type",
        "detail",
        "whatever",
        "",
    ]);
    let value = prop_oneof![
        3 => text(),
        1 => prop::sample::select(vec!["4294967295", "4294967296", "18446744073709551616", "-1", "1e3", "+1", "٣"]).prop_map(str::to_owned),
        1 => vec(prop::sample::select(vec!["-", ",", "id", "createdAt", "name", "--", " ", "arn", "keystate"]), 0..8).prop_map(|words| words.concat()),
        1 => junk::json().prop_map(|json| json.to_string()),
    ];
    let pair = (name, value, any::<bool>()).prop_map(|(name, value, whole)| {
        // A request line of more than 64 KB is not even read.
        let value: String = value.chars().take(2_000).collect();
        let value: String = value.bytes().map(|byte| format!("%{byte:02X}")).collect();
        if whole { format!("{name}={value}") } else { value }
    });
    prop_oneof![
        6 => vec(pair, 0..6).prop_map(|pairs| pairs.join("&")),
        1 => "[a-z=&%+;0-9]{0,60}",
    ]
}

#[tokio::test]
async fn a_query_of_any_form_lists_or_is_named() {
    let (stage, token) = stage().await;
    let id = stage.scheduler.add_job("kylo:kylo", ["k".to_owned()]);
    for query in cases(200, query()) {
        let job = [format!("{JOBS}/{id}"), format!("{JOBS}/{id}/keys")];
        for path in LISTS.into_iter().map(str::to_owned).chain(job) {
            let path = format!("{path}?{query}");
            check(&stage.get(&token, &path).await, &path);
        }
    }
    let asked = stage.scheduler.keys_listed.lock().unwrap();
    for request in asked.iter() {
        // Postgres takes no NUL in a text.
        assert!(!format!("{request:?}").contains("\\0"), "{request:?}");
        assert!(request.limit <= 2_000);
    }
}

/// Each call that takes a body of bounded size, with a good one.
fn calls() -> Vec<(Method, &'static str, Value)> {
    let entry = json!({"user_id": "local|u", "group": null, "permit": true, "actions": ["view"]});
    vec![
        (
            Method::POST,
            "/api/v1/cckm/aws/kms",
            json!({"name": "n", "account_id": "222233334444", "regions": ["eu-west-1"], "connection": "c",
                "assume_role_arn": "arn:aws:iam::222233334444:role/a", "assume_role_external_id": "ext"}),
        ),
        (
            Method::PATCH,
            "/api/v1/cckm/aws/kms/c",
            json!({"name": "n", "account_id": "", "regions": ["eu-west-1"], "connection": "c", "assume_role_arn": "",
                "assume_role_external_id": ""}),
        ),
        (Method::POST, "/api/v1/cckm/aws/kms/c/update-acls", json!({"acls": [entry]})),
        (
            Method::POST,
            "/api/v1/cckm/aws/templates",
            json!({"name": "n", "kms": "c", "account_id": "222233334444", "policy": {"Version": "2012-10-17"},
                "key_admins": ["a"], "key_admins_roles": [], "key_users": ["b"], "key_users_roles": null,
                "external_accounts": ["222233334444"]}),
        ),
        (
            Method::PATCH,
            "/api/v1/cckm/aws/templates/t",
            json!({"policy": {"Version": "2012-10-17"}, "key_admins": ["a"], "auto_push": true}),
        ),
        (
            Method::POST,
            "/api/v1/cckm/aws/synchronization-jobs",
            json!({"kms": ["c"], "regions": ["eu-west-1"], "synchronize_all": false}),
        ),
        (
            Method::POST,
            "/api/v1/auth/tokens",
            json!({"grant_type": "password", "username": "nobody", "name": "x", "password": "p", "refresh_token": "r",
                "domain": "kylo", "auth_domain": ""}),
        ),
        (Method::POST, "/api/v1/auth/revoke", json!({"refresh_token": "r"})),
        (
            Method::POST,
            JOBS,
            json!({"operation": "schedulekeydeletion", "keys": ["k"], "days": 7, "force": false, "dry_run": true,
                "max_rate": 1.5, "policy_template_id": null,
                "selector": {"container": "c", "regions": ["eu-west-1"], "state": "Enabled", "tags": {"a": "b"}}}),
        ),
    ]
}

/// The text of a body: a good one spoilt, any JSON, or no JSON at all.
fn body(good: Value) -> impl Strategy<Value = Vec<u8>> {
    let twice = good.as_object().and_then(|members| members.iter().next()).map(|(name, value)| {
        let inner = good.to_string();
        format!("{{{}:{value},{}", json!(name), &inner[1..]).into_bytes()
    });
    let deep = |depth: usize| [vec![b'['; depth], vec![b']'; depth]].concat();
    prop_oneof![
        6 => junk::spoilt(good).prop_map(|body| body.to_string().into_bytes()),
        2 => junk::json().prop_map(|body| body.to_string().into_bytes()),
        1 => vec(any::<u8>(), 0..300),
        1 => (1_usize..200_000).prop_map(deep),
        1 => Just(twice.unwrap_or_default()),
        1 => prop::sample::select(vec!["", "{", "{}", "null", "1e999", "{\"name\":1e999}", "{\"days\":1e400}", "\u{feff}{}"])
            .prop_map(|body| body.as_bytes().to_vec()),
    ]
}

#[tokio::test]
async fn a_body_of_any_form_is_taken_or_named() {
    let (stage, token) = stage().await;
    for (method, path, good) in calls() {
        for body in cases(100, body(good.clone())) {
            let call = request(method.clone(), path, Some(&token)).header("content-type", "application/json");
            let what = format!("{method} {path} {}", String::from_utf8_lossy(&body));
            check(&stage.send(call.body(Body::from(body)).unwrap()).await, &what);
        }
    }
    // What went on can be stored: Postgres takes no NUL in a text.
    let scheduler = &stage.scheduler;
    let containers = format!("{:?}", scheduler.containers_made.lock().unwrap());
    let changes = format!("{:?}", scheduler.containers_changed.lock().unwrap());
    assert!(!containers.contains("\\0") && !changes.contains("\\0"), "{containers} {changes}");
}

#[tokio::test]
async fn an_authorization_of_any_form_is_refused() {
    let (stage, token) = stage().await;
    let parts: Vec<String> = token.split('.').map(str::to_owned).collect();
    let word = prop_oneof![
        prop::sample::select(vec!["Bearer", "bearer", "BEARER", "Basic", "Token", "JWT", "", "Bearer:", "Bearer,"])
            .prop_map(str::to_owned),
        "[!-~]{0,12}",
    ];
    let rest = prop_oneof![
        3 => vec(prop::sample::select(parts), 0..5).prop_map(|parts| parts.join(".")),
        2 => "[ -~]{0,80}",
        1 => Just(token.clone()),
    ];
    let gap = prop::sample::select(vec!["", " ", "  ", "\t", ", ", ": ", " Bearer "]);
    let header = prop_oneof![
        5 => (word, gap, rest).prop_map(|(word, gap, rest)| format!("{word}{gap}{rest}").into_bytes()),
        1 => vec(prop_oneof![Just(b'\t'), 0x20..=0x7e_u8, 0x80..=0xff_u8], 0..60),
    ];
    for header in cases(256, header) {
        let text = String::from_utf8_lossy(&header).into_owned();
        // That is a good one: the scheme in any case, a space or two, the token.
        let good = text
            .split_once(' ')
            .is_some_and(|(scheme, rest)| scheme.eq_ignore_ascii_case("bearer") && rest.trim() == token);
        let call = request(Method::GET, JOBS, None).header("authorization", header);
        let answer = stage.send(call.body(Body::empty()).unwrap()).await;
        if good {
            assert_eq!(answer.status, 200, "{text}");
        } else {
            answer.refusal(401, 5);
        }
    }
}
