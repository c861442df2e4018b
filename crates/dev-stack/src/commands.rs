//! `up`, `down`, `restart` and `clean`: the stack that stays, in `.dev` or where `STACK_DIR` says.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;

use anyhow::{Context, Result};

use crate::env_file::EnvFile;
use crate::launch::{self, Haste, Launched, stop_all};
use crate::process::Process;
use crate::servers::Servers;
use crate::settings::StackSettings;
use crate::site::{Site, write_private};

/// The file of settings that a running stack leaves for others.
const ENV_FILE: &str = "stack.env";

/// Starts the stack in `root` as the environment asks, and returns when it is ready.
///
/// # Errors
/// Says which service is not ready, with the end of its log; everything is stopped again then.
pub fn up(root: &Path, env: &BTreeMap<String, String>) -> Result<()> {
    let settings = StackSettings::from_env(env)?;
    let site = Site::open(root)?;
    let _turn = take_turn(&site)?;
    if site.parts()?.iter().any(|(_, process)| process.is_some_and(Process::is_alive)) {
        say(&format!("A stack still runs in {}: stopping it first.", root.display()));
    }
    stop_all(&site, Haste::Orderly)?;
    if let Some(lost) = site.lost_data()? {
        say(&format!("The data in {} is gone: starting with empty servers.", lost.display()));
    }
    let started = start(&site, &settings);
    if started.is_err() {
        say("The stack did not get ready. Stopping what was started.");
        stop_all(&site, Haste::Orderly)?;
    }
    let (launched, servers) = started?;
    let file = site.root().join(ENV_FILE);
    write_private(&file, describe(&site, &settings, &launched, &servers).text().as_bytes())?;
    say(&format!(
        "Ready: {} (user {}). Settings and passwords are in {}, logs in {}. `make down` stops it.",
        launched.urls.join(", "),
        launched.users.admin.name,
        root.join(ENV_FILE).display(),
        root.join("log").display(),
    ));
    Ok(())
}

/// Stops the stack in `root`; its data is kept.
///
/// # Errors
/// When something does not end.
pub fn down(root: &Path) -> Result<()> {
    let Some(site) = Site::existing(root)? else {
        say(&format!("Nothing to stop: no stack was started in {}.", root.display()));
        return Ok(());
    };
    let _turn = take_turn(&site)?;
    let parts = site.parts()?;
    stop_all(&site, Haste::Orderly)?;
    say(&match parts.len() {
        0 => format!("Nothing runs in {}.", root.display()),
        count => format!("Stopped {count} processes. `make up` goes on with the data, `make clean` removes it."),
    });
    Ok(())
}

/// Starts one part again, dead or alive.
///
/// # Errors
/// When there is no such part, or it does not get ready.
pub fn restart(root: &Path, name: &str) -> Result<()> {
    let none = || format!("no stack was started in {}: `make up` starts one", root.display());
    let site = Site::existing(root)?.with_context(none)?;
    let _turn = take_turn(&site)?;
    let process = launch::restart(&site, name)?;
    say(&format!("{name} is ready again, as process {}.", process.pid));
    Ok(())
}

/// Stops the stack in `root` and removes it, data and all.
///
/// # Errors
/// When something does not end or a folder resists.
pub fn clean(root: &Path) -> Result<()> {
    if let Some(site) = Site::existing(root)? {
        let _turn = take_turn(&site)?;
        stop_all(&site, Haste::Orderly)?;
        site.remove()?;
    }
    say(&format!("{} and its data are gone.", root.display()));
    Ok(())
}

fn start(site: &Site, settings: &StackSettings) -> Result<(Launched, Servers)> {
    let own = |given: &Option<String>, name: &str| {
        if given.is_some() { format!("the {name} that was given") } else { format!("a {name} of its own") }
    };
    say(&format!(
        "Starting the stack with {} and {}.",
        own(&settings.given.database_url, "Postgres"),
        own(&settings.given.amqp_url, "RabbitMQ"),
    ));
    let servers = Servers::start(site, settings.durability, &settings.given, settings.to_servers)?;
    say(&format!(
        "Starting {} scheduler(s), {} worker(s) and {} gateway(s) against {}.",
        settings.schedulers,
        settings.workers,
        settings.gateways,
        settings.kms_endpoint.as_deref().unwrap_or("a simulated KMS"),
    ));
    let launched = launch::launch(site, settings, &servers)?;
    Ok((launched, servers))
}

fn describe(site: &Site, settings: &StackSettings, launched: &Launched, servers: &Servers) -> EnvFile {
    let mut file = EnvFile::default();
    file.set("KEYFLEET_URL", &launched.urls[0]);
    file.set("KEYFLEET_URLS", launched.urls.join(","));
    file.set("KEYFLEET_CA", site.tls(crate::tls::CA).display().to_string());
    for (suffix, user) in [("", &launched.users.admin), ("2", &launched.users.nobody), ("3", &launched.users.stranger)]
    {
        file.set(&format!("KEYFLEET_USER{suffix}"), &user.name);
        file.set(&format!("KEYFLEET_PASSWORD{suffix}"), &user.password);
    }
    file.set("DATABASE_URL", &servers.database_url);
    file.set("AMQP_URL", &servers.amqp_url);
    file.set("AWS_ENDPOINT_URL_KMS", &launched.kms_endpoint);
    for key in ["AWS_REGION", "AWS_ACCOUNT_ID", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"] {
        if let Some(value) = settings.aws.get(key) {
            file.set(key, value);
        }
    }
    file
}

/// One command at a time per stack; the turn ends with the file.
fn take_turn(site: &Site) -> Result<File> {
    let file = File::create(site.root().join("lock")).context("cannot make the lock file")?;
    file.lock().context("cannot take the lock")?;
    Ok(file)
}

fn say(sentence: &str) {
    println!("{sentence}");
}
