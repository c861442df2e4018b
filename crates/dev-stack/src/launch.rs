//! From settings to a stack that is ready: what `make up`, the tests and the demo have in common.

use std::collections::BTreeMap;
use std::path::Path;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::part::{Part, await_ready};
use crate::patience::Patience;
use crate::process::Process;
use crate::servers::Servers;
use crate::services::{self, Services};
use crate::settings::StackSettings;
use crate::site::Site;
use crate::users::{self, Users};
use crate::{rabbitmq, readiness, tls};

/// How the schedulers' names begin.
const SCHEDULER: &str = "job-scheduler";
/// Migrations, and the term of an old leader that was killed: 4 s by default.
const LEADER_PATIENCE: Duration = Duration::from_secs(20);

/// How a running stack is reached.
#[derive(Debug)]
pub(crate) struct Launched {
    /// The gateways, `https://127.0.0.1:<port>`.
    pub urls: Vec<String>,
    /// Certificate of the development CA.
    pub ca_pem: String,
    /// Who can log in.
    pub users: Users,
    /// The KMS end.
    pub kms_endpoint: String,
    /// The parts, services and own servers alike, by name.
    pub parts: BTreeMap<String, Part>,
}

/// Starts the services over running servers and returns when all are ready.
///
/// # Errors
/// Names the service that did not get ready, with the end of its log. What was started keeps running:
/// the caller stops the site.
pub(crate) fn launch(site: &Site, settings: &StackSettings, servers: &Servers) -> Result<Launched> {
    let mut memory = site.memory()?;
    let users = users::ensure(site, &mut memory)?;
    let Services { parts, urls, kms_endpoint } = services::plan(site, &mut memory, settings, servers)?;
    site.remember(&memory)?;
    tls::ensure(site)?;
    let ca_pem = tls::ca_pem(site)?;

    // All at once, for they wait for one another; only who is to stand by starts when another leads.
    let mut started = Vec::new();
    let (first, standbys): (Vec<Part>, Vec<Part>) = parts.into_iter().partition(|part| !stands_by(part));
    let leader = first.iter().find(|part| part.name.starts_with(SCHEDULER)).map(|part| part.addr);
    for part in first {
        let process = part.start(site)?;
        started.push((part, process));
    }
    if let Some(leader) = leader.filter(|_| !standbys.is_empty()) {
        // When it does not come to lead, the standbys may; that something is wrong is told below.
        Patience::of(LEADER_PATIENCE).until(|| readiness::leads(leader) || started.iter().any(has_ended));
    }
    for part in standbys {
        let process = part.start(site)?;
        started.push((part, process));
    }
    await_ready(site, &started)?;
    let parts = site.parts()?.into_iter().map(|(part, _)| (part.name.clone(), part)).collect();
    Ok(Launched { urls, ca_pem, users, kms_endpoint, parts })
}

/// Starts a part again, dead or alive, as it was started before, and waits until it is ready.
///
/// # Errors
/// When there is no such part, it does not end, or does not get ready.
pub(crate) fn restart(site: &Site, name: &str) -> Result<Process> {
    again(site, name, None)
}

/// The same with the program of another folder.
///
/// # Errors
/// As there.
pub(crate) fn replace(site: &Site, name: &str, bin_dir: &Path) -> Result<Process> {
    again(site, name, Some(bin_dir))
}

fn again(site: &Site, name: &str, bin_dir: Option<&Path>) -> Result<Process> {
    let parts = site.parts()?;
    let find = |name: &str| parts.iter().find(|(part, _)| part.name == name);
    let Some((part, process)) = find(name) else {
        let mut names: Vec<&str> = parts.iter().map(|(part, _)| part.name.as_str()).collect();
        names.sort_unstable();
        anyhow::bail!("there is no {name} here; there are: {}", names.join(", "));
    };
    if part.name == rabbitmq::PART
        && let Some((epmd, process)) = find(rabbitmq::EPMD_PART)
        && !process.is_some_and(Process::is_alive)
    {
        start_ready(site, epmd)?;
    }
    if let Some(process) = process {
        part.ask_to_end(*process);
        part.await_end(*process)?;
    }
    let mut part = part.clone();
    if let Some((bin_dir, program)) = bin_dir.zip(part.program.exe.file_name()) {
        part.program.exe = bin_dir.join(program);
    }
    start_ready(site, &part)
}

/// Stops everything that was started in a site: first who calls, then who is called.
///
/// # Errors
/// When something does not end; the rest has been stopped then.
pub(crate) fn stop_all(site: &Site, how: Haste) -> Result<()> {
    let parts = site.parts()?;
    let mut result = Ok(());
    for rank in Rank::ALL {
        let these = || parts.iter().filter(|(part, _)| Rank::of(part) == rank);
        for (part, process) in these() {
            match (process, how) {
                (Some(process), Haste::Orderly) => part.ask_to_end(*process),
                (Some(process), Haste::AtOnce) => part.kill(*process),
                (None, _) => {}
            }
        }
        for (part, process) in these() {
            let ended = process.map_or(Ok(()), |process| part.await_end(process)).and_then(|()| part.forget(site));
            result = result.and(ended);
        }
    }
    result
}

/// How a stack is stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Haste {
    /// Everything finishes what it has begun: the data is kept.
    Orderly,
    /// Killed: the data is thrown away.
    AtOnce,
}

/// Who is stopped first. A worker's last reports want a scheduler, the scheduler wants its servers, and
/// RabbitMQ takes leave of its port mapper.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rank {
    Callers,
    Called,
    Servers,
    Epmd,
}

impl Rank {
    const ALL: [Self; 4] = [Self::Callers, Self::Called, Self::Servers, Self::Epmd];

    fn of(part: &Part) -> Self {
        use crate::part::Kind;
        match &part.kind {
            Kind::Service if part.name.starts_with(SCHEDULER) || part.name == "kms-sim" => Self::Called,
            Kind::Service => Self::Callers,
            Kind::Postgres { .. } | Kind::RabbitMq => Self::Servers,
            Kind::Epmd => Self::Epmd,
        }
    }
}

/// Every scheduler but the first.
fn stands_by(part: &Part) -> bool {
    part.name.strip_prefix(SCHEDULER).is_some_and(|number| number != "-1")
}

fn has_ended((_, process): &(Part, Process)) -> bool {
    !process.is_alive()
}

fn start_ready(site: &Site, part: &Part) -> Result<Process> {
    let process = part.start(site)?;
    await_ready(site, &[(part.clone(), process)])?;
    Ok(process)
}

/// Runs blocking work of this crate from async code, without a pool that shutdown would wait for.
///
/// # Errors
/// The work's own, or that it panicked.
pub(crate) async fn off_thread<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    let (tell, told) = tokio::sync::oneshot::channel();
    thread::Builder::new()
        .name("dev-stack".to_owned())
        .spawn(move || tell.send(work()))
        .context("cannot start a thread")?;
    told.await.context("the work panicked")?
}
