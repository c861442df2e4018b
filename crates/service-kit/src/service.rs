//! The frame of every service: what happens before and after its body.
//!
//! Before: TLS provider (rustls wants it first), logs, metrics, runtime, signals, the admin port. After: the exit code.
//! 0 is a clean end, 1 an error or a stop that took too long, 2 a setting that is missing or wrong: then standard error
//! holds one sentence.

use std::{process::ExitCode, time::Duration};

use tokio::net::TcpListener;

use crate::{
    Readiness, Shutdown,
    admin::{self, Admin},
    settings::{self, AdminSettings, Invalid},
    shutdown::Signals,
    telemetry,
};

/// How long a body may still run after it was told to drop everything.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// How many threads a service works on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Threads {
    /// One: for many small steps that would otherwise wander from core to core, and wake each other across them.
    One,
    /// As many as there are cores: for work that must not hold up what beats beside it.
    Cores,
}

/// What a body is given.
#[derive(Clone, Debug, Default)]
pub struct Service {
    /// Where parts tell whether they can do their work.
    pub readiness: Readiness,
    /// When to stop.
    pub shutdown: Shutdown,
}

/// Runs a service to its end and gives the process's exit code.
///
/// The body ends by itself after [`Shutdown::requested`]; one that does not is dropped shortly after
/// [`Shutdown::forced`]. An error whose source is [`Invalid`] is told as that one sentence.
pub fn run<F>(name: &'static str, threads: Threads, admin: &AdminSettings, body: F) -> ExitCode
where
    F: AsyncFnOnce(Service) -> anyhow::Result<()>,
{
    // Refused only when it is installed already.
    let _already = rustls::crypto::aws_lc_rs::default_provider().install_default();
    telemetry::install_logs(admin);
    let metrics = telemetry::install_metrics();
    let mut builder = match threads {
        Threads::One => tokio::runtime::Builder::new_current_thread(),
        Threads::Cores => tokio::runtime::Builder::new_multi_thread(),
    };
    let runtime = match builder.enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("The service could not start its threads: {error}.");
            return ExitCode::FAILURE;
        }
    };
    let ended = runtime.block_on(async {
        let service = Service::default();
        let signals = Signals::install()?;
        let listener = TcpListener::bind(&admin.admin_listen)
            .await
            .map_err(|error| Invalid::new("ADMIN_LISTEN", format!("{}: {error}", admin.admin_listen)))?;
        tracing::info!(
            service = name,
            version = env!("CARGO_PKG_VERSION"),
            pid = std::process::id(),
            admin = %listener.local_addr()?,
            settings = settings::shown(),
            "The service starts."
        );
        let Service { readiness, shutdown } = service.clone();
        tokio::spawn(telemetry::upkeep(metrics.clone()));
        tokio::spawn(shutdown.clone().on_signals(signals));
        tokio::spawn(admin::serve(listener, Admin { name, readiness, shutdown, metrics }));
        until_dropped(body, service).await
    });
    runtime.shutdown_timeout(LAST_WORDS);
    exit_code(name, ended)
}

async fn until_dropped<F>(body: F, service: Service) -> anyhow::Result<()>
where
    F: AsyncFnOnce(Service) -> anyhow::Result<()>,
{
    let forced = service.shutdown.forced();
    let too_late = async {
        forced.cancelled().await;
        tokio::time::sleep(LAST_WORDS).await;
    };
    tokio::select! {
        ended = body(service) => ended,
        () = too_late => Err(anyhow::anyhow!("stopping took too long, what was left was dropped")),
    }
}

fn exit_code(name: &'static str, ended: anyhow::Result<()>) -> ExitCode {
    match ended {
        Ok(()) => {
            tracing::info!(service = name, "The service has stopped.");
            ExitCode::SUCCESS
        }
        Err(error) => match error.downcast_ref::<Invalid>() {
            Some(invalid) => {
                eprintln!("{invalid}");
                ExitCode::from(Invalid::EXIT_CODE)
            }
            None => {
                tracing::error!(service = name, error = format!("{error:#}"), "The service ends with an error.");
                ExitCode::FAILURE
            }
        },
    }
}
