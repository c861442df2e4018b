//! The settings every service has.

use std::{fmt, str::FromStr};

/// The admin port and the log. Part of every service's settings with `#[command(flatten)]`.
#[derive(Clone, Debug, clap::Args)]
pub struct AdminSettings {
    /// `host:port` of plain-HTTP /healthz, /readyz and /metrics; port 0 takes a free one and the log tells it
    #[arg(long, env = "ADMIN_LISTEN", default_value = "127.0.0.1:0")]
    pub admin_listen: String,
    /// What is logged: a level (error, warn, info, debug, trace), or levels by module, like `info,lapin=debug`
    #[arg(long, env = "LOG", default_value = "info")]
    pub log: LogFilter,
    /// The form of the log: `text` or `json`
    #[arg(long, env = "LOG_FORMAT", default_value = "text")]
    pub log_format: LogFormat,
}

/// A filter that `tracing` understands.
#[derive(Clone, PartialEq, Eq)]
pub struct LogFilter(pub(crate) String);

/// The filter makes no sense.
#[derive(Debug, thiserror::Error)]
#[error("it must be a level like info, or levels by module like info,lapin=debug")]
pub struct InvalidFilter;

impl FromStr for LogFilter {
    type Err = InvalidFilter;
    fn from_str(text: &str) -> Result<Self, InvalidFilter> {
        // A lone word that is no level would be taken for a module's name, and silence everything.
        let lone_word = !text.contains(['=', ',', '[']);
        if lone_word && text.parse::<tracing_subscriber::filter::LevelFilter>().is_err() {
            return Err(InvalidFilter);
        }
        match tracing_subscriber::EnvFilter::try_new(text) {
            Ok(_) => Ok(Self(text.to_owned())),
            Err(_) => Err(InvalidFilter),
        }
    }
}

impl fmt::Debug for LogFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// How a log line is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// For collectors: one JSON object a line.
    Json,
}
