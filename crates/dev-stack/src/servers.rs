//! The private Postgres and RabbitMQ of one stack, started together.
//!
//! Their ports and passwords come from the site's memory, so a stack that goes on with its old data
//! finds them as they were.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;

use anyhow::{Context, Result};

use crate::accounts::{Account, give};
use crate::memory::Memory;
use crate::part::{Part, await_ready};
use crate::postgres::{self, Postgres};
use crate::rabbitmq::{self, RabbitMq};
use crate::site::{Site, write_private};
use crate::tls;

/// What a start costs and a commit is worth.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// Commits reach the disk: for data that is kept.
    Durable,
    /// Commits do not wait for the disk: for tests.
    Fast,
}

/// How services speak to the servers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wire {
    /// As they are: for servers that nobody else reaches.
    Plain,
    /// By TLS.
    Tls,
}

/// Which servers to start: those whose URL was not given.
#[derive(Debug, Default)]
pub(crate) struct Servers {
    /// URL of the stack's database.
    pub database_url: String,
    /// URL of the stack's virtual host.
    pub amqp_url: String,
    /// The authority of a broker that speaks TLS.
    pub amqp_ca: Option<PathBuf>,
    /// Where commands for RabbitMQ go; `None` for one that is not ours.
    pub control: Option<rabbitmq::Control>,
}

/// URLs of servers that are there already, and ports asked for.
#[derive(Debug, Default, Clone)]
pub struct Given {
    /// Use this database, start no Postgres.
    pub database_url: Option<String>,
    /// Use this broker, start no RabbitMQ.
    pub amqp_url: Option<String>,
    /// Ports by part (`postgres`, `rabbitmq`), instead of free ones.
    pub ports: BTreeMap<String, u16>,
}

impl Servers {
    /// Starts what is not given, and returns when all is ready.
    ///
    /// # Errors
    /// Names the server that does not start, with the end of its log. What was started keeps running:
    /// the caller stops the site.
    pub(crate) fn start(site: &Site, durability: Durability, given: &Given, wire: Wire) -> Result<Self> {
        let mut memory = site.memory()?;
        let mut servers = Self::default();
        let tls = match wire {
            Wire::Plain => None,
            Wire::Tls => {
                tls::ensure(site)?;
                let file = |name| site.tls(name);
                Some(Certified {
                    ca: file(tls::INTERNAL_CA),
                    cert: file(tls::INTERNAL_CERT),
                    key: file(tls::INTERNAL_KEY),
                })
            }
        };
        let postgres = match &given.database_url {
            Some(url) => {
                servers.database_url.clone_from(url);
                None
            }
            None => Some(Self::plan_postgres(&mut memory, durability, given, tls.clone())?),
        };
        let rabbitmq = match &given.amqp_url {
            Some(url) => {
                servers.amqp_url.clone_from(url);
                None
            }
            None => Some(Self::plan_rabbitmq(&mut memory, given, tls.clone())?),
        };
        site.remember(&memory)?;

        // Side by side: initdb takes a second, RabbitMQ four.
        thread::scope(|scope| -> Result<()> {
            let broker = rabbitmq.as_ref().map(|server| scope.spawn(|| start_rabbitmq(site, server)));
            let database = postgres.as_ref().map(|server| start_postgres(site, server));
            if let Some(broker) = broker {
                broker.join().ok().context("the thread that starts RabbitMQ panicked")??;
            }
            database.transpose()?;
            Ok(())
        })?;
        if let Some(server) = &postgres {
            servers.database_url = server.url(postgres::NAME);
        }
        if let Some(server) = &rabbitmq {
            servers.amqp_url = server.url(rabbitmq::NAME);
            servers.amqp_ca = tls.map(|tls| tls.ca);
            servers.control = Some(server.control());
        }
        Ok(servers)
    }

    fn plan_postgres(
        memory: &mut Memory,
        durability: Durability,
        given: &Given,
        tls: Option<Certified>,
    ) -> Result<Postgres> {
        Ok(Postgres {
            data: memory.data.join("postgres"),
            port: memory.port("postgres", given.ports.get("postgres").copied())?,
            password: memory.secret("postgres"),
            durability,
            tls,
        })
    }

    fn plan_rabbitmq(memory: &mut Memory, given: &Given, tls: Option<Certified>) -> Result<RabbitMq> {
        let tls = match tls {
            Some(tls) => Some((memory.port("rabbitmq-tls", None)?, tls)),
            None => None,
        };
        Ok(RabbitMq {
            data: memory.data.join("rabbitmq"),
            port: memory.port("rabbitmq", given.ports.get("rabbitmq").copied())?,
            distribution_port: memory.port("rabbitmq-distribution", None)?,
            epmd_port: memory.port("epmd", None)?,
            password: memory.secret("rabbitmq"),
            cookie: memory.secret("erlang-cookie"),
            tls,
        })
    }
}

/// A certificate of this machine, its key, and who vouches for it: PEM files.
#[derive(Debug, Clone)]
pub(crate) struct Certified {
    pub ca: PathBuf,
    pub cert: PathBuf,
    pub key: PathBuf,
}

impl Certified {
    /// Copies certificate and key to where a server's account can read them, as `cert.pem` and `key.pem`.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub(crate) fn give_copies(&self, folder: &Path, account: Option<Account>) -> Result<()> {
        for (from, name) in [(&self.cert, "cert.pem"), (&self.key, "key.pem")] {
            let content = fs::read(from).with_context(|| format!("cannot read {}", from.display()))?;
            let to = folder.join(name);
            write_private(&to, &content)?;
            give(&to, account)?;
        }
        Ok(())
    }
}

/// What the installed Postgres and RabbitMQ say of themselves; what is not installed is left out.
#[must_use]
pub fn server_versions() -> Vec<String> {
    let postgres = postgres::bin_dir().and_then(|bin| {
        let output = Command::new(bin.join("postgres")).arg("--version").output().context("postgres --version")?;
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    });
    [postgres, rabbitmq::version()].into_iter().flatten().collect()
}

/// What every server and service gets of the caller's environment, and no more.
#[must_use]
pub(crate) fn base_env() -> BTreeMap<String, String> {
    let mut env: BTreeMap<String, String> = ["PATH", "TMPDIR", "TZ", crate::keeper::RUN_ENV]
        .iter()
        .filter_map(|key| Some(((*key).to_owned(), std::env::var(key).ok()?)))
        .collect();
    env.insert("LC_ALL".to_owned(), "C.UTF-8".to_owned());
    env
}

fn start_postgres(site: &Site, server: &Postgres) -> Result<()> {
    start_ready(site, server.prepare()?)?;
    server.ensure_database()
}

fn start_rabbitmq(site: &Site, server: &RabbitMq) -> Result<()> {
    for part in server.prepare()? {
        start_ready(site, part)?;
    }
    Ok(())
}

fn start_ready(site: &Site, part: Part) -> Result<()> {
    let process = part.start(site)?;
    await_ready(site, &[(part, process)])
}
