//! Who calls goes to the scheduler with every question, and its refusal comes back as 403 in its own words.

use axum::body::Body;
use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use http::Method;
use keyfleet_proto::estate::v1::Rights;

use crate::support::{Answer, JOBS, Stage, request};

const AWS: &str = "/api/v1/cckm/aws";

/// Every call that is about something in a container, with a good body where it takes one.
fn calls(job: &str) -> Vec<(Method, String, &'static str)> {
    let order = r#"{"operation":"enablekey","keys":["k"]}"#;
    let container = r#"{"name":"n","account_id":"222233334444"}"#;
    let acls = r#"{"acls":[{"group":"g","permit":true,"actions":["view"]}]}"#;
    [
        (Method::POST, "bulkjob", order),
        (Method::GET, "bulkjob", ""),
        (Method::GET, "bulkjob?limit=100", ""),
        (Method::GET, "bulkjob/{job}", ""),
        (Method::GET, "bulkjob/{job}?detail=false", ""),
        (Method::GET, "bulkjob/{job}/keys", ""),
        (Method::POST, "bulkjob/{job}/cancel", ""),
        (Method::POST, "kms", container),
        (Method::GET, "kms", ""),
        (Method::GET, "kms?cloud_name=aws", ""),
        (Method::GET, "kms/c", ""),
        (Method::PATCH, "kms/c", "{}"),
        (Method::DELETE, "kms/c", ""),
        (Method::POST, "kms/c/update-acls", acls),
        (Method::POST, "kms/c/archive", ""),
        (Method::POST, "kms/c/recover", ""),
        (Method::POST, "templates", r#"{"name":"n"}"#),
        (Method::GET, "templates", ""),
        (Method::GET, "templates/t", ""),
        (Method::PATCH, "templates/t", "{}"),
        (Method::DELETE, "templates/t", ""),
        (Method::GET, "keys", ""),
        (Method::GET, "keys/k", ""),
        (Method::POST, "synchronization-jobs", r#"{"kms":["c"]}"#),
        (Method::GET, "synchronization-jobs", ""),
        (Method::GET, "synchronization-jobs/s", ""),
        (Method::POST, "synchronization-jobs/s/cancel", ""),
    ]
    .into_iter()
    .map(|(method, path, body)| (method, format!("{AWS}/{}", path.replace("{job}", job)), body))
    .collect()
}

async fn send(stage: &Stage, token: &str, method: Method, path: &str, body: &'static str) -> Answer {
    let call = request(method, path, Some(token)).header("content-type", "application/json");
    stage.send(call.body(Body::from(body)).unwrap()).await
}

#[tokio::test]
async fn every_call_says_who_calls() {
    let stage = Stage::set().await;
    let rights = |number: u32, groups: &[&str], everything, bulk| Rights {
        everything,
        user: format!("local|00000000-0000-0000-0000-{number:012}"),
        groups: groups.iter().map(|&group| group.to_owned()).collect(),
        bulk,
    };
    for (name, told) in [
        ("admin", rights(1, &["CCKM Admins"], true, false)),
        ("nobody", rights(2, &["others"], false, false)),
        ("bulk", rights(3, &["operators"], false, true)),
    ] {
        let token = stage.log_in(name).await;
        // Over 1,000 keys, so that they are streamed.
        let job = stage.scheduler.add_job("kylo:kylo", (0..1_001).map(|number| format!("k{number}")));
        for (method, path, body) in calls(&job) {
            stage.scheduler.rights.lock().unwrap().clear();
            let answer = send(&stage, &token, method.clone(), &path, body).await;
            let said = std::mem::take(&mut *stage.scheduler.rights.lock().unwrap());
            assert!(!said.is_empty(), "{method} {path} said nothing: {}", answer.text());
            assert!(said.iter().all(|rights| *rights == told), "{method} {path} said {said:?}");
            if name == "nobody" {
                let message = answer.refusal(403, 6);
                assert_eq!(message, "the permission keybulkoperation is missing on the container \"default\"");
            } else {
                assert!(answer.status.is_success() || answer.status == 404, "{method} {path}: {}", answer.text());
            }
        }
    }
}

#[tokio::test]
async fn every_call_of_the_document_is_in_the_table() {
    let stage = Stage::set().await;
    let token = stage.log_in("admin").await;
    let document = stage.get(&token, "/api/openapi.json").await.json();
    let mut known: Vec<(String, String)> = calls("{id}")
        .into_iter()
        .map(|(method, path, _)| {
            let path = path.split('?').next().unwrap_or_default();
            let path = ["/c", "/t", "/k", "/s"]
                .iter()
                .fold(path.to_owned() + "/", |path, name| path.replace(&format!("{name}/"), "/{id}/"));
            (path.trim_end_matches('/').to_owned(), method.as_str().to_ascii_lowercase())
        })
        .collect();
    known.sort();
    known.dedup();
    let mut described = Vec::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        if path.starts_with(AWS) {
            described.extend(item.as_object().unwrap().keys().map(|method| (path.clone(), method.clone())));
        }
    }
    described.sort();
    assert_eq!(known, described);
}

#[tokio::test]
async fn a_refused_create_is_answered_before_its_body_has_come() {
    let stage = Stage::set().await;
    let token = stage.log_in("nobody").await;
    let keys: String = (0..20_000).map(|number| format!("\"key-{number}\",")).collect();
    let begun = format!(r#"{{"operation":"enablekey","keys":[{keys}"#);
    // The rest never comes.
    let body = Body::from_stream(stream::iter([Ok::<_, std::io::Error>(Bytes::from(begun))]).chain(stream::pending()));
    let call = request(Method::POST, JOBS, Some(&token)).header("content-type", "application/json").body(body).unwrap();
    let message = stage.send(call).await.refusal(403, 6);
    assert!(message.contains("keybulkoperation"), "{message}");
    assert!(stage.scheduler.created.lock().unwrap().is_empty());
    assert_eq!(*stage.scheduler.abandoned.lock().unwrap(), 0, "the stream was not read on");
}

#[tokio::test]
async fn a_permission_that_is_missing_on_a_key_s_container_is_told_at_the_end() {
    let stage = Stage::set().await;
    let token = stage.log_in("bulk").await;
    let text = "the permission keybulkoperation is missing on the container \"eu-prod\"";
    let keys: Vec<String> = (0..40_000).map(|number| format!("\"key-{number}\"")).collect();
    for order in [
        r#"{"operation":"enablekey","keys":["k"]}"#.to_owned(),
        format!(r#"{{"operation":"enablekey","keys":[{}]}}"#, keys.join(",")),
    ] {
        stage.scheduler.refusals.lock().unwrap().push(tonic::Status::permission_denied(text));
        assert_eq!(stage.post(&token, JOBS, &order).await.refusal(403, 6), text);
    }
    assert!(stage.scheduler.jobs.lock().unwrap().is_empty());
}

#[tokio::test]
async fn an_admin_is_one_in_the_own_tenant() {
    let stage = Stage::set().await;
    let token = stage.log_in("stranger").await;
    stage.get(&token, &format!("{AWS}/kms")).await;
    let asked = stage.scheduler.containers_listed.lock().unwrap().pop().unwrap();
    assert_eq!(asked.tenant, "acme:ops");
    assert_eq!(asked.rights.map(|Rights { everything, .. }| everything), Some(true));
}
