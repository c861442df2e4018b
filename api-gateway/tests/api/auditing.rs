//! What is written of calls.

use std::net::SocketAddr;

use axum::{body::Body, extract::ConnectInfo};
use http::Method;
use serde_json::json;

use crate::support::{JOBS, PASSWORD, Stage, json_request, request};

/// Method, path, status, and who: name and subject.
type Row = (String, String, u32, String, String);

async fn rows(stage: &Stage) -> Vec<Row> {
    stage.app.flush_audit().await;
    let kept = stage.scheduler.audited.lock().unwrap();
    kept.iter().map(|e| (e.method.clone(), e.path.clone(), e.status, e.username.clone(), e.subject.clone())).collect()
}

#[tokio::test]
async fn what_changes_something_logs_in_or_is_refused_is_kept_and_what_reads_is_not() {
    let stage = Stage::set().await;
    let row = |method: &str, path: &str, status, name: &str, subject: &str| -> Row {
        (method.to_owned(), path.to_owned(), status, name.to_owned(), subject.to_owned())
    };
    let admin = stage.log_in("admin").await;
    let tokens = "/api/v1/auth/tokens";
    stage.send(json_request(tokens, None, &json!({"username": "admin", "password": "wrong"}))).await;
    stage.send(json_request(tokens, None, &json!({"username": "nosuch\nuser", "password": PASSWORD}))).await;
    let created = stage.post(&admin, JOBS, r#"{"operation": "enablekey", "keys": ["a"]}"#).await.json();
    let path = format!("{JOBS}/{}", created["id"].as_str().unwrap());
    stage.get(&admin, &format!("{path}?detail=false")).await;
    stage.post(&admin, &format!("{path}/cancel"), "").await;
    stage.get("no token at all", &path).await;
    let me = "local|00000000-0000-0000-0000-000000000001";
    assert_eq!(
        rows(&stage).await,
        [
            row("POST", tokens, 200, "admin", me),
            row("POST", tokens, 401, "admin", ""),
            row("POST", tokens, 401, "nosuch\nuser", ""),
            row("POST", JOBS, 201, "admin", me),
            row("POST", &format!("{path}/cancel"), 200, "admin", me),
            row("GET", &path, 401, "", ""),
        ]
    );
}

#[tokio::test]
async fn an_entry_says_where_from_and_which_answer() {
    let stage = Stage::set().await;
    let admin = stage.log_in("admin").await;
    let mut request = request(Method::DELETE, &format!("{JOBS}/x"), Some(&admin)).body(Body::empty()).unwrap();
    request.extensions_mut().insert(ConnectInfo(SocketAddr::from(([192, 0, 2, 7], 4711))));
    let answer = stage.send(request).await;
    assert_eq!(answer.status, 405);
    rows(&stage).await;
    let kept = stage.scheduler.audited.lock().unwrap().clone();
    let last = kept.last().unwrap();
    assert_eq!(last.address, "192.0.2.7");
    assert_eq!(last.request_id, answer.headers["x-request-id"].to_str().unwrap());
    let ids: std::collections::BTreeSet<_> = kept.iter().map(|entry| entry.id.clone()).collect();
    assert_eq!(ids.len(), kept.len());
}
