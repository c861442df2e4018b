//! Runs the tasks of bulk jobs against AWS KMS, and stops when told.
//!
//! Deliveries from RabbitMQ are only offers; the leading scheduler's Go is the permit for one try of one task. A try
//! observes the key, decides and acts ([`run`]), every request under its permit ([`permit`]): the job's abort flag
//! ([`stops`]), the lease ([`lease`]) and the Go itself, checked a last time where the bytes are written
//! ([`kms`]). One loop ([`session`]) owns everything else ([`desk`]).

pub mod connections;
pub mod consumer;
pub mod desk;
pub mod gos;
mod hearing;
pub mod kms;
pub mod lease;
mod link;
pub mod metrics;
pub mod offers;
pub mod pages;
pub mod permit;
mod reports;
pub mod run;
pub mod session;
pub mod settings;
pub mod stops;
mod threads;

use std::sync::Arc;

use job_model::WorkerId;
use scheduler_client::Leader;
use service_kit::{Service, clock, settings::Invalid};
use task_queue::Broker;
use uuid::Uuid;

pub use settings::Settings;

use crate::{
    connections::ConnectionsFile,
    consumer::Consumer,
    desk::Desk,
    hearing::Hearing,
    kms::{Kms, KmsSettings},
    permit::Clock,
    session::{Identity, Parts},
    stops::Stops,
    threads::Threads,
};

/// Runs the worker until it is told to stop.
///
/// # Errors
/// [`Invalid`] when a setting cannot be used.
pub async fn serve(settings: &Settings, service: Service) -> Result<(), Invalid> {
    let worker = WorkerId::from_uuid(Uuid::new_v4());
    let kms_settings = KmsSettings {
        endpoint: settings.aws_endpoint_url_kms.clone(),
        sts_endpoint: settings.aws_endpoint_url_sts.clone(),
        region: settings.aws_region.clone(),
        operation_timeout: settings.operation_timeout.get(),
        session_name: format!("keyfleet-{worker}"),
    };
    let kms = Kms::load(kms_settings, clock::boottime).await;
    serve_as(worker, kms, clock::boottime, settings, service).await
}

/// [`serve`], with the KMS clients and the clock of leases given.
///
/// # Errors
/// [`Invalid`] when a setting cannot be used.
pub async fn serve_with(kms: Kms, clock: Clock, settings: &Settings, service: Service) -> Result<(), Invalid> {
    serve_as(WorkerId::from_uuid(Uuid::new_v4()), kms, clock, settings, service).await
}

async fn serve_as(
    worker: WorkerId,
    kms: Kms,
    clock: Clock,
    settings: &Settings,
    service: Service,
) -> Result<(), Invalid> {
    metrics::describe();
    let connections = ConnectionsFile::open(settings.connections_file.clone())?;
    kms.connect_by(connections.now());
    let leader = Leader::with_tls(settings.scheduler_urls.clone(), settings.scheduler_tls.read()?.as_ref())?;
    let broker = Broker::connect(&settings.broker, service.readiness.part("rabbitmq"))?;
    let identity = Identity {
        id: worker,
        name: format!("kms-worker/{}", std::process::id()),
        concurrency: settings.concurrency.get(),
    };
    let stops = Arc::new(Stops::default());
    let part = service.readiness.part("rabbitmq-aborts");
    let (hearing, aborts) = Hearing::start(&settings.broker, part, identity.id, stops.clone(), clock).await?;
    let following = tokio::spawn({
        let kms = kms.clone();
        connections.follow(move |connections| kms.connect_by(connections))
    });
    let parts = Parts {
        identity,
        clock,
        desk: Desk::new(stops, clock),
        leader,
        kms,
        threads: Threads::start(settings.threads())?,
        consumer: Consumer::new(broker, settings.prefetch()),
        aborts,
        ready: service.readiness.part("scheduler"),
        shutdown: service.shutdown,
    };
    // A task of its own, so that its panic is told apart from its end.
    let session = tokio::spawn(session::run(parts));
    let ended = hearing.beside(session).await;
    following.abort();
    if let Err(error) = ended
        && error.is_panic()
    {
        std::panic::resume_unwind(error.into_panic());
    }
    Ok(())
}
