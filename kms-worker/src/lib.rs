//! Runs the tasks of bulk jobs against AWS KMS, and stops when told.
//!
//! Deliveries from RabbitMQ are only offers; the leading scheduler's Go is the permit for one try of one task. A try
//! observes the key, decides and acts ([`run`]), every request under its permit ([`permit`]): the job's abort flag
//! ([`stops`]), the lease ([`lease`]) and the Go itself, checked a last time where the bytes are written
//! ([`kms`]). One loop ([`session`]) owns everything else ([`desk`]).

pub mod consumer;
pub mod desk;
pub mod gos;
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

use std::sync::Arc;

use job_model::{JobId, WorkerId};
use scheduler_client::Leader;
use service_kit::{Service, clock, settings::Invalid};
use task_queue::{Broker, WorkerAborts};
use tokio::sync::mpsc;
use uuid::Uuid;

pub use settings::Settings;

use crate::{
    consumer::Consumer,
    desk::Desk,
    kms::{Kms, KmsSettings},
    permit::Clock,
    session::{Identity, Parts},
    stops::Stops,
};

/// Runs the worker until it is told to stop.
///
/// # Errors
/// [`Invalid`] when a setting cannot be used.
pub async fn serve(settings: &Settings, service: Service) -> Result<(), Invalid> {
    let kms_settings = KmsSettings {
        endpoint: settings.aws_endpoint_url_kms.clone(),
        region: settings.aws_region.clone(),
        operation_timeout: settings.operation_timeout.get(),
    };
    let kms = Kms::load(kms_settings, clock::boottime).await;
    serve_with(kms, clock::boottime, settings, service).await
}

/// [`serve`], with the KMS clients and the clock of leases given.
///
/// # Errors
/// [`Invalid`] when a setting cannot be used.
pub async fn serve_with(kms: Kms, clock: Clock, settings: &Settings, service: Service) -> Result<(), Invalid> {
    metrics::describe();
    let leader = Leader::new(settings.scheduler_urls.clone())?;
    let broker = Broker::connect(&settings.broker, service.readiness.part("rabbitmq"))?;
    let identity = Identity {
        id: WorkerId::from_uuid(Uuid::new_v4()),
        name: format!("kms-worker/{}", std::process::id()),
        concurrency: settings.concurrency.get(),
    };
    let stops = Arc::new(Stops::default());
    let (aborted, aborts) = mpsc::unbounded_channel();
    let hearing = Hearing { stops: stops.clone(), clock, aborted };
    tokio::spawn(hearing.run(broker.consume_aborts_as_worker(identity.id)));
    let parts = Parts {
        identity,
        clock,
        desk: Desk::new(stops, clock),
        leader,
        kms,
        consumer: Consumer::new(broker, settings.prefetch()),
        aborts,
        ready: service.readiness.part("scheduler"),
        shutdown: service.shutdown,
    };
    // A task of its own, so that its panic is told apart from its end.
    if let Err(error) = tokio::spawn(session::run(parts)).await
        && error.is_panic()
    {
        std::panic::resume_unwind(error.into_panic());
    }
    Ok(())
}

/// Sets the flags that the broadcast names, at once and past every queue within; the session is told after.
struct Hearing {
    stops: Arc<Stops>,
    clock: Clock,
    aborted: mpsc::UnboundedSender<JobId>,
}

impl Hearing {
    async fn run(self, mut aborts: WorkerAborts) {
        while let Some(command) = aborts.next().await {
            self.stops.set(command.job, (self.clock)());
            tracing::info!(job.id = %command.job, "A job is to stop.");
            if self.aborted.send(command.job).is_err() {
                return;
            }
        }
    }
}
