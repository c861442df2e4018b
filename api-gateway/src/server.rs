//! Listens, answers, and stops in two steps.

use std::{io, net::TcpListener, path::Path, sync::Arc, time::Duration};

use axum_server::{
    Handle,
    accept::NoDelayAcceptor,
    tls_rustls::{RustlsAcceptor, RustlsConfig},
};
use scheduler_client::Leader;
use service_kit::{Readiness, Service, Shutdown, settings::Invalid};
use task_queue::Broker;
use tokio::task::JoinSet;

use crate::{App, Settings, auth::Access, gateway};

/// How long a connection may take for its TLS handshake, for the head of its first request, and to say that it lives.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// How long an HTTP/1.1 connection may rest between two requests: longer than clients wait between two polls, for one
/// that closes just when a request is sent looks like a failed request.
const REST: Duration = Duration::from_secs(75);
/// How long connections may finish what they began after a stop was asked for; below service-kit's own cap.
const FINISH: Duration = Duration::from_secs(8);
/// How long the last audit entries may take after that; both together are below service-kit's cap.
const LAST_ENTRIES: Duration = Duration::from_millis(800);
/// The most bytes of an HTTP/1.1 request read at once, head included.
const READ: usize = 128 << 10;
/// Concurrent calls on one HTTP/2 connection.
const STREAMS: u32 = 256;
/// How often idle HTTP/2 connections are asked whether they live.
const KEEP_ALIVE: Duration = Duration::from_secs(30);

/// Why the gateway ended before it was asked to.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// A setting shows to be unusable when it is used.
    #[error(transparent)]
    Setting(#[from] Invalid),
    /// The listener failed.
    #[error("the API's port failed: {0}")]
    Serve(#[source] io::Error),
}

/// Serves the API until the service is asked to stop.
///
/// # Errors
/// See [`RunError`].
pub async fn run(settings: Settings, service: Service) -> Result<(), RunError> {
    let listener = TcpListener::bind(&settings.listen)
        .map_err(|error| Invalid::new("LISTEN", format!("{}: {error}", settings.listen)))?;
    let address = listener.local_addr().map_err(RunError::Serve)?;
    let tls = tls(&settings.tls_cert, &settings.tls_key).await?;
    let access = Arc::new(Access::new(&settings.access)?);
    let leader = Leader::with_tls(settings.scheduler_urls.clone(), settings.scheduler_tls.read()?.as_ref())?;
    // Not a part of this service's readiness: without the broker everything still works, aborts go by gRPC.
    let broker = Broker::connect(&settings.broker, Readiness::default().part("rabbitmq"))?;
    let mut loops = JoinSet::new();
    loops.spawn(leader.clone().watch(service.readiness.part("scheduler")));
    loops.spawn(Arc::clone(&access).upkeep());

    let shutdown = service.shutdown.clone();
    let app = App::new(&settings, leader, broker.publisher(), access, service);
    loops.spawn(app.clone().follow_revocations());
    let answered = app.clone();
    let make = gateway(app).into_make_service_with_connect_info::<std::net::SocketAddr>();
    let acceptor = RustlsAcceptor::new(tls).handshake_timeout(HANDSHAKE).acceptor(NoDelayAcceptor::new());
    let handle = Handle::new();
    let mut server = axum_server::from_tcp(listener)
        .map_err(RunError::Serve)?
        .handle(handle.clone())
        .acceptor(acceptor)
        .first_request_timeout(HANDSHAKE);
    server.http_builder().http1().header_read_timeout(REST).max_buf_size(READ);
    server
        .http_builder()
        .http2()
        .max_concurrent_streams(STREAMS)
        .keep_alive_interval(KEEP_ALIVE)
        .keep_alive_timeout(HANDSHAKE);
    loops.spawn(stop(shutdown, handle));
    tracing::info!(%address, "The API is served.");
    let served = server.serve(make).await.map_err(RunError::Serve);
    if tokio::time::timeout(LAST_ENTRIES, answered.flush_audit()).await.is_err() {
        tracing::warn!("The last audit entries are in the log alone: no scheduler kept them in time.");
    }
    loops.shutdown().await;
    broker.close().await;
    served
}

/// Takes no new connections when asked to stop, and drops the old ones when told to.
async fn stop(shutdown: Shutdown, handle: Handle<std::net::SocketAddr>) {
    shutdown.requested().cancelled().await;
    handle.graceful_shutdown(Some(FINISH));
    shutdown.forced().cancelled().await;
    handle.shutdown();
}

async fn tls(certificate: &Path, key: &Path) -> Result<RustlsConfig, Invalid> {
    let read = async |name: &str, path: &Path| {
        tokio::fs::read(path).await.map_err(|error| Invalid::new(name, format!("{}: {error}", path.display())))
    };
    let certificate = read("TLS_CERT", certificate).await?;
    let key = read("TLS_KEY", key).await?;
    RustlsConfig::from_pem(certificate, key)
        .await
        .map_err(|error| Invalid::new("TLS_CERT", format!("it and TLS_KEY make no PEM certificate and key: {error}")))
}
