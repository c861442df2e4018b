//! A whole stack for one test, in a folder of its own; gone when dropped, also by a panic.
//!
//! A test process that is itself killed cannot drop anything: then the keeper of `with-servers`, or
//! the demo's own, finds the processes by their mark.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use rustix::process::Signal;

use crate::launch::{Haste, Launched, launch, off_thread, replace, restart, stop_all};
use crate::part::{Part, await_ready};
use crate::postgres::psql;
use crate::process::Process;
use crate::rabbitmq::Control;
use crate::scratch::{Database, VirtualHost};
use crate::servers::Servers;
use crate::settings::{ServersFrom, StackSettings};
use crate::site::Site;
use crate::users::Users;

/// A running stack.
#[derive(Debug)]
pub struct Stack {
    // Fields are dropped in this order, after `Stack::drop`: first who uses them is stopped.
    site: Site,
    launched: Launched,
    servers: Servers,
    _running: Running,
}

/// What ends with the stack. Apart, so that a start that fails half-way ends it too.
#[derive(Debug)]
struct Running {
    site: Site,
    _database: Option<Database>,
    _virtual_host: Option<VirtualHost>,
}

impl Stack {
    /// Starts a stack and returns when every part is ready.
    ///
    /// # Errors
    /// Names what did not get ready, with the end of its log. Nothing is left running then.
    pub async fn start(settings: StackSettings) -> Result<Self> {
        off_thread(move || Self::start_blocking(&settings)).await
    }

    /// [`Stack::start`] for code that is not async.
    ///
    /// # Errors
    /// As there.
    pub fn start_blocking(settings: &StackSettings) -> Result<Self> {
        let site = Site::temporary()?;
        let mut running = Running { site: site.clone(), _database: None, _virtual_host: None };
        let servers = match settings.servers {
            ServersFrom::Own => Servers::start(&site, settings.durability, &settings.given, settings.to_servers)?,
            ServersFrom::Shared => {
                let (database, virtual_host) = (Database::create()?, VirtualHost::create()?);
                let servers = Servers {
                    database_url: database.url().to_owned(),
                    amqp_url: virtual_host.url().to_owned(),
                    ..Servers::default()
                };
                running._database = Some(database);
                running._virtual_host = Some(virtual_host);
                servers
            }
        };
        let launched = launch(&site, settings, &servers)?;
        Ok(Self { site, launched, servers, _running: running })
    }

    /// The first gateway, `https://127.0.0.1:<port>`.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.launched.urls[0]
    }

    /// All gateways.
    #[must_use]
    pub fn urls(&self) -> &[String] {
        &self.launched.urls
    }

    /// Certificate of the CA that vouches for the gateways (PEM).
    #[must_use]
    pub fn ca_pem(&self) -> &str {
        &self.launched.ca_pem
    }

    /// Who can log in.
    #[must_use]
    pub fn users(&self) -> &Users {
        &self.launched.users
    }

    /// The KMS end: the `kms-sim` of this stack (with its `/_sim`), unless another was given.
    #[must_use]
    pub fn sim_url(&self) -> &str {
        &self.launched.kms_endpoint
    }

    /// Its database.
    #[must_use]
    pub fn database_url(&self) -> &str {
        &self.servers.database_url
    }

    /// Its virtual host.
    #[must_use]
    pub fn amqp_url(&self) -> &str {
        &self.servers.amqp_url
    }

    /// What one statement gives on its database, unaligned and without headers.
    ///
    /// # Errors
    /// With the server's own words.
    pub fn query(&self, statement: &str) -> Result<String> {
        psql(self.database_url(), statement)
    }

    /// Has its own RabbitMQ close every connection, as an operator may.
    ///
    /// # Errors
    /// With the node's words, or when the stack uses a RabbitMQ of others.
    pub async fn close_broker_connections(&self) -> Result<()> {
        let control = self.control()?;
        off_thread(move || control.close_connections()).await
    }

    /// Has its own RabbitMQ close one channel, drawn by chance.
    ///
    /// # Errors
    /// As for [`Stack::close_broker_connections`].
    pub async fn close_a_broker_channel(&self) -> Result<()> {
        let control = self.control()?;
        off_thread(move || control.close_a_channel()).await
    }

    /// How many queues its own RabbitMQ has, and how many messages are in them.
    ///
    /// # Errors
    /// As for [`Stack::close_broker_connections`].
    pub async fn broker_queues(&self) -> Result<(usize, usize)> {
        let control = self.control()?;
        off_thread(move || control.queues()).await
    }

    /// Has its own RabbitMQ raise the alarm that its disk is full, or end it.
    ///
    /// # Errors
    /// As for [`Stack::close_broker_connections`].
    pub async fn broker_disk(&self, full: bool) -> Result<()> {
        let control = self.control()?;
        off_thread(move || control.disk_alarm(full)).await
    }

    /// Has its own RabbitMQ delete a queue with all its messages; it need not be there.
    ///
    /// # Errors
    /// As for [`Stack::close_broker_connections`].
    pub async fn delete_queue(&self, name: &str) -> Result<()> {
        let (control, name) = (self.control()?, name.to_owned());
        off_thread(move || control.delete_queue(&name)).await
    }

    /// The names of its parts, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.launched.parts.keys().map(String::as_str)
    }

    /// Where a service's `/healthz`, `/readyz` and `/metrics` are: `http://127.0.0.1:<port>`.
    ///
    /// # Panics
    /// When there is no part of that name.
    #[must_use]
    pub fn admin_url(&self, name: &str) -> String {
        format!("http://{}", self.part(name).addr)
    }

    /// The process id of a part, the one of its last start, dead or alive.
    ///
    /// # Panics
    /// When there is no part of that name.
    #[must_use]
    pub fn pid(&self, name: &str) -> u32 {
        self.process(name).pid
    }

    /// Whether the part runs (a frozen one does).
    ///
    /// # Panics
    /// When there is no part of that name.
    #[must_use]
    pub fn is_alive(&self, name: &str) -> bool {
        self.process(name).is_alive()
    }

    /// Sends a part a signal; after `KILL` it returns once the process is gone.
    ///
    /// # Errors
    /// When the process outlives a `KILL`.
    ///
    /// # Panics
    /// When there is no part of that name.
    pub fn kill(&self, name: &str, signal: Signal) -> Result<()> {
        let process = self.process(name);
        if signal == Signal::KILL {
            return process.stop(signal, std::time::Duration::ZERO);
        }
        process.signal(signal);
        Ok(())
    }

    /// Starts a part again, dead or alive, with the settings and the port it had; ready on return.
    ///
    /// # Errors
    /// When it does not end or does not get ready.
    pub async fn restart(&self, name: &str) -> Result<()> {
        let (site, name) = (self.site.clone(), name.to_owned());
        off_thread(move || restart(&site, &name).map(drop)).await
    }

    /// Starts a service again with the program of another folder, dead or alive, with the settings and the port it had; ready on
    /// return. From then on it is that program.
    ///
    /// # Errors
    /// When it does not end or does not get ready.
    pub async fn replace(&self, name: &str, bin_dir: &Path) -> Result<()> {
        let (site, name, bin_dir) = (self.site.clone(), name.to_owned(), bin_dir.to_owned());
        off_thread(move || replace(&site, &name, &bin_dir).map(drop)).await
    }

    /// Starts a part that was stopped, without waiting until it is ready (what it needs may be missing).
    ///
    /// # Errors
    /// When it cannot be started.
    ///
    /// # Panics
    /// When there is no part of that name.
    pub fn start_again(&self, name: &str) -> Result<()> {
        let (part, _) = Part::read(&self.site.run(name, "json"))?;
        part.start(&self.site).map(drop)
    }

    /// Waits until a running part is ready.
    ///
    /// # Errors
    /// When it ended, or is not ready in time, with the end of its log.
    ///
    /// # Panics
    /// When there is no part of that name.
    pub async fn await_ready(&self, name: &str) -> Result<()> {
        let (part, process, site) = (self.part(name).clone(), self.process(name), self.site.clone());
        off_thread(move || await_ready(&site, &[(part, process)])).await
    }

    /// What a part wrote so far, over all its starts.
    #[must_use]
    pub fn log(&self, name: &str) -> String {
        let bytes = fs::read(self.site.log(name)).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// The folder of the certificates and keys.
    #[must_use]
    pub fn tls_file(&self, name: &str) -> PathBuf {
        self.site.tls(name)
    }

    /// An HTTP client that trusts the gateways. The process's rustls provider is installed on the way.
    ///
    /// # Errors
    /// When the client cannot be built.
    pub fn http_client(&self) -> Result<reqwest::Client> {
        http_client(self.ca_pem())
    }

    fn control(&self) -> Result<Control> {
        self.servers.control.clone().context("this stack's RabbitMQ is not its own")
    }

    fn part(&self, name: &str) -> &Part {
        self.launched.parts.get(name).unwrap_or_else(|| panic!("this stack has no {name}"))
    }

    /// From the record, which a restart rewrites.
    fn process(&self, name: &str) -> Process {
        Part::read(&self.site.run(name, "json"))
            .ok()
            .and_then(|(_, process)| process)
            .unwrap_or_else(|| panic!("this stack has no {name}"))
    }
}

/// Chooses rustls' cryptography, which clients without TLS ask for too.
pub(crate) fn install_crypto() {
    // A second installation is refused; the first one serves.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
}

/// An HTTP client that trusts this CA only.
///
/// # Errors
/// When the certificate is none.
pub(crate) fn http_client(ca_pem: &str) -> Result<reqwest::Client> {
    install_crypto();
    let ca = reqwest::Certificate::from_pem(ca_pem.as_bytes()).context("the development CA")?;
    reqwest::Client::builder().tls_certs_only([ca]).no_proxy().build().context("cannot build the HTTP client")
}

impl Drop for Running {
    fn drop(&mut self) {
        let stopped = stop_all(&self.site, Haste::AtOnce);
        if let Err(error) = stopped.and_then(|()| self.site.remove()) {
            eprintln!("A test's stack could not be removed whole: {error:#}");
        }
    }
}
