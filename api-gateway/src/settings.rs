//! What the gateway is told at its start.

use std::{num::NonZeroU32, path::PathBuf};

use scheduler_client::SchedulerTls;
use service_kit::settings::{AdminSettings, Secret, Span};
use task_queue::BrokerSettings;

/// The REST API of Keyfleet: tokens, permissions, bulk jobs.
#[derive(Clone, Debug, clap::Parser)]
#[command(name = "api-gateway", version)]
pub struct Settings {
    /// The admin port and the log.
    #[command(flatten)]
    pub admin: AdminSettings,

    /// `host:port` of the REST API (TLS, HTTP/1.1 and HTTP/2); port 0 takes a free one and the log tells it
    #[arg(long, env = "LISTEN", default_value = "0.0.0.0:8443")]
    pub listen: String,
    /// The certificate chain, a PEM file
    #[arg(long, env = "TLS_CERT")]
    pub tls_cert: PathBuf,
    /// The certificate's private key, a PEM file
    #[arg(long, env = "TLS_KEY")]
    pub tls_key: PathBuf,

    /// RabbitMQ.
    #[command(flatten)]
    pub broker: BrokerSettings,
    /// All replicas of the scheduler, comma-separated `http://host:port`, or `https://…` by TLS
    #[arg(long, env = "SCHEDULER_URLS", value_delimiter = ',', required = true)]
    pub scheduler_urls: Vec<String>,
    /// TLS to them.
    #[command(flatten)]
    pub scheduler_tls: SchedulerTls,

    /// Who may log in, their rights and how much each token may ask
    #[command(flatten)]
    pub access: AccessSettings,

    /// How long a cancel waits for the job to stop before it answers 202
    #[arg(long, env = "CANCEL_WAIT", default_value = "15s")]
    pub cancel_wait: Span,
    /// The most keys one job may name
    #[arg(long, env = "MAX_KEYS", default_value = "1000000")]
    pub max_keys: NonZeroU32,
    /// The most bytes the body of a create may have
    #[arg(long, env = "MAX_BODY", default_value = "134217728")]
    pub max_body: u64,
    /// How long a request may take, but create (see CREATE_TIMEOUT), cancel (see CANCEL_WAIT) and the streaming of an answer
    #[arg(long, env = "REQUEST_TIMEOUT", default_value = "20s")]
    pub request_timeout: Span,
    /// How long a create may take, its upload included
    #[arg(long, env = "CREATE_TIMEOUT", default_value = "120s")]
    pub create_timeout: Span,
    /// How long a client may pause while it sends a body
    #[arg(long, env = "BODY_PAUSE", default_value = "10s")]
    pub body_pause: Span,
    /// How many requests are worked on at once; more are answered 503
    #[arg(long, env = "MAX_REQUESTS", default_value = "1024")]
    pub max_requests: NonZeroU32,
}

/// Users, tokens, permissions.
#[derive(Clone, Debug, clap::Args)]
pub struct AccessSettings {
    /// The local users, a JSON file; read again when it changes
    #[arg(long, env = "USERS_FILE")]
    pub users_file: PathBuf,
    /// The keys of tokens, the same for all replicas: PKCS#8 PEM of one or more EC P-256 keys; the first signs, all verify
    #[arg(long, env = "TOKEN_KEY")]
    pub token_key: Option<Secret<String>>,
    /// A file with those keys; read again when it changes
    #[arg(long, env = "TOKEN_KEY_FILE")]
    pub token_key_file: Option<PathBuf>,
    /// The company's own identity providers, a JSON file
    #[arg(long, env = "ISSUERS_FILE")]
    pub issuers_file: Option<PathBuf>,
    /// Groups that have `keybulkoperation` on the default container, comma-separated
    #[arg(long, env = "BULK_GROUPS", value_delimiter = ',')]
    pub bulk_groups: Vec<String>,
    /// How long a refresh token can be used
    #[arg(long, env = "REFRESH_LIFETIME", default_value = "1day")]
    pub refresh_lifetime: Span,
    /// How many requests a second one token may make in the long run
    #[arg(long, env = "TOKEN_RATE", default_value = "200")]
    pub token_rate: NonZeroU32,
    /// How many requests one token may make at once after a rest
    #[arg(long, env = "TOKEN_BURST", default_value = "400")]
    pub token_burst: NonZeroU32,
}
