//! One operating-system process: started detached, recognised, signalled and stopped.
//!
//! Races: an id is reused once its process is gone, so a process is its id *and* its start time; a
//! killed child of ours stays a zombie until it is waited for, so a zombie counts as gone and is
//! reaped when seen.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, WaitOptions, kill_process, waitpid};
use serde::{Deserialize, Serialize};

use crate::accounts::Account;
use crate::patience::Patience;

/// What `SIGKILL` may take; only a process stuck in the kernel needs longer.
const KILL_PATIENCE: Duration = Duration::from_secs(5);

/// A program as it is to be started.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Program {
    /// The executable's full path.
    pub exe: PathBuf,
    /// Its arguments.
    pub args: Vec<String>,
    /// Its whole environment: nothing else is inherited.
    pub env: BTreeMap<String, String>,
    /// The account it runs as; the caller's when `None`.
    pub account: Option<Account>,
    /// Its working directory.
    pub dir: PathBuf,
}

/// A process, recognised again after its id was reused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Process {
    /// The process id.
    pub pid: u32,
    /// Start time in clock ticks since boot, as in `/proc/<pid>/stat`.
    started: u64,
}

/// What `/proc/<pid>/stat` tells.
struct Stat {
    state: char,
    started: u64,
}

impl Process {
    /// Starts `program` in a session of its own, its output appended to `log`.
    ///
    /// # Errors
    /// When the executable or the log's folder does not exist, or the process could not be started.
    pub(crate) fn spawn(program: &Program, log: &Path) -> Result<Self> {
        // setsid(1) would tell this in the log only.
        if !program.exe.is_file() {
            bail!("there is no program {}", program.exe.display());
        }
        let out = OpenOptions::new()
            .create(true)
            .append(true)
            .open(log)
            .with_context(|| format!("cannot write the log {}", log.display()))?;
        // A freshly forked child leads no process group, so setsid(1) execs in place: same id.
        let mut command = Command::new("setsid");
        command
            .arg(&program.exe)
            .args(&program.args)
            .env_clear()
            .envs(&program.env)
            .current_dir(&program.dir)
            .stdin(Stdio::null())
            .stderr(out.try_clone().context("cannot share the log")?)
            .stdout(out);
        if let Some(account) = program.account {
            command.uid(account.uid).gid(account.gid);
        }
        let child = command.spawn().with_context(|| format!("cannot start {}", program.exe.display()))?;
        let pid = child.id();
        let Some(stat) = Stat::read(pid) else {
            bail!("{} was gone as soon as it was started", program.exe.display());
        };
        Ok(Self { pid, started: stat.started })
    }

    /// Whether it still runs (a frozen one does, a zombie does not).
    #[must_use]
    pub(crate) fn is_alive(self) -> bool {
        match Stat::read(self.pid) {
            Some(stat) if stat.started == self.started => {
                if stat.state == 'Z' {
                    self.reap();
                    return false;
                }
                stat.state != 'X'
            }
            Some(_) | None => false,
        }
    }

    /// Sends a signal, unless the process is gone.
    pub(crate) fn signal(self, signal: Signal) {
        if self.is_alive()
            && let Some(pid) = self.raw()
        {
            // It may end between the look and the signal; then there is nobody to tell.
            let _ = kill_process(pid, signal);
        }
    }

    /// Asks it to end with `first`, and kills it when it has not within `patience`.
    ///
    /// # Errors
    /// When it survives even `SIGKILL`.
    pub(crate) fn stop(self, first: Signal, patience: Duration) -> Result<()> {
        self.ask(first);
        self.see_off(Patience::of(patience))
    }

    /// Sends `signal`, also to a frozen process: the signal waits for it, then it is thawed.
    pub(crate) fn ask(self, signal: Signal) {
        self.signal(signal);
        self.signal(Signal::CONT);
    }

    /// Waits until it has ended, and kills it when patience runs out.
    ///
    /// # Errors
    /// When it survives even `SIGKILL`.
    pub(crate) fn see_off(self, patience: Patience) -> Result<()> {
        if patience.until(|| !self.is_alive()) {
            return Ok(());
        }
        self.signal(Signal::KILL);
        if Patience::of(KILL_PATIENCE).until(|| !self.is_alive()) {
            return Ok(());
        }
        bail!("process {} does not end", self.pid)
    }

    /// Every process whose environment holds `entry` (`KEY=VALUE`), but not the caller itself.
    #[must_use]
    pub(crate) fn all_with_env(entry: &str) -> Vec<Self> {
        all_pids()
            .filter(|pid| *pid != std::process::id())
            .filter(|pid| {
                fs::read(format!("/proc/{pid}/environ"))
                    .is_ok_and(|environ| environ.split(|byte| *byte == 0).any(|word| word == entry.as_bytes()))
            })
            .filter_map(Self::now)
            .collect()
    }

    /// Every process of the program `name` (the executable's file name) that works in `dir`.
    pub(crate) fn all_in_dir(dir: &Path, name: &str) -> Vec<Self> {
        let is = |link: String, found: &dyn Fn(PathBuf) -> bool| fs::read_link(link).is_ok_and(found);
        all_pids()
            .filter(|pid| is(format!("/proc/{pid}/cwd"), &|cwd| cwd == dir))
            .filter(|pid| is(format!("/proc/{pid}/exe"), &|exe| exe.file_name().is_some_and(|exe| exe == name)))
            .filter_map(Self::now)
            .filter(|process| process.is_alive())
            .collect()
    }

    /// The process that has this id now.
    #[must_use]
    pub(crate) fn now(pid: u32) -> Option<Self> {
        Stat::read(pid).map(|stat| Self { pid, started: stat.started })
    }

    fn raw(self) -> Option<Pid> {
        i32::try_from(self.pid).ok().and_then(Pid::from_raw)
    }

    /// Takes the exit status of a child of ours; another process's child is left to its parent.
    fn reap(self) {
        if let Some(pid) = self.raw() {
            let _ = waitpid(Some(pid), WaitOptions::NOHANG);
        }
    }
}

impl Stat {
    fn read(pid: u32) -> Option<Self> {
        Self::parse(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
    }

    /// The second field is the program's name in brackets and may hold anything, brackets and blanks
    /// too: fields are counted from the last closing one. See proc(5): state is 3, starttime 22.
    fn parse(line: &str) -> Option<Self> {
        let fields: Vec<&str> = line.get(line.rfind(')')? + 1..)?.split_whitespace().collect();
        Some(Self { state: fields.first()?.chars().next()?, started: fields.get(19)?.parse().ok()? })
    }
}

fn all_pids() -> impl Iterator<Item = u32> {
    fs::read_dir("/proc").into_iter().flatten().filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sleeper(dir: &Path, script: &str) -> Process {
        let program = Program {
            exe: "/bin/sh".into(),
            args: vec!["-c".into(), script.into()],
            env: [("PATH".into(), "/usr/bin:/bin".into()), ("MARK".into(), dir.display().to_string())].into(),
            account: None,
            dir: dir.into(),
        };
        Process::spawn(&program, &dir.join("log")).unwrap()
    }

    #[test]
    fn a_name_with_brackets_does_not_shift_the_fields() {
        let line = "7 (a) b) S 1 7 7 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 4711 1 1";
        let stat = Stat::parse(line).unwrap();
        assert_eq!((stat.state, stat.started), ('S', 4711));
    }

    #[test]
    fn a_frozen_process_is_stopped() {
        let dir = tempfile::tempdir().unwrap();
        let process = sleeper(dir.path(), "exec sleep 600");
        process.signal(Signal::STOP);
        assert!(process.is_alive());
        process.stop(Signal::TERM, Duration::from_secs(10)).unwrap();
        assert!(!process.is_alive());
    }

    #[test]
    fn a_process_that_ignores_the_request_is_killed() {
        let dir = tempfile::tempdir().unwrap();
        let process = sleeper(dir.path(), "trap '' TERM; while :; do sleep 0.1; done");
        process.stop(Signal::TERM, Duration::from_millis(200)).unwrap();
        assert!(!process.is_alive());
    }

    #[test]
    fn another_process_under_the_same_id_is_not_taken_for_it() {
        let dir = tempfile::tempdir().unwrap();
        let process = sleeper(dir.path(), "exec sleep 600");
        let stranger = Process { started: process.started + 1, ..process };
        assert!(!stranger.is_alive());
        stranger.signal(Signal::KILL);
        assert!(process.is_alive());
        process.stop(Signal::KILL, Duration::from_secs(5)).unwrap();
    }

    #[test]
    fn finds_processes_by_mark_and_folder() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path().canonicalize().unwrap();
        let process = sleeper(&dir, "exec sleep 600");
        // Both are in place once the program itself runs.
        let mark = format!("MARK={}", dir.display());
        assert!(Patience::of(Duration::from_secs(5)).until(|| Process::all_with_env(&mark) == [process]));
        assert!(Patience::of(Duration::from_secs(5)).until(|| Process::all_in_dir(&dir, "sleep") == [process]));
        assert_eq!(Process::all_in_dir(&dir, "sh"), []);
        process.stop(Signal::KILL, Duration::from_secs(5)).unwrap();
        assert_eq!(Process::all_in_dir(&dir, "sleep"), []);
    }
}
