//! `with-servers`: the command gets working servers, its exit code comes back, and nothing stays.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use assert_cmd::cargo::cargo_bin;

/// A mark that the servers inherit, so that a test recognises its own among other runs' servers.
const MARK: &str = "DEV_STACK_RUN";

#[test]
fn gives_servers_and_the_exit_code_and_leaves_nothing() {
    let mark = uuid::Uuid::new_v4().simple().to_string();
    let dir = open_tempdir();
    // Every process that runs meanwhile, and what the servers say about themselves.
    let script = format!(
        "set -e; psql -X -At -c 'SELECT 40 + 2' \"$DATABASE_URL\" > {0}/answer; echo $AMQP_URL > {0}/amqp; exit 7",
        dir.path().display()
    );
    let status = Command::new(cargo_bin("dev-stack"))
        .args(["with-servers", "--", "sh", "-c", &script])
        .env(MARK, &mark)
        .env("TMPDIR", dir.path())
        .status()
        .unwrap();
    assert_eq!(status.code(), Some(7));
    assert_eq!(fs::read_to_string(dir.path().join("answer")).unwrap(), "42\n");
    assert!(fs::read_to_string(dir.path().join("amqp")).unwrap().starts_with("amqp://keyfleet:"));
    assert_eq!(marked(&mark), Vec::<u32>::new());
    assert_eq!(data_folders(dir.path()), 0);
}

#[test]
fn leaves_nothing_even_when_it_is_killed_itself() {
    let mark = uuid::Uuid::new_v4().simple().to_string();
    let dir = open_tempdir();
    let mut child = Command::new(cargo_bin("dev-stack"))
        .args(["with-servers", "--", "sh", "-c", "echo started; exec sleep 600"])
        .env(MARK, &mark)
        .env("TMPDIR", dir.path())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    std::io::BufRead::read_line(&mut std::io::BufReader::new(child.stdout.as_mut().unwrap()), &mut line).unwrap();
    assert_eq!(line, "started\n");
    assert!(marked(&mark).len() >= 2, "the servers should run by now");

    child.kill().unwrap();
    child.wait().unwrap();
    let gone = (0..600).any(|_| {
        thread::sleep(Duration::from_millis(50));
        marked(&mark).is_empty() && data_folders(dir.path()) == 0
    });
    assert!(gone, "still running: {:?}, folders: {}", marked(&mark), data_folders(dir.path()));
}

#[test]
fn what_a_command_leaves_is_swept_after_it() {
    let dir = open_tempdir();
    // A process that outlives its parent, a file in the temporary folder, and both told to us.
    let script = format!(
        "setsid sleep 600 </dev/null >/dev/null 2>&1 & echo $! > {0}/pid; mktemp > {0}/file; exit 3",
        dir.path().display()
    );
    let status = Command::new(cargo_bin("dev-stack"))
        .args(["sweep-after", "--", "sh", "-c", &script])
        .env("TMPDIR", dir.path())
        .status()
        .unwrap();
    assert_eq!(status.code(), Some(3));
    let told = |name: &str| fs::read_to_string(dir.path().join(name)).unwrap().trim().to_owned();
    // One that nobody reaps has no environment any more.
    let environment = fs::read(Path::new("/proc").join(told("pid")).join("environ")).unwrap_or_default();
    assert!(environment.is_empty(), "the process still runs");
    assert!(!Path::new(&told("file")).exists(), "the file is still there");
    assert_eq!(data_folders(dir.path()), 0);
}

/// One that Postgres's account may enter.
fn open_tempdir() -> tempfile::TempDir {
    let dir = tempfile::tempdir().expect("a temporary folder");
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).expect("it is ours");
    dir
}

/// Running processes with the mark in their environment.
fn marked(mark: &str) -> Vec<u32> {
    let entry = format!("{MARK}={mark}");
    fs::read_dir("/proc")
        .expect("Linux has it")
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter(|pid: &u32| {
            let environ = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
            environ.split(|byte| *byte == 0).any(|word| word == entry.as_bytes())
        })
        .collect()
}

fn data_folders(dir: &Path) -> usize {
    fs::read_dir(dir)
        .expect("the folder is there")
        .filter(|entry| entry.as_ref().is_ok_and(|entry| entry.file_name().to_string_lossy().starts_with("keyfleet-")))
        .count()
}
