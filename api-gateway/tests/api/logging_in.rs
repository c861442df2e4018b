//! Logins: what clients send, what they get, and how guessing is slowed.

use std::net::SocketAddr;

use axum::{body::Body, extract::ConnectInfo};
use http::{Method, Request};
use serde_json::{Value, json};

use crate::support::{Answer, PASSWORD, Stage, json_request, request};

const TOKENS: &str = "/api/v1/auth/tokens";

async fn ask(stage: &Stage, body: &Value) -> Answer {
    stage.send(json_request(TOKENS, None, body)).await
}

fn from(address: &str, body: &Value) -> Request<Body> {
    let mut request = json_request(TOKENS, None, body);
    request.extensions_mut().insert(ConnectInfo(address.parse::<SocketAddr>().unwrap()));
    request
}

#[tokio::test]
async fn a_login_gives_the_documented_answer() {
    let stage = Stage::set().await;
    let answer = ask(&stage, &json!({"grant_type": "password", "username": "admin", "password": PASSWORD})).await;
    assert_eq!(answer.status, 200);
    let body = answer.json();
    let mut fields: Vec<&String> = body.as_object().unwrap().keys().collect();
    fields.sort_unstable();
    assert_eq!(
        fields,
        ["client_id", "duration", "jwt", "refresh_token", "refresh_token_expires_in", "refresh_token_id", "token_type"]
    );
    assert_eq!((&body["duration"], &body["token_type"]), (&json!(300), &json!("Bearer")));
    let claims: Value = jsonwebtoken::dangerous::insecure_decode_claims(body["jwt"].as_str().unwrap()).unwrap();
    for claim in ["aud", "sub", "iss", "acc", "preferred_username", "cust", "jwtid", "iat", "exp"] {
        assert!(!claims[claim].is_null(), "{claim}");
    }
    assert_eq!(claims["sub"], "local|00000000-0000-0000-0000-000000000001");
    assert_eq!((&claims["iss"], &claims["acc"]), (&json!("kylo"), &json!("kylo")));
    assert_eq!(claims["exp"].as_i64().unwrap() - claims["iat"].as_i64().unwrap(), 300);
    assert_eq!(claims["cust"]["domain_id"], "kylo");
    assert_eq!(claims["cust"]["groups"], json!(["CCKM Admins"]));
    assert_eq!(claims["cust"]["sid"], body["refresh_token_id"]);
}

#[tokio::test]
async fn clients_may_send_what_they_always_sent() {
    let stage = Stage::set().await;
    for body in [
        json!({"name": "admin", "password": PASSWORD}),
        json!({"username": "admin", "password": PASSWORD, "domain": "kylo", "connection": "local_account"}),
        json!({"username": "admin", "password": PASSWORD, "domain": "", "auth_domain": null, "auth_domain_path": "x"}),
        json!({"grant_type": "password", "username": "admin", "password": PASSWORD, "cookies": true}),
    ] {
        for header in [None, Some("Bearer "), Some("Bearer x.y.z"), Some("nonsense")] {
            let mut call =
                request(Method::POST, "/api/v1/auth/tokens/", None).header("content-type", "application/json");
            if let Some(header) = header {
                call = call.header("authorization", header);
            }
            let answer = stage.send(call.body(Body::from(body.to_string())).unwrap()).await;
            assert_eq!(answer.status, 200, "{body} {header:?}");
        }
    }
}

#[tokio::test]
async fn what_is_wrong_with_a_login_is_not_told() {
    let stage = Stage::set().await;
    let mut messages = Vec::new();
    for body in [
        json!({"username": "admin", "password": "wrong"}),
        json!({"username": "who", "password": PASSWORD}),
        json!({"username": "admin", "password": PASSWORD, "domain": "ops"}),
        json!({"username": "admin", "password": PASSWORD, "auth_domain": "ops"}),
    ] {
        messages.push(ask(&stage, &body).await.refusal(401, 5));
    }
    messages.dedup();
    assert_eq!(messages.len(), 1);
    for (body, field) in [
        ("{}", "username"),
        (r#"{"username":"a"}"#, "password"),
        (r#"{"username":7,"password":"p"}"#, "username"),
        (r#"{"username":"a","password":["p"]}"#, "password"),
        (r#"{"grant_type":"magic"}"#, "grant_type"),
    ] {
        let call =
            request(Method::POST, TOKENS, None).header("content-type", "application/json").body(Body::from(body));
        let message = stage.send(call.unwrap()).await.refusal(400, 2);
        assert!(message.starts_with(&format!("{field}: ")), "{message}");
    }
    for bad in ["", "{", "[]", "null", "{} x"] {
        let call = request(Method::POST, TOKENS, None).header("content-type", "application/json").body(Body::from(bad));
        stage.send(call.unwrap()).await.refusal(400, 2);
    }
    let form = request(Method::POST, TOKENS, None)
        .header("content-type", "application/x-www-form-urlencoded")
        .body(Body::from("username=a&password=b"));
    stage.send(form.unwrap()).await.refusal(415, 2);
}

#[tokio::test]
async fn guessing_is_blocked_for_the_guesser_alone() {
    let stage = Stage::set().await;
    let wrong = json!({"username": "admin", "password": "wrong"});
    let right = json!({"username": "admin", "password": PASSWORD});
    for _ in 0..6 {
        stage.send(from("192.0.2.1:1000", &wrong)).await.refusal(401, 5);
    }
    let blocked = stage.send(from("192.0.2.1:2000", &wrong)).await;
    blocked.refusal(429, 7);
    assert!(blocked.headers.contains_key("retry-after"));
    // Else the answer would tell that the guess was right.
    stage.send(from("192.0.2.1:3000", &right)).await.refusal(429, 7);
    assert_eq!(stage.send(from("192.0.2.2:1000", &right)).await.status, 200);
    let other = json!({"username": "bulk", "password": PASSWORD});
    assert_eq!(stage.send(from("192.0.2.1:1000", &other)).await.status, 200);
}

#[tokio::test]
async fn many_good_logins_are_never_limited() {
    let stage = Stage::set().await;
    let right = json!({"username": "admin", "password": PASSWORD});
    for _ in 0..500 {
        assert_eq!(stage.send(from("192.0.2.1:1000", &right)).await.status, 200);
    }
}

#[tokio::test]
async fn anyone_may_have_the_public_keys() {
    let stage = Stage::set().await;
    let set = stage.send(request(Method::GET, "/api/v1/auth/jwks.json", None).body(Body::empty()).unwrap()).await;
    assert_eq!(set.status, 200);
    let keys: jsonwebtoken::jwk::JwkSet = serde_json::from_slice(&set.body).unwrap();
    let key = jsonwebtoken::DecodingKey::from_jwk(&keys.keys[0]).unwrap();
    let mut validation = jsonwebtoken::Validation::new(jsonwebtoken::Algorithm::ES256);
    validation.set_audience(&["keyfleet"]);
    let token = stage.log_in("admin").await;
    let read = jsonwebtoken::decode::<Value>(&token, &key, &validation).unwrap();
    assert_eq!(read.header.kid, keys.keys[0].common.key_id);
}
