//! Every kind of bad request gets the one error form, and nothing of it reaches the scheduler.

use axum::body::Body;
use http::Method;

use crate::support::{JOBS, Stage, request};

const ID: &str = "e612b64f-6364-48ce-92ec-c6dd608d7ad0";

#[tokio::test]
async fn without_a_good_token_nothing_is_told() {
    let stage = Stage::set().await;
    let good = stage.log_in("admin").await;
    for path in
        [JOBS.to_owned(), format!("{JOBS}/{ID}"), format!("{JOBS}/no-uuid/keys"), "/api/v1/cckm/aws/templates".into()]
    {
        for header in
            [None, Some(""), Some("Bearer"), Some("Bearer "), Some("Basic eDp5"), Some("Bearer x.y.z"), Some("x")]
        {
            let mut call = request(Method::GET, &path, None);
            if let Some(header) = header {
                call = call.header("authorization", header);
            }
            let answer = stage.send(call.body(Body::empty()).unwrap()).await;
            answer.refusal(401, 5);
            assert_eq!(answer.headers["www-authenticate"], "Bearer");
        }
        let mut forged = good.clone();
        let last = forged.pop().unwrap();
        forged.insert(forged.len() - 10, last);
        stage.get(&forged, &path).await.refusal(401, 5);
    }
    let create = request(Method::POST, JOBS, None).body(Body::from("junk")).unwrap();
    stage.send(create).await.refusal(401, 5);
    stage.send(request(Method::GET, JOBS, Some(&good)).body(Body::empty()).unwrap()).await;
}

#[tokio::test]
async fn without_the_permission_every_bulk_call_is_refused() {
    let stage = Stage::set().await;
    let id = stage.scheduler.add_job("kylo:kylo", ["k".to_owned()]);
    let token = stage.log_in("nobody").await;
    for path in
        [JOBS.to_owned(), format!("{JOBS}/{id}"), format!("{JOBS}/{id}/keys"), "/api/v1/cckm/aws/templates".into()]
    {
        let message = stage.get(&token, &path).await.refusal(403, 6);
        assert!(message.contains("keybulkoperation"), "{message}");
    }
    let order = r#"{"operation":"enablekey","keys":["k"]}"#;
    for path in [JOBS.to_owned(), format!("{JOBS}/{id}/cancel")] {
        stage.post(&token, &path, order).await.refusal(403, 6);
    }
    assert!(stage.scheduler.awaited.lock().unwrap().is_empty());
    let by_group = stage.log_in("bulk").await;
    assert_eq!(stage.get(&by_group, JOBS).await.status, 200);
}

#[tokio::test]
async fn unknown_paths_and_wrong_methods_have_the_same_form() {
    let stage = Stage::set().await;
    for path in ["/", "/api", "/api/v1/elsewhere", "/api/v1/cckm/aws/bulkjob/x/y/z", "/%ff"] {
        stage.send(request(Method::GET, path, None).body(Body::empty()).unwrap()).await.refusal(404, 16);
    }
    for (method, path, allowed) in [
        (Method::DELETE, JOBS, vec!["GET", "HEAD", "POST"]),
        (Method::PUT, "/api/v1/auth/tokens", vec!["POST"]),
        (Method::GET, "/api/v1/auth/tokens", vec!["POST"]),
        (Method::POST, "/api/v1/auth/jwks.json", vec!["GET", "HEAD"]),
        (Method::GET, "/api/v1/cckm/aws/bulkjob/x/cancel", vec!["POST"]),
        (Method::PATCH, "/api/v1/cckm/aws/bulkjob/x/", vec!["GET", "HEAD"]),
    ] {
        let answer = stage.send(request(method, path, None).body(Body::empty()).unwrap()).await;
        answer.refusal(405, 2);
        let mut allow: Vec<&str> = answer.headers["allow"].to_str().unwrap().split(',').collect();
        allow.sort_unstable();
        assert_eq!(allow, allowed, "{path}");
    }
}

#[tokio::test]
async fn a_slash_at_the_end_changes_nothing() {
    let stage = Stage::set().await;
    let id = stage.scheduler.add_job("kylo:kylo", ["k".to_owned()]);
    let token = stage.log_in("admin").await;
    for path in [JOBS.to_owned(), format!("{JOBS}/{id}"), format!("{JOBS}/{id}/keys"), "/api/v1/auth/jwks.json".into()]
    {
        let without = stage.get(&token, &path).await;
        let with = stage.get(&token, &format!("{path}/?detail=true")).await;
        assert_eq!(without.status, 200);
        assert_eq!((with.status, with.body), (without.status, without.body), "{path}");
    }
    assert_eq!(stage.post(&token, &format!("{JOBS}/"), r#"{"operation":"enablekey","keys":["k"]}"#).await.status, 201);
    assert_eq!(stage.post(&token, &format!("{JOBS}/{id}/cancel/"), "").await.status, 200);
}

#[tokio::test]
async fn ids_that_nobody_has_are_not_found() {
    let stage = Stage::set().await;
    let token = stage.log_in("admin").await;
    let others = stage.scheduler.add_job("acme:ops", ["k".to_owned()]);
    for id in [ID, "no-uuid", "%00", "%ff", "0", others.as_str(), &others.replace('-', "")] {
        stage.get(&token, &format!("{JOBS}/{id}")).await.refusal(404, 16);
        stage.get(&token, &format!("{JOBS}/{id}/keys")).await.refusal(404, 16);
        stage.post(&token, &format!("{JOBS}/{id}/cancel"), "").await.refusal(404, 16);
    }
    assert!(stage.scheduler.awaited.lock().unwrap().is_empty(), "a stranger's job was told to stop");
    let owner = stage.log_in("stranger").await;
    assert_eq!(stage.get(&owner, &format!("{JOBS}/{others}")).await.status, 200);
}

#[tokio::test]
async fn bad_query_parameters_are_named() {
    let stage = Stage::set().await;
    let token = stage.log_in("admin").await;
    let id = stage.scheduler.add_job("kylo:kylo", ["k".to_owned()]);
    for (path, field) in [
        (format!("{JOBS}?limit=x"), "limit"),
        (format!("{JOBS}?skip=-1"), "skip"),
        (format!("{JOBS}?sort=keys"), "sort"),
        (format!("{JOBS}?overall_status=done"), "overall_status"),
        (format!("{JOBS}/{id}?detail=maybe"), "detail"),
        (format!("{JOBS}/{id}/keys?status=Success"), "status"),
        (format!("{JOBS}/{id}/keys?limit=1.5"), "limit"),
    ] {
        let message = stage.get(&token, &path).await.refusal(400, 2);
        assert!(message.starts_with(&format!("{field}: ")), "{path} gave {message}");
    }
    for path in [format!("{JOBS}?whatever=1&limit=1&limit=x"), format!("{JOBS}?limit=&id=&cloud=")] {
        assert_eq!(stage.get(&token, &path).await.status, 200, "{path}");
    }
}

#[tokio::test]
async fn a_token_that_asks_too_fast_is_told_when_to_come_back() {
    let stage = Stage::set_with(&["--token-rate=1", "--token-burst=2"]).await;
    let token = stage.log_in("admin").await;
    let other = stage.log_in("bulk").await;
    for _ in 0..2 {
        assert_eq!(stage.get(&token, JOBS).await.status, 200);
    }
    let answer = stage.get(&token, JOBS).await;
    answer.refusal(429, 7);
    assert_eq!(answer.headers["retry-after"], "1");
    assert_eq!(stage.get(&other, JOBS).await.status, 200);
}

#[tokio::test]
async fn the_scheduler_s_refusals_keep_their_meaning() {
    let stage = Stage::set().await;
    let token = stage.log_in("admin").await;
    let refuse = |status: tonic::Status| stage.scheduler.refusals.lock().unwrap().push(status);
    let order = r#"{"operation":"enablekey","keys":["k"]}"#;

    refuse(tonic::Status::resource_exhausted("1000 jobs run already"));
    let answer = stage.post(&token, JOBS, order).await;
    assert_eq!(answer.refusal(429, 7), "1000 jobs run already");
    assert!(answer.headers.contains_key("retry-after"));

    refuse(tonic::Status::already_exists("another body came with this key"));
    stage.post(&token, JOBS, order).await.refusal(409, 9);

    refuse(tonic::Status::unavailable("no database"));
    let answer = stage.post(&token, JOBS, order).await;
    answer.refusal(503, 8);
    assert_eq!(answer.headers["retry-after"], "1");

    // A scheduler that is older than the gateway.
    refuse(tonic::Status::unimplemented("unknown service"));
    let answer = stage.get(&token, "/api/v1/cckm/aws/keys").await;
    assert!(answer.refusal(503, 8).contains("upgraded"));
    assert_eq!(answer.headers["retry-after"], "1");

    refuse(tonic::Status::internal("SELECT secrets"));
    let message = stage.post(&token, JOBS, order).await.refusal(500, 1);
    assert!(!message.contains("SELECT"));

    // A question is asked once more when the leader is lost under it.
    refuse(tonic::Status::unavailable("leads no more"));
    assert_eq!(stage.get(&token, JOBS).await.status, 200);
}

#[tokio::test]
async fn every_answer_carries_the_request_s_id_and_careful_headers() {
    let stage = Stage::set().await;
    let call = |path: &str| request(Method::GET, path, None).header("x-request-id", "build-17").body(Body::empty());
    for path in ["/healthz", "/api/v1/auth/jwks.json", "/nowhere", JOBS] {
        let answer = stage.send(call(path).unwrap()).await;
        assert_eq!(answer.headers["x-request-id"], "build-17");
        assert_eq!(answer.headers["x-content-type-options"], "nosniff");
        assert_eq!(answer.headers["cache-control"], "no-store");
        if answer.status.is_success() {
            assert!(!answer.text().contains("codeDesc"));
        }
    }
    assert_eq!(stage.send(call("/metrics").unwrap()).await.status, 404, "metrics are for the admin port");
}

#[tokio::test]
async fn readiness_names_what_is_missing() {
    let stage = Stage::set().await;
    let ready = async || stage.send(request(Method::GET, "/readyz", None).body(Body::empty()).unwrap()).await;
    let part = stage.service.readiness.part("scheduler");
    part.not_ready("no scheduler leads");
    let answer = ready().await;
    assert_eq!(answer.status, 503);
    assert_eq!(answer.json(), serde_json::json!({"ready": false, "missing": {"scheduler": "no scheduler leads"}}));
    part.ready();
    let answer = ready().await;
    assert_eq!((answer.status.as_u16(), answer.json()["ready"].as_bool()), (200, Some(true)));
    stage.service.shutdown.request();
    assert_eq!(ready().await.status, 503, "who stops takes no more work");
}
