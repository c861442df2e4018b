//! The gateway as it is deployed: TLS, both versions of HTTP, and an orderly end.

use std::time::Duration;

use api_gateway::{RunError, run};
use service_kit::Service;
use tokio::{net::TcpListener, task::JoinHandle};

use crate::support::{JOBS, PASSWORD, Stage};

struct Served {
    url: String,
    service: Service,
    task: JoinHandle<Result<(), RunError>>,
}

/// Serves the stage's settings on a free port.
async fn serve(stage: &Stage) -> Served {
    // Taken and given back: the port is free, and most likely still is when the gateway binds it.
    let port = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
    let mut settings = stage.settings.clone();
    settings.listen = format!("127.0.0.1:{port}");
    let service = Service::default();
    let task = tokio::spawn(run(settings, service.clone()));
    Served { url: format!("https://localhost:{port}"), service, task }
}

fn client(http2: bool) -> reqwest::Client {
    let builder = reqwest::Client::builder().danger_accept_invalid_certs(true).no_proxy();
    let builder = if http2 { builder } else { builder.http1_only() };
    builder.timeout(Duration::from_secs(30)).build().unwrap()
}

async fn until_ready(client: &reqwest::Client, url: &str) {
    let ready = async {
        while !client.get(format!("{url}/readyz")).send().await.is_ok_and(|answer| answer.status() == 200) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), ready).await.unwrap();
}

async fn token(client: &reqwest::Client, url: &str) -> String {
    let body = serde_json::json!({"username": "admin", "password": PASSWORD});
    let answer = client.post(format!("{url}/api/v1/auth/tokens")).json(&body).send().await.unwrap();
    let body: serde_json::Value = answer.json().await.unwrap();
    body["jwt"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn both_versions_of_http_are_spoken_and_the_end_is_orderly() {
    let stage = Stage::set().await;
    let served = serve(&stage).await;
    for (http2, version) in [(false, http::Version::HTTP_11), (true, http::Version::HTTP_2)] {
        let client = client(http2);
        until_ready(&client, &served.url).await;
        let token = token(&client, &served.url).await;
        let list = client.get(format!("{}{JOBS}", served.url)).bearer_auth(token).send().await.unwrap();
        assert_eq!((list.status().as_u16(), list.version()), (200, version));
        drop(list);
    }
    served.service.shutdown.request();
    tokio::time::timeout(Duration::from_secs(20), served.task).await.unwrap().unwrap().unwrap();
}

#[tokio::test]
async fn a_refused_upload_still_sees_its_answer() {
    let stage = Stage::set_with(&["--max-body=1000000"]).await;
    let served = serve(&stage).await;
    let client = client(false);
    until_ready(&client, &served.url).await;
    let token = token(&client, &served.url).await;
    let body = format!("{{\"operation\":\"enablekey\",\"keys\":[\"{}", "k\",\"".repeat(5_000_000));
    for bearer in [token.as_str(), "x.y.z"] {
        let answer = client
            .post(format!("{}{JOBS}", served.url))
            .bearer_auth(bearer)
            .header("content-type", "application/json")
            .body(body.clone())
            .send()
            .await
            .unwrap();
        let expected = if bearer == token { 413 } else { 401 };
        assert_eq!(answer.status().as_u16(), expected);
        let body: serde_json::Value = answer.json().await.unwrap();
        assert!(body["requestID"].is_string());
    }
    served.service.shutdown.force();
}

#[tokio::test]
async fn a_setting_that_cannot_be_used_is_named() {
    let stage = Stage::set().await;
    let broken = |change: fn(&mut api_gateway::Settings)| {
        let mut settings = stage.settings.clone();
        settings.listen = "127.0.0.1:0".to_owned();
        change(&mut settings);
        settings
    };
    for (settings, name) in [
        (broken(|settings| settings.tls_cert = "/nowhere".into()), "TLS_CERT"),
        (broken(|settings| settings.tls_key = settings.tls_cert.clone()), "TLS_CERT"),
        (broken(|settings| settings.access.users_file = "/nowhere".into()), "USERS_FILE"),
        (broken(|settings| settings.access.issuers_file = Some("/nowhere".into())), "ISSUERS_FILE"),
        (broken(|settings| settings.access.token_key_file = Some(settings.tls_cert.clone())), "TOKEN_KEY"),
        (broken(|settings| settings.access.token_key_file = None), "TOKEN_KEY"),
        (broken(|settings| settings.listen = "256.0.0.1:x".to_owned()), "LISTEN"),
        (broken(|settings| settings.scheduler_urls = vec!["ftp://x".to_owned()]), "SCHEDULER_URLS"),
    ] {
        match run(settings, Service::default()).await {
            Err(RunError::Setting(invalid)) => assert!(invalid.to_string().contains(name), "{invalid}"),
            other => panic!("{name}: {other:?}"),
        }
    }
}
