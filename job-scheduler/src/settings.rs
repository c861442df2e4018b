//! The scheduler's settings.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use clap::{Args, Parser, Subcommand};
use job_model::quota::Quotas;
use service_kit::settings::{AdminSettings, Invalid, SecretUrl, Span};
use tonic::transport::{Certificate, Identity, ServerTlsConfig};

/// Keeps bulk jobs, hands out their tasks, and stops them on demand.
#[derive(Clone, Debug, Parser)]
#[command(name = "job-scheduler", version)]
pub struct Settings {
    /// What to do; `run` when it is not given
    #[command(subcommand)]
    pub command: Option<Command>,
    /// Postgres, like `postgres://user:password@host:5432/keyfleet`
    #[arg(long, env = "DATABASE_URL")]
    pub database_url: SecretUrl,
    /// The service's own settings.
    #[command(flatten)]
    pub run: RunSettings,
    /// Logs, health and metrics.
    #[command(flatten)]
    pub admin: AdminSettings,
}

/// What the program can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Subcommand)]
pub enum Command {
    /// Serves gateways and workers until it is stopped
    Run,
    /// Applies the database migrations that are missing, and ends
    Migrate,
}

/// The service's own settings.
#[derive(Clone, Debug, Args)]
pub struct RunSettings {
    /// `host:port` for gRPC from gateways and workers
    #[arg(long, env = "GRPC_LISTEN")]
    pub grpc_listen: Option<SocketAddr>,
    /// the certificate that gateways and workers are shown, a PEM file; with it they connect by TLS alone
    #[arg(long, env = "GRPC_TLS_CERT")]
    pub grpc_tls_cert: Option<PathBuf>,
    /// its private key, a PEM file
    #[arg(long, env = "GRPC_TLS_KEY")]
    pub grpc_tls_key: Option<PathBuf>,
    /// the certificate authority whose certificates gateways and workers must show, a PEM file
    #[arg(long, env = "GRPC_TLS_CLIENT_CA")]
    pub grpc_tls_client_ca: Option<PathBuf>,
    /// RabbitMQ, like `amqp://user:password@host:5672/vhost`, or `amqps://…` by TLS
    #[arg(long, env = "AMQP_URL")]
    pub amqp_url: Option<SecretUrl>,
    /// of an amqps URL: the certificate authorities that RabbitMQ's certificate may be from beside the system's, a PEM file
    #[arg(long, env = "AMQP_CA")]
    pub amqp_ca: Option<PathBuf>,
    /// begins the names of exchanges and queues; stacks that share a vhost need different ones
    #[arg(long, env = "AMQP_PREFIX", default_value = "keyfleet")]
    pub amqp_prefix: String,
    /// whether `run` applies missing migrations first
    #[arg(long, env = "MIGRATE", default_value_t = true, action = clap::ArgAction::Set)]
    pub migrate: bool,
    /// requests per second of each account, Region and KMS operation: `aws`, `off`, or like `{"EnableKey": 500}`
    #[arg(long, env = "KEYFLEET_QUOTA", default_value = "aws")]
    pub keyfleet_quota: Quotas,
    /// a JSON file of quotas that differ by `account/region`, like `{"111122223333/eu-west-1": {"EnableKey": 100}}`; read
    /// again when it changes
    #[arg(long, env = "KEYFLEET_QUOTAS_FILE")]
    pub keyfleet_quotas_file: Option<PathBuf>,
    /// the AWS account of the default container: 12 digits
    #[arg(long, env = "AWS_ACCOUNT_ID")]
    pub aws_account_id: Option<String>,
    /// the Region of keys named by a bare id
    #[arg(long, env = "AWS_REGION", default_value = "us-east-1")]
    pub aws_region: String,
    /// how long a worker may act on one renewal; what a lost worker delays is this and OPERATION_TIMEOUT
    #[arg(long, env = "LEASE", default_value = "3s")]
    pub lease: Span,
    /// how long a leader leads on one renewal; a standby takes over after it. Longer than LEASE
    #[arg(long, env = "TERM_OF_LEADERSHIP", default_value = "4s")]
    pub term: Span,
    /// the longest one KMS request may take; the same for all workers
    #[arg(long, env = "OPERATION_TIMEOUT", default_value = "5s")]
    pub operation_timeout: Span,
    /// unfinished jobs a tenant may have
    #[arg(long, env = "MAX_RUNNING_JOBS", default_value_t = 1_000)]
    pub max_running_jobs: u32,
    /// how long finished jobs are kept
    #[arg(long, env = "KEEP_FINISHED", default_value = "90days")]
    pub keep_finished: Span,
}

/// The numbers the scheduler works by.
#[derive(Clone, Debug)]
pub struct Terms {
    /// See [`RunSettings::lease`].
    pub lease: Duration,
    /// See [`RunSettings::term`].
    pub term: Duration,
    /// See [`RunSettings::operation_timeout`].
    pub operation_timeout: Duration,
    /// See [`RunSettings::max_running_jobs`].
    pub max_running_jobs: u32,
    /// See [`RunSettings::keep_finished`].
    pub keep_finished: Duration,
}

impl RunSettings {
    /// How gRPC is served by TLS; `None` when no file is named.
    ///
    /// # Errors
    /// [`Invalid`] when one is missing beside the others, or cannot be read.
    pub fn grpc_tls(&self) -> Result<Option<ServerTlsConfig>, Invalid> {
        const BESIDE: &str = "it is missing beside the other GRPC_TLS settings; give all three or none";
        let (cert, key, ca) = match (&self.grpc_tls_cert, &self.grpc_tls_key, &self.grpc_tls_client_ca) {
            (None, None, None) => return Ok(None),
            (Some(cert), Some(key), Some(ca)) => (cert, key, ca),
            (None, _, _) => return Err(Invalid::new("GRPC_TLS_CERT", BESIDE)),
            (_, None, _) => return Err(Invalid::new("GRPC_TLS_KEY", BESIDE)),
            (_, _, None) => return Err(Invalid::new("GRPC_TLS_CLIENT_CA", BESIDE)),
        };
        let read = |name: &str, path: &Path| {
            std::fs::read(path).map_err(|error| Invalid::new(name, format!("{}: {error}", path.display())))
        };
        let identity = Identity::from_pem(read("GRPC_TLS_CERT", cert)?, read("GRPC_TLS_KEY", key)?);
        let ca = Certificate::from_pem(read("GRPC_TLS_CLIENT_CA", ca)?);
        Ok(Some(ServerTlsConfig::new().identity(identity).client_ca_root(ca)))
    }

    /// The numbers, checked against one another.
    ///
    /// # Errors
    /// [`Invalid`] naming the setting.
    pub fn terms(&self) -> Result<Terms, Invalid> {
        if self.lease.get() < Duration::from_millis(300) {
            return Err(Invalid::new("LEASE", "it is shorter than 300ms"));
        }
        if self.term.get() < self.lease.get() {
            return Err(Invalid::new("TERM_OF_LEADERSHIP", "it is shorter than LEASE"));
        }
        Ok(Terms {
            lease: self.lease.get(),
            term: self.term.get(),
            operation_timeout: self.operation_timeout.get(),
            max_running_jobs: self.max_running_jobs,
            keep_finished: self.keep_finished.get(),
        })
    }
}
