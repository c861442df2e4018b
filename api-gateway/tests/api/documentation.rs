//! The OpenAPI document tells the truth, and the page that shows it works.

use std::collections::BTreeSet;

use axum::body::Body;
use http::Method;
use serde_json::Value;

use crate::support::{JOBS, Stage, request};

async fn fetch(stage: &Stage, path: &str) -> crate::support::Answer {
    stage.send(request(Method::GET, path, None).body(Body::empty()).unwrap()).await
}

#[tokio::test]
async fn every_call_is_described_with_its_errors() {
    let stage = Stage::set().await;
    let answer = fetch(&stage, "/api/openapi.json").await;
    assert_eq!(answer.status, 200);
    let document = answer.json();
    for (path, method, statuses) in [
        (JOBS, "post", vec!["201", "400", "401", "403", "408", "409", "413", "415", "429", "500", "503"]),
        (JOBS, "get", vec!["200", "400", "401", "403", "429", "500", "503"]),
        ("/api/v1/cckm/aws/bulkjob/{id}", "get", vec!["200", "400", "401", "403", "404", "429", "500", "503"]),
        ("/api/v1/cckm/aws/bulkjob/{id}/keys", "get", vec!["200", "400", "401", "403", "404", "429", "500", "503"]),
        ("/api/v1/cckm/aws/bulkjob/{id}/cancel", "post", vec!["200", "202", "401", "403", "404", "429", "500", "503"]),
        (
            "/api/v1/cckm/aws/templates",
            "post",
            vec!["201", "400", "401", "403", "408", "409", "413", "415", "429", "500", "503"],
        ),
        ("/api/v1/cckm/aws/templates/{id}", "get", vec!["200", "401", "403", "404", "429", "500", "503"]),
        (
            "/api/v1/cckm/aws/templates/{id}",
            "patch",
            vec!["200", "400", "401", "403", "404", "408", "409", "413", "415", "429", "500", "503"],
        ),
        ("/api/v1/cckm/aws/templates/{id}", "delete", vec!["204", "401", "403", "404", "429", "500", "503"]),
        ("/api/v1/cckm/aws/templates", "get", vec!["200", "400", "401", "403", "429", "500", "503"]),
        (
            "/api/v1/cckm/aws/kms",
            "post",
            vec!["201", "400", "401", "403", "408", "409", "413", "415", "429", "500", "503"],
        ),
        ("/api/v1/cckm/aws/kms", "get", vec!["200", "400", "401", "403", "429", "500", "503"]),
        ("/api/v1/cckm/aws/kms/{id}", "get", vec!["200", "401", "403", "404", "429", "500", "503"]),
        (
            "/api/v1/cckm/aws/kms/{id}",
            "patch",
            vec!["200", "400", "401", "403", "404", "408", "409", "413", "415", "429", "500", "503"],
        ),
        ("/api/v1/cckm/aws/kms/{id}", "delete", vec!["204", "401", "403", "404", "409", "429", "500", "503"]),
        (
            "/api/v1/cckm/aws/kms/{id}/update-acls",
            "post",
            vec!["200", "400", "401", "403", "404", "408", "413", "415", "429", "500", "503"],
        ),
        ("/api/v1/cckm/aws/kms/{id}/archive", "post", vec!["200", "401", "403", "404", "409", "429", "500", "503"]),
        ("/api/v1/cckm/aws/kms/{id}/recover", "post", vec!["200", "401", "403", "404", "409", "429", "500", "503"]),
        ("/api/v1/auth/tokens", "post", vec!["200", "400", "401", "408", "413", "415", "429", "500", "503"]),
        ("/api/v1/auth/tokens/{id}", "delete", vec!["204", "401", "404", "429", "500", "503"]),
        ("/api/v1/auth/revoke", "post", vec!["204", "400", "408", "413", "415", "500", "503"]),
        ("/api/v1/auth/self/user", "get", vec!["200", "401", "429", "500", "503"]),
        ("/api/v1/auth/jwks.json", "get", vec!["200", "500", "503"]),
        ("/healthz", "get", vec!["200"]),
        ("/readyz", "get", vec!["200", "503"]),
    ] {
        let described = document["paths"][path][method]["responses"].as_object();
        let described = described.unwrap_or_else(|| panic!("{method} {path} is not described"));
        assert_eq!(described.keys().collect::<Vec<_>>(), statuses, "{method} {path}");
    }
}

#[tokio::test]
async fn every_call_has_a_name_of_its_own() {
    let stage = Stage::set().await;
    let document = fetch(&stage, "/api/openapi.json").await.json();
    let paths = document["paths"].as_object().unwrap();
    let calls: Vec<&Value> = paths.values().flat_map(|path| path.as_object().unwrap().values()).collect();
    let names: BTreeSet<&str> = calls.iter().map(|call| call["operationId"].as_str().unwrap()).collect();
    assert_eq!(names.len(), calls.len());
}

#[tokio::test]
async fn a_job_has_the_fields_that_are_described() {
    let stage = Stage::set().await;
    let token = stage.log_in("admin").await;
    let document = fetch(&stage, "/api/openapi.json").await.json();
    let described = |schema: &str| -> BTreeSet<String> {
        let properties = document["components"]["schemas"][schema]["properties"].as_object();
        properties.unwrap_or_else(|| panic!("{schema} is not described")).keys().cloned().collect()
    };
    let names = |value: &Value| -> BTreeSet<String> { value.as_object().unwrap().keys().cloned().collect() };
    let id = stage.scheduler.add_job("kylo:kylo", ["k".to_owned()]);
    stage.scheduler.change(&id, |job, _| {
        job.days = Some(7);
        job.policy_template_id = Some("t".to_owned());
        job.force = true;
        job.dry_run = true;
        job.max_rate = Some(1.0);
        job.selector = r#"{"state":"Enabled"}"#.to_owned();
        job.completed_at_us = Some(0);
    });
    let job = stage.get(&token, &format!("{JOBS}/{id}")).await.json();
    assert_eq!(names(&job), described("Job"));
    assert_eq!(names(&job["counts"]), described("Counts"));
    let keys = stage.get(&token, &format!("{JOBS}/{id}/keys")).await.json();
    assert_eq!(names(&keys["resources"][0]), described("KeyRow"));
    assert_eq!(names(&fetch(&stage, "/nowhere").await.json()), described("ErrorBody"));
    let order = described("Order");
    assert_eq!(
        order,
        ["days", "dry_run", "force", "keys", "max_rate", "operation", "policy_template_id", "selector"]
            .map(str::to_owned)
            .into()
    );
}

#[tokio::test]
async fn the_page_and_its_files_are_served() {
    let stage = Stage::set().await;
    for path in ["/api/docs", "/api/docs/"] {
        let page = fetch(&stage, path).await;
        assert_eq!(page.status, 200);
        assert!(page.headers["content-type"].to_str().unwrap().starts_with("text/html"));
        assert!(page.headers["content-security-policy"].to_str().unwrap().contains("default-src 'self'"));
        for file in page.text().split('"').filter(|text| text.starts_with("/api/docs/")) {
            assert_eq!(fetch(&stage, file).await.status, 200, "{file}");
        }
    }
    let script = fetch(&stage, "/api/docs/swagger-initializer.js").await;
    assert!(String::from_utf8_lossy(&script.body).contains("/api/openapi.json"));
    fetch(&stage, "/api/docs/nothing.js").await.refusal(404, 16);
}
