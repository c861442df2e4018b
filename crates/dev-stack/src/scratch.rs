//! A database and a virtual host for one test, on the servers that `with-servers` started.
//!
//! Sharing the servers and not the names: a test starts in milliseconds and still sees nobody else's
//! tables and queues. Both are removed when dropped, with whatever is still connected.

use anyhow::{Context, Result};
use uuid::Uuid;

use crate::postgres::psql;
use crate::rabbitmq::Control;

/// Names the running RabbitMQ to commands: see [`VirtualHost::create`].
pub const CONTROL_ENV: &str = "DEV_STACK_RABBITMQ";

/// An empty database of its own.
#[derive(Debug)]
pub struct Database {
    url: String,
    server: String,
    name: String,
}

impl Database {
    /// Makes one on the server of `DATABASE_URL`.
    ///
    /// # Errors
    /// When the variable is not set or the server refuses.
    pub fn create() -> Result<Self> {
        let server = env("DATABASE_URL")?;
        let name = fresh_name();
        psql(&server, &format!("CREATE DATABASE {name} TEMPLATE template0"))?;
        Ok(Self { url: with_path(&server, &name), server, name })
    }

    /// Its URL.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        // The servers may be gone already, and the database with them.
        let _ = psql(&self.server, &format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", self.name));
    }
}

/// An empty virtual host of its own.
#[derive(Debug)]
pub struct VirtualHost {
    url: String,
    name: String,
    control: Control,
}

impl VirtualHost {
    /// Makes one on the server of `AMQP_URL`.
    ///
    /// # Errors
    /// When the variables of `with-servers` are not set or the server refuses.
    pub fn create() -> Result<Self> {
        let (server, control) = (env("AMQP_URL")?, env(CONTROL_ENV)?);
        let control = Control::from_text(&control).with_context(|| format!("{CONTROL_ENV} is damaged"))?;
        let name = fresh_name();
        control.add_virtual_host(&name)?;
        Ok(Self { url: with_path(&server, &name), name, control })
    }

    /// Its URL.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }
}

impl Drop for VirtualHost {
    fn drop(&mut self) {
        // As with the database.
        let _ = self.control.remove_virtual_host(&self.name);
    }
}

/// A name that both servers and URLs take as it is.
fn fresh_name() -> String {
    format!("t{}", Uuid::new_v4().simple())
}

fn env(key: &str) -> Result<String> {
    std::env::var(key)
        .with_context(|| format!("{key} is not set: run this inside `dev-stack with-servers -- …` (make test does)"))
}

/// The same server, another database or virtual host; parameters are kept.
fn with_path(url: &str, name: &str) -> String {
    let (head, parameters) = match url.split_once('?') {
        Some((head, parameters)) => (head, format!("?{parameters}")),
        None => (url, String::new()),
    };
    let authority = head.find("://").map_or(0, |at| at + 3);
    let end = head[authority..].find('/').map_or(head.len(), |at| authority + at);
    format!("{}/{name}{parameters}", &head[..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replaces_the_path_only() {
        assert_eq!(with_path("postgres://u:p@h:1/db?sslmode=disable", "x"), "postgres://u:p@h:1/x?sslmode=disable");
        assert_eq!(with_path("amqp://u:p@h:1/%2f", "x"), "amqp://u:p@h:1/x");
        assert_eq!(with_path("amqp://u:p@h:1", "x"), "amqp://u:p@h:1/x");
    }
}
