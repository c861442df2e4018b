//! The plain-HTTP port for machines: `/healthz`, `/readyz`, `/metrics`.
//!
//! `/healthz` says that the process answers, `/readyz` that it can do its work (200, or 503 naming what is missing),
//! `/metrics` is for Prometheus. It runs beside the body until the process ends, so that a service that is stopping
//! still tells what it does.

use axum::{
    Json, Router,
    extract::State,
    http::{StatusCode, header},
    response::IntoResponse,
    routing::get,
};
use metrics_exporter_prometheus::PrometheusHandle;
use serde_json::json;
use tokio::net::TcpListener;

use crate::{Readiness, Shutdown, process};

/// What the answers are made from.
#[derive(Clone)]
pub(crate) struct Admin {
    pub(crate) name: &'static str,
    pub(crate) readiness: Readiness,
    pub(crate) shutdown: Shutdown,
    pub(crate) metrics: PrometheusHandle,
}

/// Answers until the future is dropped.
pub(crate) async fn serve(listener: TcpListener, admin: Admin) {
    let router = Router::new()
        .route("/healthz", get(async |State(admin): State<Admin>| Json(json!({ "service": admin.name }))))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .with_state(admin);
    if let Err(error) = axum::serve(listener, router).await {
        tracing::error!(%error, "The admin port answers no more.");
    }
}

async fn readyz(State(admin): State<Admin>) -> impl IntoResponse {
    let missing = missing(&admin);
    let status = if missing.is_empty() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(json!({ "ready": missing.is_empty(), "missing": missing })))
}

async fn metrics(State(admin): State<Admin>) -> impl IntoResponse {
    metrics::gauge!("keyfleet_ready").set(if missing(&admin).is_empty() { 1.0 } else { 0.0 });
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], admin.metrics.render() + &process::render())
}

/// A service that is stopping takes no more work, so it is not ready.
fn missing(admin: &Admin) -> std::collections::BTreeMap<String, String> {
    let mut missing = admin.readiness.missing();
    if admin.shutdown.requested().is_cancelled() {
        missing.insert("service".to_owned(), "stopping".to_owned());
    }
    missing
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};

    use super::*;

    fn get(address: std::net::SocketAddr, path: &str) -> String {
        let mut stream = std::net::TcpStream::connect(address).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn it_tells_health_readiness_and_metrics() {
        let recorder = metrics_exporter_prometheus::PrometheusBuilder::new().build_recorder();
        let readiness = Readiness::default();
        let shutdown = Shutdown::default();
        let part = readiness.part("postgres");
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let admin = Admin { name: "x", readiness, shutdown: shutdown.clone(), metrics: recorder.handle() };
        let server = tokio::spawn(serve(listener, admin));

        let asks = tokio::task::spawn_blocking(move || {
            assert!(get(address, "/healthz").starts_with("HTTP/1.1 200 "));
            part.not_ready("connection refused");
            let answer = get(address, "/readyz");
            assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
            assert!(answer.ends_with(r#"{"missing":{"postgres":"connection refused"},"ready":false}"#), "{answer}");
            part.ready();
            assert!(get(address, "/readyz").starts_with("HTTP/1.1 200 "));
            shutdown.request();
            assert!(get(address, "/readyz").starts_with("HTTP/1.1 503 "));
            let answer = get(address, "/metrics");
            assert!(answer.contains("process_resident_memory_bytes"), "{answer}");
            assert!(get(address, "/elsewhere").starts_with("HTTP/1.1 404 "));
        });
        asks.await.unwrap();
        server.abort();
    }
}
