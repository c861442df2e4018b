//! One part of a stack (a server or a service): how it is started, known, awaited and stopped.
//!
//! Its record in `run/<name>.json` holds everything a restart needs, so that a part comes back with
//! the settings and the port it had, whoever restarts it. `run/<name>.pid` and `.addr` are for people
//! and scripts; the record is what this code goes by.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustix::process::Signal;
use serde::{Deserialize, Serialize};

use crate::patience::Patience;
use crate::process::{Process, Program};
use crate::site::{Site, write_private};
use crate::{postgres, readiness};

/// RabbitMQ needs 4 to 6 s on a quiet machine; a busy one may take several times that.
const READY_PATIENCE: Duration = Duration::from_secs(90);
/// A service's own cap on a clean end is shorter; Postgres and RabbitMQ may have much to write.
const STOP_PATIENCE: Duration = Duration::from_secs(20);
/// How much of a log tells why something did not start.
const TAIL_LINES: usize = 25;

/// What a part is: decides how it is asked to end and how its readiness is seen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Kind {
    /// One of Keyfleet's own: ready when `/readyz` at its address answers 200.
    Service,
    /// The postmaster.
    Postgres {
        /// Its data folder, where its backends work.
        data: PathBuf,
    },
    /// The Erlang VM.
    RabbitMq,
    /// Erlang's port mapper, which RabbitMQ registers with.
    Epmd,
}

/// A part as it was, or is to be, started.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Part {
    /// Its name, as in `run/<name>.pid`.
    pub name: String,
    /// What it is.
    pub kind: Kind,
    /// The program.
    pub program: Program,
    /// What `.addr` says: health and metrics of a service, the port itself of a server.
    pub addr: SocketAddr,
}

#[derive(Serialize, Deserialize)]
struct Record {
    part: Part,
    process: Option<Process>,
}

impl Part {
    /// Starts it and records that; does not wait for it to be ready.
    ///
    /// # Errors
    /// When it cannot be started or recorded.
    pub(crate) fn start(&self, site: &Site) -> Result<Process> {
        match &self.kind {
            Kind::Postgres { data } => postgres::clear_leftovers(data)?,
            Kind::Service | Kind::RabbitMq | Kind::Epmd => {}
        }
        let process = Process::spawn(&self.program, &site.log(&self.name))
            .with_context(|| format!("{} could not be started", self.name))?;
        let record = Record { part: self.clone(), process: Some(process) };
        let written = serde_json::to_vec_pretty(&record)
            .context("cannot write the record")
            .and_then(|bytes| write_private(&site.run(&self.name, "json"), &bytes))
            .and_then(|()| write_line(&site.run(&self.name, "addr"), &self.addr.to_string()))
            .and_then(|()| write_line(&site.run(&self.name, "pid"), &process.pid.to_string()));
        if let Err(error) = written {
            // Nobody would know of it.
            process.stop(Signal::KILL, Duration::ZERO)?;
            return Err(error);
        }
        Ok(process)
    }

    /// Asks it to end, without waiting.
    pub(crate) fn ask_to_end(&self, process: Process) {
        process.ask(match self.kind {
            // Postgres: "fast", which ends sessions instead of waiting for them.
            Kind::Postgres { .. } => Signal::INT,
            Kind::Service | Kind::RabbitMq | Kind::Epmd => Signal::TERM,
        });
    }

    /// Kills it, without waiting.
    pub(crate) fn kill(&self, process: Process) {
        process.signal(Signal::KILL);
    }

    /// Waits for the end of a process that was asked or killed; kills it after a while.
    ///
    /// # Errors
    /// When it does not end.
    pub(crate) fn await_end(&self, process: Process) -> Result<()> {
        process.see_off(Patience::of(STOP_PATIENCE)).with_context(|| self.name.clone())?;
        match &self.kind {
            Kind::Postgres { data } => postgres::clear_leftovers(data),
            Kind::Service | Kind::RabbitMq | Kind::Epmd => Ok(()),
        }
    }

    /// Removes its record: it is not part of the stack any more.
    ///
    /// # Errors
    /// When a file resists.
    pub(crate) fn forget(&self, site: &Site) -> Result<()> {
        // The record last: while it is there, this can be done again.
        for what in ["pid", "addr", "json"] {
            match fs::remove_file(site.run(&self.name, what)) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(error).context("cannot clear the run folder");
                }
                Ok(()) | Err(_) => {}
            }
        }
        Ok(())
    }

    /// A record that [`Part::start`] wrote.
    ///
    /// # Errors
    /// When it cannot be read.
    pub(crate) fn read(record: &Path) -> Result<(Self, Option<Process>)> {
        let bytes = fs::read(record).with_context(|| format!("cannot read {}", record.display()))?;
        let record: Record =
            serde_json::from_slice(&bytes).with_context(|| format!("{} is damaged", record.display()))?;
        Ok((record.part, record.process))
    }
}

/// Waits until all of them are ready; they may wait for one another.
///
/// # Errors
/// Names the first that ended, or one that is not ready in time, with the end of its log.
pub(crate) fn await_ready(site: &Site, started: &[(Part, Process)]) -> Result<()> {
    let patience = Patience::of(READY_PATIENCE);
    let mut waiting: Vec<&(Part, Process)> = started.iter().collect();
    let mut why = String::new();
    let mut ended = None;
    patience.until(|| {
        waiting.retain(|(part, process)| {
            if !process.is_alive() {
                ended = Some(part);
            }
            match readiness::look(part) {
                Ok(()) => false,
                Err(error) => {
                    why = format!("{error:#}");
                    true
                }
            }
        });
        waiting.is_empty() || ended.is_some()
    });
    let (part, what) = match (ended, waiting.last()) {
        (Some(part), _) => (part, "ended instead of getting ready".to_owned()),
        (None, Some((part, _))) => (part, format!("is not ready after {} s ({why})", READY_PATIENCE.as_secs())),
        (None, None) => return Ok(()),
    };
    let log = site.log(&part.name);
    bail!("{} {what}. The end of {}:\n{}", part.name, log.display(), site.log_tail(&part.name, TAIL_LINES))
}

/// Readers see the old line or the new one, never half of it.
fn write_line(path: &Path, line: &str) -> Result<()> {
    write_private(path, format!("{line}\n").as_bytes())
}
