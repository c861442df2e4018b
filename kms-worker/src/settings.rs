//! The worker's settings.

use std::{
    num::{NonZeroU32, NonZeroUsize},
    path::PathBuf,
    thread::available_parallelism,
};

use scheduler_client::SchedulerTls;
use service_kit::settings::{AdminSettings, Span};
use task_queue::BrokerSettings;

/// Runs the tasks of bulk jobs against AWS KMS, and stops when told.
#[derive(Clone, Debug, clap::Parser)]
#[command(name = "kms-worker", version)]
pub struct Settings {
    /// RabbitMQ
    #[command(flatten)]
    pub broker: BrokerSettings,
    /// All schedulers, written http://host:port, or https://host:port by TLS, with commas between them
    #[arg(long, env = "SCHEDULER_URLS", value_delimiter = ',', required = true)]
    pub scheduler_urls: Vec<String>,
    /// TLS to them.
    #[command(flatten)]
    pub scheduler_tls: SchedulerTls,
    /// The KMS end of all Regions, written http://host:port or https://host; AWS's own when absent
    #[arg(long, env = "AWS_ENDPOINT_URL_KMS", value_parser = endpoint)]
    pub aws_endpoint_url_kms: Option<String>,
    /// The STS end of all Regions, written likewise
    #[arg(long, env = "AWS_ENDPOINT_URL_STS", value_parser = endpoint)]
    pub aws_endpoint_url_sts: Option<String>,
    /// A JSON file of connections, by whose names containers say how their accounts are reached; none when absent
    #[arg(long, env = "CONNECTIONS_FILE")]
    pub connections_file: Option<PathBuf>,
    /// The Region that the credentials chain asks in; keys bring their own
    #[arg(long, env = "AWS_REGION", default_value = "us-east-1")]
    pub aws_region: String,
    /// The longest one KMS request may take, connecting included; no longer than the scheduler's
    #[arg(long, env = "OPERATION_TIMEOUT", default_value = "5s")]
    pub operation_timeout: Span,
    /// Tasks in flight at once
    #[arg(long, env = "CONCURRENCY", default_value = "128")]
    pub concurrency: NonZeroU32,
    /// Threads that make KMS requests; as many as there are cores when absent
    #[arg(long, env = "THREADS")]
    pub threads: Option<NonZeroUsize>,
    /// The admin port and the log
    #[command(flatten)]
    pub admin: AdminSettings,
}

impl Settings {
    /// Threads that make KMS requests.
    pub fn threads(&self) -> NonZeroUsize {
        self.threads.or_else(|| available_parallelism().ok()).unwrap_or(NonZeroUsize::MIN)
    }

    /// Deliveries taken from RabbitMQ before they are acknowledged: some jobs' worth above what runs at once, so that a
    /// Start is always on its way. RabbitMQ takes at most 2,000 of a quorum queue's consumer.
    pub fn prefetch(&self) -> u16 {
        u16::try_from(self.concurrency.get().saturating_mul(8)).unwrap_or(u16::MAX).clamp(64, 2_000)
    }
}

/// An endpoint the clients can use.
fn endpoint(text: &str) -> Result<String, String> {
    let uri: http::Uri = text.parse().map_err(|_| "it must be written http://host:port".to_owned())?;
    match (uri.scheme_str(), uri.host()) {
        (Some("http" | "https"), Some(_)) => Ok(text.trim_end_matches('/').to_owned()),
        (Some(_) | None, _) => Err("it must be written http://host:port".to_owned()),
    }
}
