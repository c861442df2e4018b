//! What a user would pick instead, measured in the same run against the same KMS end.
//!
//! Each runs as a process of its own, with the worker's allocator and tokio's usual runtime, so that its CPU time can be told
//! like that of a service. It reads the ids of the keys from standard input, and writes an [`Ended`] to standard output.

#[cfg(feature = "apalis")]
pub mod apalis;
pub mod bare;
mod kms;

use std::{
    io::{self, Read as _, Write as _, stdin},
    process::{Command, Stdio},
};

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};
use tokio::runtime::Runtime;

use crate::processes::Snapshot;

/// Keys in flight at once.
pub const IN_FLIGHT: usize = 64;

/// What came of a contender.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Ended {
    /// Keys that were enabled.
    pub keys: usize,
    /// Seconds of the work, the set-up of the process not included.
    pub seconds: f64,
    /// CPU seconds of the process meanwhile.
    pub cpu_s: f64,
}

/// Starts a contender by its command and waits for its end.
async fn run(arguments: &[&str], keys: Vec<String>) -> Result<Ended> {
    let mut command = Command::new(std::env::current_exe().context("cannot find my own program")?);
    command
        .args(arguments)
        .env("AWS_REGION", end_to_end::kms_end::REGION)
        .env("AWS_ACCESS_KEY_ID", "AKIADEVELOPMENTONLY0")
        .env("AWS_SECRET_ACCESS_KEY", "development-only")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped());
    tokio::task::spawn_blocking(move || {
        let mut child = command.spawn().context("cannot start the contender")?;
        let mut input = child.stdin.take().context("the contender's input")?;
        input.write_all(keys.join("\n").as_bytes()).context("the contender takes no keys")?;
        drop(input);
        let output = child.wait_with_output().context("the contender")?;
        ensure!(output.status.success(), "the contender failed: {}", output.status);
        serde_json::from_slice(&output.stdout).context("the contender's result")
    })
    .await?
}

/// A contender's process.
fn main(runtime: io::Result<Runtime>, drive: impl AsyncFnOnce(Vec<String>) -> Result<Ended>) -> Result<()> {
    let mut text = String::new();
    stdin().read_to_string(&mut text).context("the keys")?;
    let keys = text.lines().map(ToOwned::to_owned).collect();
    let ended = runtime.context("the runtime")?.block_on(drive(keys))?;
    println!("{}", serde_json::to_string(&ended).context("the result")?);
    Ok(())
}

fn own_cpu_s() -> Result<f64> {
    Ok(Snapshot::now()?.cpu_alone(std::process::id()).as_secs_f64())
}
