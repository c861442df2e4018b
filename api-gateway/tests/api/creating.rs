//! Create: what goes to the scheduler, and that nothing does when the body is wrong.

use axum::body::Body;
use bytes::Bytes;
use futures_util::stream;
use http::Method;
use keyfleet_proto::jobs::v1 as proto;
use proto::create_job_request::Part;
use serde_json::json;
use sha2::{Digest as _, Sha256};

use crate::support::{JOBS, Stage, request};

/// A body of this many keys, written out of order: the keys stand before the operation.
fn body_of(keys: usize) -> String {
    let list: Vec<String> = (0..keys).map(|number| format!("\"key-{number:06}\"")).collect();
    format!(r#"{{"keys":[{}],"operation":"schedulekeydeletion","days":7}}"#, list.join(","))
}

/// The body in pieces of a few kilobytes, its length not announced.
fn in_pieces(body: &str) -> Body {
    let pieces: Vec<_> =
        body.as_bytes().chunks(8_191).map(|piece| Ok::<_, std::io::Error>(Bytes::copy_from_slice(piece))).collect();
    Body::from_stream(stream::iter(pieces))
}

fn commit(parts: &[Part]) -> proto::create_job_request::Commit {
    match parts.last() {
        Some(Part::Commit(commit)) => commit.clone(),
        other => panic!("{other:?} at the end"),
    }
}

#[tokio::test]
async fn a_small_job_is_answered_whole() {
    let stage = Stage::set().await;
    let token = stage.log_in("admin").await;
    let body = r#"{"operation":"applypolicytemplate","policy_template_id":"t1","keys":["a","b","a"],"force":true}"#;
    let call = request(Method::POST, JOBS, Some(&token))
        .header("content-type", "application/json; charset=utf-8")
        .header("content-length", body.len())
        .header("idempotency-key", "once-1")
        .body(Body::from(body))
        .unwrap();
    let answer = stage.send(call).await;
    assert_eq!(answer.status, 201);
    let job = answer.json();
    assert_eq!(job["keys"], json!(["a", "b"]));
    assert_eq!(job["detailed_status"], json!({"a": "in_progress", "b": "in_progress"}));
    assert_eq!((&job["policy_template_id"], &job["force"]), (&json!("t1"), &json!(true)));
    assert!(job.get("days").is_none());

    let created = stage.scheduler.created.lock().unwrap();
    let Part::Begin(begin) = &created[0][0] else { panic!("no begin") };
    assert_eq!(begin.tenant, "kylo:kylo");
    assert_eq!(begin.created_by, "local|00000000-0000-0000-0000-000000000001");
    let commit = commit(&created[0]);
    assert_eq!(commit.idempotency_key, "once-1");
    assert_eq!(commit.body_digest, Sha256::digest(body).to_vec());
}

#[tokio::test]
async fn a_large_job_goes_on_in_chunks_and_comes_back_without_its_keys() {
    let stage = Stage::set().await;
    let token = stage.log_in("admin").await;
    let body = body_of(120_000);
    for sent in [in_pieces(&body), Body::from(body.clone())] {
        let call = request(Method::POST, JOBS, Some(&token)).header("content-type", "application/json");
        let answer = stage.send(call.body(sent).unwrap()).await;
        assert_eq!(answer.status, 201, "{}", answer.text());
        let job = answer.json();
        assert_eq!(job["counts"]["total"], 120_000);
        assert_eq!(job["days"], 7);
        assert!(job.get("keys").is_none() && job.get("detailed_status").is_none());
    }
    let created = stage.scheduler.created.lock().unwrap();
    for parts in created.iter() {
        let mut names = (0..120_000).map(|number| format!("key-{number:06}"));
        for part in &parts[1..parts.len() - 1] {
            let Part::Keys(chunk) = part else { panic!("no keys") };
            assert!(chunk.keys.len() <= 5_000);
            assert!(chunk.keys.iter().all(|key| Some(key) == names.next().as_ref()));
        }
        assert_eq!(names.next(), None);
        assert_eq!(commit(parts).body_digest, Sha256::digest(&body).to_vec());
    }
}

#[tokio::test]
async fn whatever_is_wrong_with_the_body_nothing_is_committed() {
    let stage = Stage::set_with(&["--max-keys=9000", "--max-body=200000"]).await;
    let token = stage.log_in("admin").await;
    let good = body_of(8_000);
    let wrong_end = good.replace("\"days\":7", "\"days\":31");
    let unknown_end = good.replace("\"days\":7", "\"dry_rum\":true");
    let garbage_end = format!("{good} x");
    let cut_off = &good[..good.len() - 30];
    let small_wrong = r#"{"operation":"enablekey","keys":[]}"#;
    for (body, field) in [
        (wrong_end.as_str(), "days: "),
        (unknown_end.as_str(), "dry_rum: "),
        (garbage_end.as_str(), "the body is not valid JSON"),
        (cut_off, "days: the body is not valid JSON"),
        (body_of(9_001).as_str(), "keys: there are more than 9000"),
        (small_wrong, "keys: is empty"),
        ("", "the body is not valid JSON"),
    ] {
        for sent in [in_pieces(body), Body::from(body.to_owned())] {
            let call = request(Method::POST, JOBS, Some(&token)).header("content-type", "application/json");
            let message = stage.send(call.body(sent).unwrap()).await.refusal(400, 2);
            assert!(message.starts_with(field) || field.starts_with("days: the"), "{message}");
        }
        let message = stage.post(&token, JOBS, body).await.refusal(400, 2);
        assert!(message.contains(field.trim_start_matches("days: ")), "{message}");
    }
    let too_large = format!("{}{}", body_of(2), " ".repeat(200_000));
    let call = request(Method::POST, JOBS, Some(&token)).body(in_pieces(&too_large)).unwrap();
    stage.send(call).await.refusal(413, 2);
    stage.post(&token, JOBS, &too_large).await.refusal(413, 2);
    assert!(stage.scheduler.created.lock().unwrap().is_empty());
    assert!(stage.scheduler.jobs.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_body_of_another_type_is_refused_before_it_is_read() {
    let stage = Stage::set().await;
    let token = stage.log_in("admin").await;
    let body = r#"{"operation":"enablekey","keys":["k"]}"#;
    for wrong in ["text/plain", "application/x-www-form-urlencoded", "application/xml", ""] {
        let call = request(Method::POST, JOBS, Some(&token)).header("content-type", wrong).body(Body::from(body));
        stage.send(call.unwrap()).await.refusal(415, 2);
    }
    let without = request(Method::POST, JOBS, Some(&token)).body(Body::from(body)).unwrap();
    assert_eq!(stage.send(without).await.status, 201);
}

#[tokio::test]
async fn an_idempotency_key_must_be_printable() {
    let stage = Stage::set().await;
    let token = stage.log_in("admin").await;
    for key in [String::new(), "a b".to_owned(), "x".repeat(256)] {
        let call = request(Method::POST, JOBS, Some(&token))
            .header("idempotency-key", key)
            .body(Body::from(r#"{"operation":"enablekey","keys":["k"]}"#));
        let message = stage.send(call.unwrap()).await.refusal(400, 2);
        assert!(message.starts_with("Idempotency-Key: "), "{message}");
    }
    assert!(stage.scheduler.created.lock().unwrap().is_empty());
}

#[tokio::test]
async fn an_unknown_template_is_the_body_s_mistake() {
    let stage = Stage::set().await;
    let token = stage.log_in("admin").await;
    let body = r#"{"operation":"applypolicytemplate","policy_template_id":"unknown","keys":["k"]}"#;
    let message = stage.post(&token, JOBS, body).await.refusal(400, 2);
    assert!(message.starts_with("policy_template_id: "), "{message}");
}

#[tokio::test]
async fn a_client_that_breaks_off_leaves_nothing() {
    let stage = Stage::set().await;
    let token = stage.log_in("admin").await;
    let broken = Body::from_stream(stream::iter([
        Ok(Bytes::from(body_of(20_000)[..100_000].to_owned())),
        Err(std::io::Error::other("gone")),
    ]));
    let call = request(Method::POST, JOBS, Some(&token)).body(broken).unwrap();
    let message = stage.send(call).await.refusal(400, 2);
    assert!(message.contains("broke off"), "{message}");
    assert!(stage.scheduler.created.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_scheduler_that_refuses_midway_is_told_as_it_says() {
    let stage = Stage::set().await;
    let token = stage.log_in("admin").await;
    stage.scheduler.refusals.lock().unwrap().push(tonic::Status::resource_exhausted("too many jobs"));
    let call = request(Method::POST, JOBS, Some(&token)).body(in_pieces(&body_of(40_000))).unwrap();
    assert_eq!(stage.send(call).await.refusal(429, 7), "too many jobs");
}

#[tokio::test]
async fn a_selector_goes_on_as_a_filter_and_comes_back_as_it_was_given() {
    let stage = Stage::set_with(&["--max-keys=77"]).await;
    let token = stage.log_in("admin").await;
    let selector = json!({"container": "c", "regions": ["eu-west-1"], "state": "Enabled", "alias_prefix": "pay", "tags": {"a": "b"}});
    let body = json!({"operation": "disablekey", "selector": selector});
    let answer = stage.post(&token, JOBS, &body.to_string()).await;
    assert_eq!((answer.status.as_u16(), &answer.json()["selector"]), (201, &selector));
    let parts = stage.scheduler.created.lock().unwrap().pop().unwrap();
    let [Part::Begin(_), Part::Commit(commit)] = parts.as_slice() else { panic!("{parts:?}") };
    let filter = commit.filter.clone().unwrap();
    assert_eq!(
        (filter.kms.join(""), filter.alias_prefix.as_str(), filter.gone),
        ("c".to_owned(), "alias/pay", Some(false))
    );
    assert_eq!(commit.max_keys, 77);
    for (bad, field) in [
        (json!({"operation": "disablekey", "selector": selector, "keys": ["k"]}), "selector: "),
        (json!({"operation": "disablekey", "selector": {}}), "selector: "),
        (json!({"operation": "disablekey", "selector": {"status": "Enabled"}}), "selector: "),
        (json!({"operation": "disablekey", "selector": null}), "keys: "),
    ] {
        let message = stage.post(&token, JOBS, &bad.to_string()).await.refusal(400, 2);
        assert!(message.starts_with(field), "{message}");
    }
    let without = stage.post(&token, JOBS, r#"{"operation":"enablekey","keys":["k"]}"#).await.json();
    assert!(without.get("selector").is_none());
}
