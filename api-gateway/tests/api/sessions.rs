//! Sessions: refresh tokens, and how they end.

use std::sync::{Arc, atomic::Ordering};

use axum::body::Body;
use http::Method;
use keyfleet_proto::auth::v1 as proto;
use serde_json::{Value, json};

use crate::support::{Answer, JOBS, PASSWORD, Stage, json_request, request};

const TOKENS: &str = "/api/v1/auth/tokens";
const REVOKE: &str = "/api/v1/auth/revoke";

async fn log_in(stage: &Stage, username: &str) -> Value {
    let answer = stage.send(json_request(TOKENS, None, &json!({"username": username, "password": PASSWORD}))).await;
    assert_eq!(answer.status, 200);
    answer.json()
}

async fn go_on(stage: &Stage, session: &Value) -> Answer {
    let body = json!({"grant_type": "refresh_token", "refresh_token": session["refresh_token"]});
    stage.send(json_request(TOKENS, None, &body)).await
}

async fn delete(stage: &Stage, token: &Value, id: &Value) -> Answer {
    let path = format!("{TOKENS}/{}", id.as_str().unwrap());
    stage.send(request(Method::DELETE, &path, token.as_str()).body(Body::empty()).unwrap()).await
}

async fn works(stage: &Stage, session: &Value) -> bool {
    stage.get(session["jwt"].as_str().unwrap(), "/api/v1/auth/self/user").await.status == 200
}

#[tokio::test]
async fn a_refresh_token_goes_on_and_stays_the_same() {
    let stage = Stage::set().await;
    let first = log_in(&stage, "admin").await;
    for _ in 0..3 {
        let again = go_on(&stage, &first).await;
        assert_eq!(again.status, 200);
        let again = again.json();
        assert_eq!(again["refresh_token"], first["refresh_token"]);
        assert_eq!(again["refresh_token_id"], first["refresh_token_id"]);
        let left = again["refresh_token_expires_in"].as_i64().unwrap();
        assert!((86_390..=86_400).contains(&left), "{left}");
        assert_eq!(stage.get(again["jwt"].as_str().unwrap(), JOBS).await.status, 200);
    }
    stage.get(first["refresh_token"].as_str().unwrap(), JOBS).await.refusal(401, 5);
    for bad in [json!("x"), first["jwt"].clone(), first["refresh_token_id"].clone()] {
        go_on(&stage, &json!({"refresh_token": bad})).await.refusal(401, 5);
    }
}

#[tokio::test]
async fn what_is_kept_of_a_refresh_token_is_not_the_token() {
    let stage = Stage::set().await;
    let session = log_in(&stage, "admin").await;
    let kept = stage.scheduler.sessions.open.lock().unwrap().clone();
    assert_eq!(kept.len(), 1);
    assert_eq!((kept[0].tenant.as_str(), kept[0].token_digest.len()), ("kylo:kylo", 32));
    assert_eq!(kept[0].subject, "local|00000000-0000-0000-0000-000000000001");
    let token = session["refresh_token"].as_str().unwrap();
    assert!(!format!("{kept:?}").contains(token));
    assert_ne!(kept[0].token_digest, token.as_bytes());
}

#[tokio::test]
async fn another_replica_takes_every_token_of_this_one() {
    let stage = Stage::set().await;
    let session = log_in(&stage, "admin").await;
    let other = stage.another();
    assert!(works(&other, &session).await);
    let again = go_on(&other, &session).await.json();
    assert!(works(&stage, &again).await);
}

#[tokio::test]
async fn whoever_holds_a_refresh_token_can_revoke_it() {
    let stage = Stage::set().await;
    let session = log_in(&stage, "bulk").await;
    let later = go_on(&stage, &session).await.json();
    let other = log_in(&stage, "bulk").await;
    let body = json!({"refresh_token": session["refresh_token"], "client_id": "keyfleet"});
    for _ in 0..2 {
        let answer = stage.send(json_request(REVOKE, None, &body)).await;
        assert_eq!((answer.status.as_u16(), answer.body.len()), (204, 0));
    }
    go_on(&stage, &session).await.refusal(401, 5);
    // Access tokens of the session too, and of no other.
    for ended in [&session, &later] {
        stage.get(ended["jwt"].as_str().unwrap(), JOBS).await.refusal(401, 5);
    }
    assert!(works(&stage, &other).await);
    assert_eq!(go_on(&stage, &other).await.status, 200);
    for bad in [json!({}), json!({"refresh_token": ""}), json!({"refresh_token": 7}), json!([])] {
        stage.send(json_request(REVOKE, None, &bad)).await.refusal(400, 2);
    }
}

#[tokio::test]
async fn a_user_ends_own_sessions_and_an_admin_those_of_the_tenant() {
    let stage = Stage::set().await;
    let [admin, nobody, bulk, stranger] = [
        log_in(&stage, "admin").await,
        log_in(&stage, "nobody").await,
        log_in(&stage, "bulk").await,
        log_in(&stage, "stranger").await,
    ];
    let second = log_in(&stage, "nobody").await;
    for (who, whose) in [(&nobody, &bulk), (&nobody, &admin), (&stranger, &bulk), (&admin, &stranger)] {
        delete(&stage, &who["jwt"], &whose["refresh_token_id"]).await.refusal(404, 16);
        assert!(works(&stage, whose).await);
    }
    for id in [json!("no-uuid"), json!("00000000-0000-0000-0000-000000000000")] {
        delete(&stage, &admin["jwt"], &id).await.refusal(404, 16);
    }
    for (who, whose) in [(&nobody, &second), (&nobody, &nobody), (&admin, &bulk), (&stranger, &stranger)] {
        assert_eq!(delete(&stage, &who["jwt"], &whose["refresh_token_id"]).await.status, 204);
        assert!(!works(&stage, whose).await);
        go_on(&stage, whose).await.refusal(401, 5);
    }
    assert!(works(&stage, &admin).await);
}

#[tokio::test]
async fn other_replicas_learn_of_a_revocation() {
    let stage = Stage::set().await;
    let session = log_in(&stage, "admin").await;
    let other = stage.another();
    let app = other.app.clone();
    assert_eq!(delete(&stage, &session["jwt"], &session["refresh_token_id"]).await.status, 204);
    assert!(works(&other, &session).await, "nobody has told it yet");
    let following = tokio::spawn(async move { app.follow_revocations().await });
    let learned = async {
        while works(&other, &session).await {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(30), learned).await.unwrap();
    following.abort();
}

#[tokio::test]
async fn a_login_works_while_nothing_can_be_kept() {
    let stage = Stage::set().await;
    let before = log_in(&stage, "admin").await;
    stage.scheduler.no_sessions.store(true, Ordering::Relaxed);
    let session = log_in(&stage, "admin").await;
    for field in ["refresh_token", "refresh_token_id", "refresh_token_expires_in"] {
        assert!(session.get(field).is_none(), "{field}");
    }
    assert!(works(&stage, &session).await);
    assert!(works(&stage, &before).await);
    let answer = go_on(&stage, &before).await;
    answer.refusal(503, 8);
    assert!(answer.headers.contains_key("retry-after"));
    let body = json!({"refresh_token": before["refresh_token"]});
    stage.send(json_request(REVOKE, None, &body)).await.refusal(503, 8);
    // What has no refresh token can be logged out all the same.
    stage.scheduler.no_sessions.store(false, Ordering::Relaxed);
    let claims: Value = jsonwebtoken::dangerous::insecure_decode_claims(session["jwt"].as_str().unwrap()).unwrap();
    assert_eq!(delete(&stage, &session["jwt"], &claims["cust"]["sid"]).await.status, 204);
    assert!(!works(&stage, &session).await);
    assert_eq!(go_on(&stage, &before).await.status, 200);
}

#[tokio::test]
async fn a_changed_password_or_a_removed_user_ends_the_refresh_token() {
    let stage = Stage::set().await;
    let session = log_in(&stage, "bulk").await;
    let change = |change: fn(&mut proto::Session)| change(&mut stage.scheduler.sessions.open.lock().unwrap()[0]);
    assert_eq!(go_on(&stage, &session).await.status, 200);
    change(|kept| kept.password_mark = b"another".to_vec().into());
    go_on(&stage, &session).await.refusal(401, 5);
    let session = log_in(&stage, "bulk").await;
    stage.scheduler.sessions.open.lock().unwrap().remove(0);
    change(|kept| kept.subject = "local|00000000-0000-0000-0000-000000000099".to_owned());
    go_on(&stage, &session).await.refusal(401, 5);
}

#[tokio::test]
async fn many_logins_at_once_each_get_a_session() {
    let stage = Arc::new(Stage::set().await);
    // From then on the password is known to be right: only so many unknown ones may wait to be checked.
    let first = log_in(&stage, "admin").await;
    let logins = (0..200).map(|_| {
        let stage = Arc::clone(&stage);
        tokio::spawn(async move { log_in(&stage, "admin").await })
    });
    let mut ids = std::collections::BTreeSet::from([first["refresh_token_id"].as_str().unwrap().to_owned()]);
    for login in logins.collect::<Vec<_>>() {
        ids.insert(login.await.unwrap()["refresh_token_id"].as_str().unwrap().to_owned());
    }
    assert_eq!((ids.len(), stage.scheduler.sessions.open.lock().unwrap().len()), (201, 201));
}

#[tokio::test]
async fn a_caller_is_told_who_it_is() {
    let stage = Stage::set().await;
    let token = stage.log_in("stranger").await;
    let user = stage.get(&token, "/api/v1/auth/self/user/").await.json();
    assert_eq!(
        user,
        json!({"user_id": "local|00000000-0000-0000-0000-000000000004", "username": "stranger", "name": "stranger",
            "nickname": "stranger", "groups": ["admin"], "account": "acme:ops:admin:accounts:acme",
            "current_domain": {"id": "ops", "name": "ops"}})
    );
}
