//! The keeper: a process that stops a temporary stack when its owner is gone, however that ended.
//!
//! The owner (a test run, the demo) holds the writing end of the keeper's standard input. Its end, by
//! return, panic or `kill -9`, closes it; then the keeper stops what the site records, then whatever
//! still carries the run's mark in its environment (services that a crashed test left), and removes
//! the site. The owner itself stops nothing: there is one way down, and it is always taken.

use std::io::{Read, stdin};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustix::process::Signal;
use uuid::Uuid;

use crate::launch::{Haste, stop_all};
use crate::process::Process;
use crate::site::Site;

/// The mark: every process of one run has the run's own value of it in its environment.
pub(crate) const RUN_ENV: &str = "DEV_STACK_RUN";

/// A running keeper; dropping it lets the keeper do its work.
#[derive(Debug)]
pub(crate) struct Keeper {
    child: Child,
    line: Option<ChildStdin>,
    mark: String,
}

impl Keeper {
    /// Starts the keeper of `site`. `program` is the `dev-stack` executable.
    ///
    /// # Errors
    /// When it cannot be started.
    pub(crate) fn start(program: &Path, site: &Site) -> Result<Self> {
        let mark = Uuid::new_v4().simple().to_string();
        let mut child = Command::new("setsid")
            .arg(program)
            .arg("keep")
            .arg(site.root())
            .arg(&mark)
            // Not part of what it sweeps, nor of what an outer run sweeps before it is done.
            .env_remove(RUN_ENV)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .context("the keeper could not be started")?;
        let line = child.stdin.take();
        Ok(Self { child, line, mark })
    }

    /// The value of the mark for this run's processes.
    #[must_use]
    pub(crate) fn mark(&self) -> &str {
        &self.mark
    }

    /// Lets the keeper do its work and waits for it.
    ///
    /// # Errors
    /// When something could not be stopped or removed.
    pub(crate) fn finish(mut self) -> Result<()> {
        drop(self.line.take());
        let status = self.child.wait().context("the keeper")?;
        if status.success() {
            return Ok(());
        }
        bail!("the stack could not be stopped whole: {status}")
    }
}

/// The keeper's own work: waits for the owner's end, then stops, sweeps and removes.
///
/// # Errors
/// When something could not be stopped or removed; the rest is done all the same.
pub fn keep(root: &Path, mark: &str) -> Result<()> {
    // Nothing is ever written; what counts is the end.
    let _ = stdin().read_to_end(&mut Vec::new());
    let site = Site::open(root)?;
    let stopped = stop_all(&site, Haste::AtOnce);
    for left in Process::all_with_env(&format!("{RUN_ENV}={mark}")) {
        left.stop(Signal::KILL, Duration::ZERO)?;
    }
    stopped?;
    site.remove()
}
