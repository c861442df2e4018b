//! Where the broker is.

use std::path::PathBuf;

use service_kit::settings::SecretUrl;

use crate::topology::DEFAULT_PREFIX;

/// The broker's address and the names on it. Part of a service's settings with `#[command(flatten)]`.
#[derive(Clone, Debug, clap::Args)]
pub struct BrokerSettings {
    /// RabbitMQ, as amqp://user:password@host:port/vhost
    #[arg(id = "amqp_url", long = "amqp-url", env = "AMQP_URL", value_name = "URL")]
    pub url: SecretUrl,
    /// What the names of queues and exchanges begin with, so that several stacks can share one vhost
    #[arg(
        id = "amqp_prefix",
        long = "amqp-prefix",
        env = "AMQP_PREFIX",
        value_name = "PREFIX",
        default_value = DEFAULT_PREFIX,
        value_parser = prefix
    )]
    pub prefix: String,
    /// Of an amqps URL: the certificate authorities that RabbitMQ's certificate may be from beside the system's, a PEM file
    #[arg(id = "amqp_ca", long = "amqp-ca", env = "AMQP_CA", value_name = "FILE")]
    pub ca: Option<PathBuf>,
}

impl BrokerSettings {
    /// A broker with the names everybody uses.
    pub fn at(url: SecretUrl) -> Self {
        Self { url, prefix: DEFAULT_PREFIX.to_owned(), ca: None }
    }
}

fn prefix(text: &str) -> Result<String, String> {
    let fits = (1..=64).contains(&text.len())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'));
    if fits { Ok(text.to_owned()) } else { Err("it must be 1 to 64 letters, digits, '-', '_' or '.'".to_owned()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_is_a_word() {
        assert_eq!(prefix("keyfleet").unwrap(), "keyfleet");
        for text in ["", "a b", "ä", &"x".repeat(65)] {
            assert!(prefix(text).is_err(), "{text}");
        }
    }
}
