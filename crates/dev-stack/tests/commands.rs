//! `up`, `restart`, `down` and `clean`, as scripts use them. Needs the services' executables beside the
//! test's own: `make test` builds them first.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use assert_cmd::cargo::cargo_bin;
use dev_stack::Signal;

/// A stack's folder that ends with the test, whatever happens in it.
struct Dir {
    root: tempfile::TempDir,
}

#[test]
fn a_stack_is_started_mended_stopped_continued_and_removed() {
    let dir = Dir { root: tempfile::tempdir().unwrap() };

    // The output ends with the command: nothing that stays holds its streams.
    succeed(&dir.run(&["up"]));
    let first = dir.env();
    let names = ["postgres", "rabbitmq", "kms-sim", "job-scheduler-1", "kms-worker-1", "api-gateway"];
    for name in names {
        let pid = dir.pid(name);
        assert_eq!(dir.program(name), program_of(name), "{name}");
        assert_eq!(session(pid), pid, "{name} should lead a session of its own");
        assert!(fs::read_to_string(dir.file(&format!("run/{name}.addr"))).unwrap().starts_with("127.0.0.1:"));
        assert!(dir.file(&format!("log/{name}.log")).is_file());
    }
    assert!(!dir.file("run/job-scheduler-2.pid").exists(), "SCHEDULERS=1");
    assert!(fs::read_to_string(&first["KEYFLEET_CA"]).unwrap().starts_with("-----BEGIN CERTIFICATE-----"));
    psql(&first, "CREATE TABLE kept (n int); INSERT INTO kept VALUES (42)");

    // A restart: the same port, another process, ready on return.
    let postgres = dir.pid("postgres");
    kill(postgres, Signal::KILL);
    succeed(&dir.run(&["restart", "postgres"]));
    assert_ne!(dir.pid("postgres"), postgres);
    assert_eq!(psql(&first, "SELECT n FROM kept"), "42");
    let worker = dir.pid("kms-worker-1");
    succeed(&dir.run(&["restart", "kms-worker-1"]));
    assert!(!is_running(worker) && is_running(dir.pid("kms-worker-1")));
    let unknown = dir.run(&["restart", "kms-worker-7"]);
    assert!(!unknown.status.success());
    assert!(String::from_utf8_lossy(&unknown.stderr).contains("there is no kms-worker-7 here"), "{unknown:?}");

    // Down: frozen or dead, everything ends.
    let pids = dir.pids();
    assert_eq!(pids.len(), names.len() + 1, "with RabbitMQ's port mapper: {pids:?}");
    kill(pids["kms-worker-1"], Signal::STOP);
    kill(pids["api-gateway"], Signal::KILL);
    succeed(&dir.run(&["down"]));
    assert_eq!(running(&pids), Vec::<&str>::new());
    assert!(dir.pids().is_empty());

    // Up again: the same data, ports and passwords.
    succeed(&dir.run(&["up"]));
    assert_eq!(dir.env(), first);
    assert_eq!(psql(&first, "SELECT n FROM kept"), "42");

    // Up over a half-dead stack ends that one first.
    let half = dir.pids();
    kill(half["rabbitmq"], Signal::KILL);
    succeed(&dir.run(&["up"]));
    assert_eq!(running(&half), Vec::<&str>::new());
    let whole = dir.pids();
    assert_eq!(running(&whole).len(), whole.len());

    succeed(&dir.run(&["clean"]));
    assert_eq!(running(&whole), Vec::<&str>::new());
    assert!(!dir.stack().exists());
}

#[test]
fn a_wrong_setting_is_named_and_nothing_starts() {
    let dir = Dir { root: tempfile::tempdir().unwrap() };
    let output = dir.command(&["up"]).env("WORKERS", "many").output().unwrap();
    assert!(!output.status.success());
    assert_eq!(String::from_utf8_lossy(&output.stderr), "WORKERS must be a number from 1 to 64, not \"many\"\n");
    assert!(dir.pids().is_empty());
}

impl Dir {
    fn stack(&self) -> PathBuf {
        self.root.path().join("dev")
    }

    fn file(&self, name: &str) -> PathBuf {
        self.stack().join(name)
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(cargo_bin("dev-stack"));
        command.args(arguments).env("STACK_DIR", self.stack()).env("WORKERS", "1").env("SCHEDULERS", "1");
        for given in ["DATABASE_URL", "AMQP_URL", "AWS_ENDPOINT_URL_KMS"] {
            command.env_remove(given);
        }
        command
    }

    fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().expect("the command can be started")
    }

    fn env(&self) -> BTreeMap<String, String> {
        let text = fs::read_to_string(self.file("stack.env")).expect("up writes stack.env");
        text.lines()
            .map(|line| line.split_once('=').expect("KEY=VALUE"))
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .collect()
    }

    fn pid(&self, name: &str) -> u32 {
        *self.pids().get(name).unwrap_or_else(|| panic!("no process id of {name}"))
    }

    fn pids(&self) -> BTreeMap<String, u32> {
        let files = fs::read_dir(self.file("run")).into_iter().flatten();
        files
            .map(|file| file.expect("the folder can be listed").path())
            .filter(|path| path.extension().is_some_and(|extension| extension == "pid"))
            .map(|path| {
                let name = path.file_stem().expect("it has one").to_string_lossy().into_owned();
                let text = fs::read_to_string(&path).expect("it can be read");
                (name, text.trim().parse().expect("one number"))
            })
            .collect()
    }

    fn program(&self, name: &str) -> String {
        let exe = fs::read_link(format!("/proc/{}/exe", self.pid(name))).expect("it runs");
        exe.file_name().expect("it has one").to_string_lossy().into_owned()
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = self.command(&["clean"]).output();
    }
}

fn program_of(name: &str) -> &str {
    match name {
        "rabbitmq" => "beam.smp",
        other => other.trim_end_matches("-1"),
    }
}

fn succeed(output: &Output) {
    assert!(output.status.success(), "{output:?}");
}

fn psql(env: &BTreeMap<String, String>, statement: &str) -> String {
    let output = Command::new("psql")
        .args(["-X", "-q", "-At", &env["DATABASE_URL"], "-c", statement])
        .output()
        .expect("psql can be started");
    succeed(&output);
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

fn kill(pid: u32, signal: Signal) {
    let pid = i32::try_from(pid).ok().and_then(rustix::process::Pid::from_raw).expect("a process id");
    rustix::process::kill_process(pid, signal).expect("it runs");
}

/// The fields of `/proc/<pid>/stat` after the name.
fn stat(pid: u32) -> Option<Vec<String>> {
    let line = fs::read_to_string(Path::new("/proc").join(pid.to_string()).join("stat")).ok()?;
    Some(line.rsplit_once(')')?.1.split_whitespace().map(ToOwned::to_owned).collect())
}

fn session(pid: u32) -> u32 {
    stat(pid).expect("it runs")[3].parse().expect("a number")
}

fn is_running(pid: u32) -> bool {
    stat(pid).is_some_and(|fields| fields[0] != "Z")
}

fn running(pids: &BTreeMap<String, u32>) -> Vec<&str> {
    pids.iter().filter(|(_, pid)| is_running(**pid)).map(|(name, _)| name.as_str()).collect()
}
