//! The service's body: connect, migrate, serve, stand for election, stop.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use service_kit::{readiness::Part, retry::Backoff, service::Service, settings::Invalid};
use sqlx::postgres::PgConnectOptions;
use task_queue::{Broker, BrokerSettings};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tonic::transport::{Server, ServerTlsConfig};
use uuid::Uuid;

use crate::{
    Context,
    containers::Container,
    estates::Estates,
    leader::{Current, election},
    quotas::QuotasFile,
    rpc,
    settings::{Command, Settings},
    store::Store,
};

/// How long the database is waited for before a `migrate` gives up.
const MIGRATE_WAITS: Duration = Duration::from_secs(60);

/// Runs what the settings say.
///
/// # Errors
/// A setting that is missing or wrong, a port in use, a migration that fails.
pub async fn run(settings: Settings, service: Service) -> anyhow::Result<()> {
    let options = database(settings.database_url.expose())?;
    let store = Store::new(options);
    match settings.command {
        Some(Command::Migrate) => {
            tokio::time::timeout(MIGRATE_WAITS, migrate(&store, None)).await??;
            store.close().await;
            Ok(())
        }
        Some(Command::Run) | None => serve(settings, service, store).await,
    }
}

/// How to connect to the database of this URL. The driver itself would take any scheme.
fn database(url: &str) -> Result<PgConnectOptions, Invalid> {
    if !["postgres://", "postgresql://"].iter().any(|scheme| url.starts_with(scheme)) {
        return Err(Invalid::new("DATABASE_URL", "it is not written postgres://user:password@host:port/database"));
    }
    url.parse().map_err(|error| Invalid::new("DATABASE_URL", format!("{error}")))
}

async fn serve(settings: Settings, service: Service, store: Store) -> anyhow::Result<()> {
    let run = settings.run;
    let terms = run.terms()?;
    let tls = run.grpc_tls()?;
    let listen = run.grpc_listen.ok_or_else(|| missing("GRPC_LISTEN", "host:port for gateways and workers"))?;
    let amqp_url = run.amqp_url.ok_or_else(|| missing("AMQP_URL", "RabbitMQ's address"))?;
    let account = run.aws_account_id.ok_or_else(|| missing("AWS_ACCOUNT_ID", "the default container's account"))?;
    if !job_model::key::is_account(&account) {
        return Err(Invalid::new("AWS_ACCOUNT_ID", "an account has 12 digits").into());
    }
    if !job_model::key::is_region(&run.aws_region) {
        return Err(Invalid::new("AWS_REGION", "that is no Region's name").into());
    }
    let server = server(tls, listen)?;
    let quotas = QuotasFile::open(run.keyfleet_quota, run.keyfleet_quotas_file)?;
    // The port first: whoever cannot have it should not have migrated anything.
    let listener =
        TcpListener::bind(listen).await.map_err(|error| Invalid::new("GRPC_LISTEN", format!("{listen}: {error}")))?;
    let database = service.readiness.part("postgres");
    database.not_ready("not tried yet");
    let broker_part = service.readiness.part("rabbitmq");
    let broker =
        Broker::connect(&BrokerSettings { url: amqp_url, prefix: run.amqp_prefix, ca: run.amqp_ca }, broker_part)?;
    let context = Context {
        id: Uuid::new_v4(),
        store: store.clone(),
        broker,
        database: database.clone(),
        settings: Arc::new(terms),
        quotas: quotas.now(),
        estates: Estates::new(Container::default_of("kylo:kylo".parse()?, account, run.aws_region)),
    };
    let stop = service.shutdown.requested();
    let migrated = async { if run.migrate { migrate(&store, Some(&database)).await } else { Ok(()) } };
    tokio::select! {
        migrated = migrated => migrated?,
        () = stop.cancelled() => return Ok(()),
    }
    tracing::info!(listen = %listener.local_addr()?, id = %context.id, "Gateways and workers are served here.");

    let current = Current::default();
    let serving = CancellationToken::new();
    let serving_rpcs = tokio::spawn(rpc::serve(context.clone(), current.clone(), server, listener, serving.clone()));
    let watching = tokio::spawn(watch_database(context.clone(), stop.clone()));
    let following = tokio::spawn(quotas.follow());
    election::run(context.clone(), current, stop).await;
    serving.cancel();
    // Streams may stay open on a silent peer, so the end is not waited for without a bound.
    let _ = tokio::time::timeout(Duration::from_secs(2), serving_rpcs).await;
    watching.abort();
    following.abort();
    context.broker.close().await;
    store.close().await;
    Ok(())
}

/// The gRPC server, by TLS if there is any.
fn server(tls: Option<ServerTlsConfig>, listen: SocketAddr) -> Result<Server, Invalid> {
    match tls {
        Some(tls) => Server::builder().tls_config(tls).map_err(|error| {
            Invalid::new("GRPC_TLS_CERT", format!("it, its key and GRPC_TLS_CLIENT_CA do not fit: {error}"))
        }),
        None => {
            if !listen.ip().is_loopback() {
                tracing::warn!(
                    %listen,
                    "gRPC is served without TLS: whoever reaches this port can command the scheduler. Keep it in a network of \
                     its own, or set GRPC_TLS_CERT, GRPC_TLS_KEY and GRPC_TLS_CLIENT_CA."
                );
            }
            Ok(Server::builder())
        }
    }
}

fn missing(name: &'static str, what: &str) -> Invalid {
    Invalid::new(name, format!("it is missing ({what})"))
}

/// Applies missing migrations, waiting for the database.
async fn migrate(store: &Store, part: Option<&Part>) -> anyhow::Result<()> {
    let mut backoff = Backoff::reconnect();
    loop {
        match store.migrate().await {
            Ok(()) => return Ok(()),
            Err(sqlx::migrate::MigrateError::Execute(error)) if is_passing(&error) => {
                tracing::warn!(%error, "The database cannot be migrated yet.");
                if let Some(part) = part {
                    part.not_ready(error.to_string());
                }
            }
            Err(error) => return Err(Invalid::new("DATABASE_URL", format!("its migrations failed: {error}")).into()),
        }
        backoff.wait().await;
    }
}

/// Whether the database may answer later: it cannot be reached, or is starting up or shutting down (SQLSTATE class 57),
/// short of resources (53), or its database is yet to be made (3D).
fn is_passing(error: &sqlx::Error) -> bool {
    if let Some(code) = error.as_database_error().and_then(sqlx::error::DatabaseError::code) {
        return ["57", "53", "3D"].iter().any(|class| code.starts_with(class));
    }
    matches!(error, sqlx::Error::Io(_) | sqlx::Error::PoolTimedOut | sqlx::Error::Tls(_) | sqlx::Error::Protocol(_))
}

/// Keeps the readiness of the database true on a standby and on the leader alike.
async fn watch_database(context: Context, stop: CancellationToken) {
    while !stop.is_cancelled() {
        match tokio::time::timeout(Duration::from_secs(2), context.store.ping()).await {
            Ok(Ok(())) => context.database.ready(),
            Ok(Err(error)) => context.database.not_ready(error.to_string()),
            Err(_) => context.database.not_ready("no answer within 2 s"),
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}
