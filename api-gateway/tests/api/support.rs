//! A gateway before a stand-in scheduler, and a client that needs no network.

use std::{io::Write as _, sync::Arc};

use api_gateway::{Access, App, Settings, gateway};
use argon2::{Argon2, Params, PasswordHasher as _, password_hash::SaltString};
use axum::{Router, body::Body};
use clap::Parser as _;
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::BodyExt as _;
use rcgen::KeyPair;
use scheduler_client::Leader;
use serde_json::{Value, json};
use service_kit::{Part, Readiness, Service};
use task_queue::Broker;
use tempfile::TempDir;
use tower::ServiceExt as _;

use crate::stand_in::StandIn;

pub(crate) const JOBS: &str = "/api/v1/cckm/aws/bulkjob";
pub(crate) const PASSWORD: &str = "correct horse";

/// A gateway with three users: `admin`, `nobody` (no permission), `bulk` (by its group), and `stranger`, an admin of
/// another tenant.
pub(crate) struct Stage {
    pub(crate) scheduler: Arc<StandIn>,
    pub(crate) app: App,
    pub(crate) router: Router,
    pub(crate) settings: Settings,
    pub(crate) service: Service,
    /// Whether the gateway is connected to its broker.
    pub(crate) rabbitmq: Part,
    _files: Arc<TempDir>,
}

/// An answer with its body read.
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&self.body)))
    }

    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    /// Checks that it is an error in the one form, and gives its message.
    pub(crate) fn refusal(&self, status: u16, code: u32) -> String {
        assert_eq!(self.status.as_u16(), status, "{}", String::from_utf8_lossy(&self.body));
        assert_eq!(self.headers["content-type"], "application/json");
        let body = self.json();
        let fields: Vec<&String> = body.as_object().unwrap().keys().collect();
        assert_eq!(fields, ["code", "codeDesc", "message", "requestID"]);
        assert_eq!(body["code"], code);
        assert!(body["codeDesc"].as_str().unwrap().starts_with("NCERR"));
        assert_eq!(body["requestID"], self.headers["x-request-id"].to_str().unwrap());
        body["message"].as_str().unwrap().to_owned()
    }
}

impl Stage {
    pub(crate) async fn set() -> Self {
        Self::set_with(&[]).await
    }

    /// With more settings, written like flags.
    pub(crate) async fn set_with(more: &[&str]) -> Self {
        let _already = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let scheduler = StandIn::start().await;
        let files = tempfile::tempdir().unwrap();
        let write = |name: &str, content: &str| {
            let path = files.path().join(name);
            std::fs::File::create(&path).unwrap().write_all(content.as_bytes()).unwrap();
            path.to_str().unwrap().to_owned()
        };
        let certificate = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        let mut flags = vec![
            "api-gateway".to_owned(),
            format!("--scheduler-urls={}", scheduler.url()),
            format!("--users-file={}", write("users.json", &users().to_string())),
            format!("--token-key-file={}", write("token.pem", &KeyPair::generate().unwrap().serialize_pem())),
            format!("--tls-cert={}", write("cert.pem", &certificate.cert.pem())),
            format!("--tls-key={}", write("key.pem", &certificate.signing_key.serialize_pem())),
            "--bulk-groups=operators, auditors".to_owned(),
            "--listen=127.0.0.1:0".to_owned(),
        ];
        flags.extend(more.iter().map(|&flag| flag.to_owned()));
        if !more.iter().any(|flag| flag.starts_with("--amqp-url=")) {
            // Nobody listens there: what is published goes by gRPC alone.
            flags.push("--amqp-url=amqp://127.0.0.1:1/%2f".to_owned());
        }
        let settings = Settings::try_parse_from(flags).unwrap();
        Self::of(scheduler, settings, Arc::new(files))
    }

    /// A further replica, with the same settings and the same scheduler.
    pub(crate) fn another(&self) -> Self {
        Self::of(Arc::clone(&self.scheduler), self.settings.clone(), Arc::clone(&self._files))
    }

    fn of(scheduler: Arc<StandIn>, settings: Settings, files: Arc<TempDir>) -> Self {
        let access = Arc::new(Access::new(&settings.access).unwrap());
        let leader = Leader::new(settings.scheduler_urls.clone()).unwrap();
        let rabbitmq = Readiness::default().part("rabbitmq");
        let broker = Broker::connect(&settings.broker, rabbitmq.clone()).unwrap();
        let service = Service::default();
        let app = App::new(&settings, leader, broker.publisher(), access, service.clone());
        Self { scheduler, router: gateway(app.clone()), app, settings, service, rabbitmq, _files: files }
    }

    pub(crate) async fn send(&self, request: Request<Body>) -> Answer {
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (head, body) = response.into_parts();
        let body = body.collect().await.unwrap().to_bytes().to_vec();
        Answer { status: head.status, headers: head.headers, body }
    }

    /// A token of this user.
    pub(crate) async fn log_in(&self, username: &str) -> String {
        let answer = self
            .send(json_request("/api/v1/auth/tokens", None, &json!({"username": username, "password": PASSWORD})))
            .await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.json()["jwt"].as_str().unwrap().to_owned()
    }

    pub(crate) async fn get(&self, token: &str, path: &str) -> Answer {
        self.send(request(Method::GET, path, Some(token)).body(Body::empty()).unwrap()).await
    }

    /// A JSON body whose length is announced, as clients do.
    pub(crate) async fn post(&self, token: &str, path: &str, body: &str) -> Answer {
        let request = request(Method::POST, path, Some(token))
            .header("content-type", "application/json")
            .header("content-length", body.len())
            .body(Body::from(body.to_owned()));
        self.send(request.unwrap()).await
    }
}

pub(crate) fn request(method: Method, path: &str, token: Option<&str>) -> http::request::Builder {
    let request = Request::builder().method(method).uri(path);
    match token {
        Some(token) => request.header("authorization", format!("Bearer {token}")),
        None => request,
    }
}

pub(crate) fn json_request(path: &str, token: Option<&str>, body: &Value) -> Request<Body> {
    request(Method::POST, path, token)
        .header("content-type", "application/json")
        .body(Body::from(body.to_string()))
        .unwrap()
}

/// Cheap hashes: the tests are about logins, not about their cost.
fn users() -> Value {
    let argon2 = Argon2::new(argon2::Algorithm::Argon2id, argon2::Version::V0x13, Params::new(8, 1, 1, None).unwrap());
    let salt = SaltString::encode_b64(b"salt for a test").unwrap();
    let hash = argon2.hash_password(PASSWORD.as_bytes(), &salt).unwrap().to_string();
    let user = |number: u32, name: &str, tenant: &str, groups: &[&str]| {
        json!({"id": format!("00000000-0000-0000-0000-{number:012}"), "username": name, "password_hash": hash,
            "tenant": tenant, "groups": groups})
    };
    json!([
        user(1, "admin", "kylo:kylo", &["CCKM Admins"]),
        user(2, "nobody", "kylo:kylo", &["others"]),
        user(3, "bulk", "kylo:kylo", &["operators"]),
        user(4, "stranger", "acme:ops", &["admin"]),
    ])
}
