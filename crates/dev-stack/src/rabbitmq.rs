//! The private RabbitMQ, with its own Erlang port mapper.
//!
//! Debian's `rabbitmq-server` on the path switches users and knows one node; the script in the
//! package's library folder takes everything from its environment. Told that it runs under systemd it
//! replaces its shell by the Erlang VM, so the id of the started process is the VM's own. The port
//! mapper is started first, so that Erlang does not start a daemon of its own that nobody would stop.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::accounts::{Account, give};
use crate::part::{Kind, Part};
use crate::process::Program;
use crate::servers::Certified;
use crate::site::write_private;

/// The user and the virtual host of the stack.
pub(crate) const NAME: &str = "keyfleet";
/// The server's name as a part.
pub(crate) const PART: &str = "rabbitmq";
/// The port mapper's name as a part.
pub(crate) const EPMD_PART: &str = "epmd";

/// A RabbitMQ server to be.
#[derive(Debug)]
pub(crate) struct RabbitMq {
    /// Its folder.
    pub data: PathBuf,
    /// AMQP port on 127.0.0.1.
    pub port: u16,
    /// Port of Erlang's distribution protocol, for commands to the node.
    pub distribution_port: u16,
    /// Port of its own port mapper.
    pub epmd_port: u16,
    /// The user's password.
    pub password: String,
    /// Erlang's shared secret: who has it may command the node.
    pub cookie: String,
    /// Port of AMQP by TLS on 127.0.0.1, and what it shows of itself there.
    pub tls: Option<(u16, Certified)>,
}

/// Where commands for a running node go, written `127.0.0.1:port/cookie` where it is passed on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Control {
    address: String,
    cookie: String,
}

impl RabbitMq {
    /// Writes the configuration and says how to start port mapper and server, in this order.
    ///
    /// # Errors
    /// When RabbitMQ is not installed or its folder cannot be written.
    pub(crate) fn prepare(&self) -> Result<[Part; 2]> {
        let account = Account::for_server("rabbitmq")?;
        fs::create_dir_all(&self.data).with_context(|| format!("cannot make {}", self.data.display()))?;
        fs::set_permissions(&self.data, fs::Permissions::from_mode(0o700)).context("data folder")?;
        give(&self.data, account)?;
        if let Some((_, tls)) = &self.tls {
            tls.give_copies(&self.data, account)?;
        }
        for (name, mode, content) in [
            ("rabbitmq.conf", 0o600, self.config()),
            ("enabled_plugins", 0o600, "[].\n".to_owned()),
            // Erlang refuses a cookie that others could read or change.
            (".erlang.cookie", 0o400, self.cookie.clone()),
        ] {
            let path = self.data.join(name);
            write_private(&path, content.as_bytes())?;
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).context("RabbitMQ's settings")?;
            give(&path, account)?;
        }
        let part = |name: &str, kind, port, exe, args, env| Part {
            name: name.to_owned(),
            kind,
            program: Program { exe, args, env, account, dir: self.data.clone() },
            addr: SocketAddr::from((Ipv4Addr::LOCALHOST, port)),
        };
        let epmd_args = ["-port", &self.epmd_port.to_string(), "-address", "127.0.0.1"].map(ToOwned::to_owned).to_vec();
        Ok([
            part(EPMD_PART, Kind::Epmd, self.epmd_port, on_path("epmd")?, epmd_args, crate::servers::base_env()),
            part(PART, Kind::RabbitMq, self.port, server_script()?, Vec::new(), self.env()),
        ])
    }

    /// The URL of a virtual host of this server (a name without signs that a URL would escape).
    #[must_use]
    pub(crate) fn url(&self, virtual_host: &str) -> String {
        let (scheme, port) = match &self.tls {
            Some((port, _)) => ("amqps", *port),
            None => ("amqp", self.port),
        };
        format!("{scheme}://{NAME}:{}@127.0.0.1:{port}/{virtual_host}", self.password)
    }

    /// How to command it.
    #[must_use]
    pub(crate) fn control(&self) -> Control {
        Control { address: format!("127.0.0.1:{}", self.distribution_port), cookie: self.cookie.clone() }
    }

    fn config(&self) -> String {
        let Self { port, password, .. } = self;
        // A frozen consumer keeps its deliveries until its heartbeat is missed: 5 s, as the stop protocol
        // assumes. Memory: the write-ahead log of quorum queues is kept in memory too, 512 MB by default.
        let tls = self.tls.as_ref().map(|(port, _)| {
            let data = self.data.display();
            format!(
                "listeners.ssl.1 = 127.0.0.1:{port}\n\
                 ssl_options.certfile = {data}/cert.pem\n\
                 ssl_options.keyfile = {data}/key.pem\n\
                 ssl_options.verify = verify_none\n\
                 ssl_options.fail_if_no_peer_cert = false\n"
            )
        });
        format!(
            "listeners.tcp.1 = 127.0.0.1:{port}\n\
             heartbeat = 5\n\
             default_user = {NAME}\n\
             default_pass = {password}\n\
             default_vhost = {NAME}\n\
             vm_memory_high_watermark.absolute = 1GB\n\
             disk_free_limit.absolute = 50MB\n\
             raft.wal_max_size_bytes = 33554432\n\
             log.console = true\n\
             log.console.level = info\n\
             {}",
            tls.unwrap_or_default()
        )
    }

    fn env(&self) -> BTreeMap<String, String> {
        let path = |name: &str| self.data.join(name).display().to_string();
        let mut env = crate::servers::base_env();
        env.extend(
            [
                ("HOME", self.data.display().to_string()),
                ("ERL_EPMD_PORT", self.epmd_port.to_string()),
                ("ERL_EPMD_ADDRESS", "127.0.0.1".to_owned()),
                ("RUNNING_UNDER_SYSTEMD", "true".to_owned()),
                ("RABBITMQ_NODENAME", format!("{NAME}@localhost")),
                ("RABBITMQ_DIST_PORT", self.distribution_port.to_string()),
                ("RABBITMQ_CONFIG_FILE", path("rabbitmq.conf")),
                // These do not exist: the machine's own settings must not be read instead.
                ("RABBITMQ_CONF_ENV_FILE", path("rabbitmq-env.conf")),
                ("RABBITMQ_ADVANCED_CONFIG_FILE", path("advanced.config")),
                ("RABBITMQ_ENABLED_PLUGINS_FILE", path("enabled_plugins")),
                ("RABBITMQ_MNESIA_BASE", path("mnesia")),
                ("RABBITMQ_LOG_BASE", path("log")),
                ("RABBITMQ_PID_FILE", path("pid")),
                ("RABBITMQ_GENERATED_CONFIG_DIR", path("generated")),
                ("RABBITMQ_LOGS", "-".to_owned()),
                // Table sizes for a million processes are memory for nothing here.
                ("RABBITMQ_MAX_NUMBER_OF_PROCESSES", "131072".to_owned()),
                ("RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS", "-kernel inet_dist_use_interface {127,0,0,1} +B i".to_owned()),
            ]
            .map(|(key, value)| (key.to_owned(), value)),
        );
        env
    }
}

impl Control {
    /// The form in which it is passed on.
    #[must_use]
    pub(crate) fn to_text(&self) -> String {
        format!("{}/{}", self.address, self.cookie)
    }

    /// Reads what [`Control::to_text`] wrote.
    #[must_use]
    pub(crate) fn from_text(text: &str) -> Option<Self> {
        let (address, cookie) = text.split_once('/')?;
        Some(Self { address: address.to_owned(), cookie: cookie.to_owned() })
    }

    /// Makes a virtual host and gives the stack's user all rights in it.
    ///
    /// # Errors
    /// With the node's words.
    pub(crate) fn add_virtual_host(&self, name: &str) -> Result<()> {
        self.run(&format!(
            "U = <<\"{NAME}\">>, V = <<\"{name}\">>, ok = rabbit_vhost:add(V, U), \
             ok = rabbit_auth_backend_internal:set_permissions(U, V, <<\".*\">>, <<\".*\">>, <<\".*\">>, U)."
        ))
        .map(drop)
    }

    /// Removes a virtual host with everything in it; its connections are closed.
    ///
    /// # Errors
    /// With the node's words.
    pub(crate) fn remove_virtual_host(&self, name: &str) -> Result<()> {
        self.run(&format!("ok = rabbit_vhost:delete(<<\"{name}\">>, <<\"{NAME}\">>).")).map(drop)
    }

    /// Closes every client's connection.
    ///
    /// # Errors
    /// With the node's words.
    pub(crate) fn close_connections(&self) -> Result<()> {
        self.run(
            "[catch rabbit_networking:close_connection(C, <<\"closed by an operator\">>) \
             || C <- rabbit_networking:connections()], ok.",
        )
        .map(drop)
    }

    /// Closes one channel of somebody's, as the broker does with one that broke a rule: a different one each time.
    ///
    /// # Errors
    /// With the node's words.
    pub(crate) fn close_a_channel(&self) -> Result<()> {
        self.run(
            "case rabbit_channel:list() of [] -> ok; Cs -> C = lists:nth(rand:uniform(length(Cs)), Cs), \
             exit(C, {amqp_error, precondition_failed, \"closed by an operator\", none}), ok end.",
        )
        .map(drop)
    }

    /// Raises the alarm that its disk is full, or ends it: while it is up, nobody may publish.
    ///
    /// # Errors
    /// With the node's words.
    pub(crate) fn disk_alarm(&self, full: bool) -> Result<()> {
        let alarm = "{resource_limit, disk, node()}";
        self.run(&if full {
            format!("rabbit_alarm:set_alarm({{{alarm}, []}}), ok.")
        } else {
            format!("rabbit_alarm:clear_alarm({alarm}), ok.")
        })
        .map(drop)
    }

    /// How many queues it has, and how many messages are in them.
    ///
    /// # Errors
    /// With the node's words.
    pub(crate) fn queues(&self) -> Result<(usize, usize)> {
        let said = self.run(
            "Qs = rabbit_amqqueue:list(), {ok, length(Qs), \
             lists:sum([N || Q <- Qs, [{messages, N}] <- [rabbit_amqqueue:info(Q, [messages])], is_integer(N)])}.",
        )?;
        // {ok, {ok, 5, 17}}
        let mut numbers = said.split(|c: char| !c.is_ascii_digit()).filter_map(|digits| digits.parse().ok());
        numbers.next().zip(numbers.next()).with_context(|| format!("RabbitMQ said {said}"))
    }

    /// Deletes a queue of the stack's own virtual host, when it is there.
    ///
    /// # Errors
    /// With the node's words.
    pub(crate) fn delete_queue(&self, name: &str) -> Result<()> {
        self.run(&format!(
            "case rabbit_amqqueue:lookup(rabbit_misc:r(<<\"{NAME}\">>, queue, <<\"{name}\">>)) of \
             {{ok, Q}} -> rabbit_amqqueue:delete(Q, false, false, <<\"{NAME}\">>); {{error, not_found}} -> ok end."
        ))
        .map(drop)
    }

    /// `erl_call` does in 15 ms what `rabbitmqctl` does in 2 s: it starts no Erlang VM.
    fn run(&self, expression: &str) -> Result<String> {
        let mut child = Command::new(on_path("erl_call")?)
            // A name of its own: the node refuses two callers of one name at a time.
            .args(["-h", &uuid::Uuid::new_v4().simple().to_string(), "-address", &self.address])
            .args(["-c", &self.cookie, "-timeout", "30", "-r", "-e"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .context("erl_call could not be started")?;
        if let Some(mut stdin) = child.stdin.take() {
            // Without the end of line the last form counts as unfinished.
            stdin.write_all(format!("{expression}\n").as_bytes()).context("erl_call does not listen")?;
        }
        let output = child.wait_with_output().context("erl_call")?;
        let said = String::from_utf8_lossy(&output.stdout);
        if output.status.success() && said.starts_with("{ok") {
            return Ok(said.trim().to_owned());
        }
        bail!("RabbitMQ refused: {}{}", said.trim(), String::from_utf8_lossy(&output.stderr).trim())
    }
}

/// The package's own script; the newest version when there are several.
/// The installed server's name and version, such as `rabbitmq_server-3.10.8`: that of its folder.
///
/// # Errors
/// When RabbitMQ is not installed.
pub(crate) fn version() -> Result<String> {
    let script = server_script()?;
    let folder = script.ancestors().nth(2).and_then(Path::file_name).context("the server's folder")?;
    Ok(folder.to_string_lossy().into_owned())
}

fn server_script() -> Result<PathBuf> {
    let scripts = fs::read_dir("/usr/lib/rabbitmq/lib").into_iter().flatten().filter_map(|entry| {
        let script = entry.ok()?.path().join("sbin/rabbitmq-server");
        script.is_file().then_some(script)
    });
    scripts.max().context("RabbitMQ is not installed: run `scripts/install-servers servers` as root")
}

fn on_path(name: &str) -> Result<PathBuf> {
    let on_path = std::env::var_os("PATH").unwrap_or_default();
    let usual = [Path::new("/usr/bin"), Path::new("/usr/lib/erlang/bin")];
    std::env::split_paths(&on_path)
        .chain(usual.map(Path::to_owned))
        .map(|dir| dir.join(name))
        .find(|file| file.is_file())
        .with_context(|| format!("Erlang's {name} is not installed: run `scripts/install-servers servers` as root"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_survives_being_passed_on() {
        let control = Control { address: "127.0.0.1:15000".to_owned(), cookie: "abc".to_owned() };
        assert_eq!(Control::from_text(&control.to_text()), Some(control));
        assert_eq!(Control::from_text("nothing"), None);
    }
}
