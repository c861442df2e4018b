//! The private Postgres: where its programs are, a fresh cluster, how it is started, and what a
//! `kill -9` of the postmaster leaves behind.
//!
//! Race: backends outlive a killed postmaster for a moment (a busy or frozen one for longer) and hold
//! its shared memory; a new postmaster refuses to start over them. They are found by their working
//! directory, which is the data folder, and are waited for, then killed by id. The postmaster's own lock
//! file names a process that answers signals as long as it is a zombie, and where nobody reaps orphans
//! (a container without an init) it stays one: with nothing at work in the folder the file is removed.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustix::process::Signal;

use crate::accounts::{Account, give};
use crate::part::{Kind, Part};
use crate::patience::Patience;
use crate::process::{Process, Program};
use crate::servers::{Certified, Durability};

/// The role and the database of the stack.
pub(crate) const NAME: &str = "keyfleet";

/// A backend that only waits notices its postmaster's death at once; one at work when it is done.
const BACKEND_PATIENCE: Duration = Duration::from_secs(3);

/// A Postgres server to be.
#[derive(Debug)]
pub(crate) struct Postgres {
    /// Its data folder.
    pub data: PathBuf,
    /// Its port on 127.0.0.1.
    pub port: u16,
    /// The role's password.
    pub password: String,
    /// Whether a commit must survive a crash of the machine.
    pub durability: Durability,
    /// What it shows of itself by TLS.
    pub tls: Option<Certified>,
}

impl Postgres {
    /// Makes the cluster when there is none, and says how to start the server.
    ///
    /// # Errors
    /// When Postgres is not installed or `initdb` fails.
    pub(crate) fn prepare(&self) -> Result<Part> {
        let account = Account::for_server("postgres")?;
        if !self.data.join("PG_VERSION").is_file() {
            self.init(account)?;
        }
        let mut args = vec!["-D".to_owned(), self.data.display().to_string()];
        let port = format!("port={}", self.port);
        let mut settings = vec![
            port.as_str(),
            "listen_addresses=127.0.0.1",
            "unix_socket_directories=",
            // Several stacks of a test run share one server, each with the pools of all its services.
            "max_connections=500",
            "shared_buffers=128MB",
            "timezone=UTC",
            "log_timezone=UTC",
            "log_checkpoints=off",
        ];
        match self.durability {
            Durability::Durable => {}
            // The data is thrown away with the machine's crash anyway.
            Durability::Fast => settings.extend(["fsync=off", "full_page_writes=off"]),
        }
        if let Some(tls) = &self.tls {
            tls.give_copies(&self.data, account)?;
            settings.extend(["ssl=on", "ssl_cert_file=cert.pem", "ssl_key_file=key.pem"]);
        }
        for setting in settings {
            args.extend(["-c".to_owned(), setting.to_owned()]);
        }
        Ok(Part {
            name: "postgres".to_owned(),
            kind: Kind::Postgres { data: self.data.clone() },
            program: Program {
                exe: bin_dir()?.join("postgres"),
                args,
                env: crate::servers::base_env(),
                account,
                dir: self.data.clone(),
            },
            addr: SocketAddr::from((Ipv4Addr::LOCALHOST, self.port)),
        })
    }

    /// The URL of a database of this server.
    #[must_use]
    pub(crate) fn url(&self, database: &str) -> String {
        let checked = self.tls.as_ref().map(|tls| format!("?sslmode=verify-full&sslrootcert={}", tls.ca.display()));
        let checked = checked.unwrap_or_default();
        format!("postgres://{NAME}:{}@127.0.0.1:{}/{database}{checked}", self.password, self.port)
    }

    /// Makes the stack's database when there is none yet.
    ///
    /// # Errors
    /// When the server refuses.
    pub(crate) fn ensure_database(&self) -> Result<()> {
        let maintenance = self.url("postgres");
        let found = psql(&maintenance, &format!("SELECT count(*) FROM pg_database WHERE datname = '{NAME}'"))?;
        if found.trim() == "0" {
            psql(&maintenance, &format!("CREATE DATABASE {NAME}"))?;
        }
        Ok(())
    }

    fn init(&self, account: Option<Account>) -> Result<()> {
        // What an interrupted initdb left is no cluster.
        if self.data.exists() {
            fs::remove_dir_all(&self.data).with_context(|| format!("cannot clear {}", self.data.display()))?;
        }
        fs::create_dir_all(&self.data).with_context(|| format!("cannot make {}", self.data.display()))?;
        fs::set_permissions(&self.data, fs::Permissions::from_mode(0o700)).context("data folder")?;
        give(&self.data, account)?;
        let password_file = self.data.with_extension("password");
        crate::site::write_private(&password_file, self.password.as_bytes())?;
        give(&password_file, account)?;
        let mut command = Command::new(bin_dir()?.join("initdb"));
        command
            .args(["--no-sync", "--no-locale", "--encoding=UTF8", "--auth=scram-sha-256", "--username", NAME])
            .arg("--pgdata")
            .arg(&self.data)
            .arg("--pwfile")
            .arg(&password_file)
            .env_clear()
            .envs(crate::servers::base_env())
            .current_dir(&self.data)
            .stdin(Stdio::null());
        if let Some(account) = account {
            command.uid(account.uid).gid(account.gid);
        }
        let output = command.output().context("initdb could not be started");
        let removed = fs::remove_file(&password_file);
        let output = output?;
        removed.context("cannot remove the password file")?;
        if !output.status.success() {
            bail!("initdb failed: {}", String::from_utf8_lossy(&output.stderr).trim());
        }
        Ok(())
    }
}

/// Waits until nothing works in the data folder any more (what does not end is killed by its id), and
/// removes the lock file that a killed postmaster left.
///
/// # Errors
/// When something survives even that.
pub(crate) fn clear_leftovers(data: &Path) -> Result<()> {
    let at_work = || Process::all_in_dir(data, "postgres");
    if !Patience::of(BACKEND_PATIENCE).until(|| at_work().is_empty()) {
        for backend in at_work() {
            backend.stop(Signal::KILL, Duration::ZERO).context("an old Postgres backend")?;
        }
    }
    match fs::remove_file(data.join("postmaster.pid")) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).context("cannot remove postmaster.pid")
        }
        Ok(()) | Err(_) => Ok(()),
    }
}

/// The folder of Postgres's programs: Debian keeps them off the path, by version; the newest is taken.
///
/// # Errors
/// Says what to install.
pub(crate) fn bin_dir() -> Result<PathBuf> {
    let debian = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().filter_map(|entry| {
        let dir = entry.ok()?.path();
        let version: u32 = dir.file_name()?.to_str()?.parse().ok()?;
        Some((version, dir.join("bin")))
    });
    let newest = debian.filter(|(_, bin)| bin.join("postgres").is_file()).max();
    if let Some((_, bin)) = newest {
        return Ok(bin);
    }
    let on_path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&on_path)
        .find(|dir| dir.join("postgres").is_file() && dir.join("initdb").is_file())
        .context("PostgreSQL is not installed: run `scripts/install-servers servers` as root")
}

/// Runs one statement and gives its output, unaligned and without headers.
///
/// # Errors
/// With the server's own words.
pub(crate) fn psql(url: &str, statement: &str) -> Result<String> {
    let output = Command::new(bin_dir()?.join("psql"))
        .args(["--no-psqlrc", "--quiet", "--tuples-only", "--no-align", "--set=ON_ERROR_STOP=1"])
        .arg(url)
        .args(["--command", statement])
        .env("PGCONNECT_TIMEOUT", "10")
        .stdin(Stdio::null())
        .output()
        .context("psql could not be started")?;
    if !output.status.success() {
        bail!("psql: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
