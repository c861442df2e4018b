//! Commands that leave nothing: `with-servers -- CMD…` with a private Postgres and RabbitMQ, `sweep-after -- CMD…` without.
//! Whatever stacks the command started end with it, also when it is killed.

use std::os::unix::process::ExitStatusExt;
use std::process::{Command, ExitStatus};

use anyhow::{Context, Result};
use rustix::process::Signal;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

use crate::keeper::{Keeper, RUN_ENV};
use crate::launch::off_thread;
use crate::process::Process;
use crate::scratch::CONTROL_ENV;
use crate::servers::{Durability, Given, Servers, Wire};
use crate::site::Site;

/// Runs the command with `DATABASE_URL`, `AMQP_URL` and what [`crate::scratch`] needs, and gives its
/// exit code (128 + the signal's number when a signal ended it).
///
/// # Errors
/// When the servers or the command could not be started, or the servers not be stopped.
pub async fn with_servers(command: &[String]) -> Result<u8> {
    kept(command, async |site, command| {
        let servers =
            off_thread(move || Servers::start(&site, Durability::Fast, &Given::default(), Wire::Plain)).await?;
        command.env("DATABASE_URL", &servers.database_url).env("AMQP_URL", &servers.amqp_url);
        if let Some(control) = &servers.control {
            command.env(CONTROL_ENV, control.to_text());
        }
        Ok(())
    })
    .await
}

/// Runs the command, with a temporary folder that is removed after it, and gives its exit code as [`with_servers`] does.
///
/// # Errors
/// When the command could not be started, or what it left not be stopped.
pub async fn sweep_after(command: &[String]) -> Result<u8> {
    kept(command, async |site, command| {
        command.env("TMPDIR", site.memory()?.data);
        Ok(())
    })
    .await
}

/// Runs a command as `prepare` leaves it, under a keeper.
async fn kept(words: &[String], prepare: impl AsyncFnOnce(Site, &mut Command) -> Result<()>) -> Result<u8> {
    let (program, args) = words.split_first().context("no command given after `--`")?;
    let own_program = std::env::current_exe().context("cannot find my own program")?;
    let site = Site::temporary()?;
    let keeper = Keeper::start(&own_program, &site)?;
    let mut command = Command::new(program);
    command.args(args).env(RUN_ENV, keeper.mark());
    let result = match prepare(site, &mut command).await {
        Ok(()) => run(command).await.with_context(|| format!("cannot run {program}")),
        Err(error) => Err(error),
    };
    off_thread(move || keeper.finish()).await?;
    result.map(exit_code)
}

/// Runs it to its end. A request to end that reaches us is passed on, not obeyed: the command decides.
async fn run(mut command: Command) -> Result<ExitStatus> {
    let kinds = [
        (SignalKind::interrupt(), Signal::INT),
        (SignalKind::terminate(), Signal::TERM),
        (SignalKind::hangup(), Signal::HUP),
    ];
    let (tell, mut told) = mpsc::channel(8);
    for (kind, passed_on) in kinds {
        let mut arrivals = signal(kind).context("cannot listen for signals")?;
        let tell = tell.clone();
        tokio::spawn(async move {
            while arrivals.recv().await.is_some() {
                if tell.send(passed_on).await.is_err() {
                    return;
                }
            }
        });
    }
    let mut child = command.spawn()?;
    let process = Process::now(child.id());
    let mut end = tokio::task::spawn_blocking(move || child.wait());
    loop {
        tokio::select! {
            status = &mut end => return Ok(status.context("waiting panicked")??),
            Some(signal) = told.recv() => {
                if let Some(process) = process {
                    process.signal(signal);
                }
            }
        }
    }
}

fn exit_code(status: ExitStatus) -> u8 {
    let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal));
    code.and_then(|code| u8::try_from(code).ok()).unwrap_or(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signal_becomes_128_and_its_number() {
        assert_eq!(exit_code(ExitStatus::from_raw(3 << 8)), 3);
        assert_eq!(exit_code(ExitStatus::from_raw(15)), 143);
    }
}
