//! What the figures were measured on.

use std::{fs, io::Write as _, process::Command, thread};

use anyhow::{Context, Result};
use dev_stack::server_versions;
use serde::Serialize;
use service_kit::clock;

use crate::statistics::median;

/// Writes that are timed for [`Machine::fsync_ms`].
const SYNCS: usize = 50;

/// A machine, as far as it explains figures.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Machine {
    /// The processor's own name.
    pub cpu: String,
    /// Cores that this process may use.
    pub cores: usize,
    /// Memory in MB.
    pub memory_mb: u64,
    /// The kernel.
    pub kernel: String,
    /// The distribution.
    pub system: String,
    /// What Postgres and RabbitMQ say of themselves.
    pub servers: Vec<String>,
    /// Median time of an 8 kB write that waits for the disk, where the servers' data is, in milliseconds.
    pub fsync_ms: f64,
}

impl Machine {
    /// Describes this one.
    ///
    /// # Errors
    /// When the temporary folder cannot be written to.
    pub fn describe() -> Result<Self> {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let cpu = value(&read("/proc/cpuinfo"), "model name", ':');
        let memory = value(&read("/proc/meminfo"), "MemTotal", ':');
        Ok(Self {
            cpu: cpu.unwrap_or_else(|| std::env::consts::ARCH.to_owned()),
            cores: cores(),
            memory_mb: memory.and_then(|kb| kb.trim_end_matches(" kB").parse::<u64>().ok()).unwrap_or_default() / 1024,
            kernel: output("uname", "-sr"),
            system: value(&read("/etc/os-release"), "PRETTY_NAME", '=')
                .unwrap_or_default()
                .trim_matches('"')
                .to_owned(),
            servers: server_versions(),
            fsync_ms: fsync_ms()?,
        })
    }
}

/// Cores that this process may use.
#[must_use]
pub fn cores() -> usize {
    thread::available_parallelism().map_or(1, usize::from)
}

fn value(text: &str, name: &str, sign: char) -> Option<String> {
    let (_, value) = text.lines().filter_map(|line| line.split_once(sign)).find(|(key, _)| key.trim() == name)?;
    Some(value.trim().to_owned())
}

fn output(program: &str, argument: &str) -> String {
    let output = Command::new(program).arg(argument).output();
    output.map_or_else(|_| String::new(), |output| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

fn fsync_ms() -> Result<f64> {
    let mut file = tempfile::tempfile().context("cannot make a temporary file")?;
    let block = [7_u8; 8192];
    let mut times = Vec::new();
    for _ in 0..SYNCS {
        let from = clock::boottime();
        file.write_all(&block).and_then(|()| file.sync_data()).context("cannot write to the temporary folder")?;
        times.push(clock::boottime().since(from).as_secs_f64() * 1_000.0);
    }
    median(&times).context("nothing was timed")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_found_by_its_whole_name() {
        let text = "model\t\t: 17\nmodel name\t: EPYC: the second\nMemTotal:       24685568 kB\n";
        assert_eq!(value(text, "model name", ':').as_deref(), Some("EPYC: the second"));
        assert_eq!(value(text, "MemTotal", ':').as_deref(), Some("24685568 kB"));
        assert_eq!(value(text, "Mem", ':'), None);
    }

    #[test]
    fn this_machine_can_be_described() {
        let machine = Machine::describe().unwrap();
        assert!(machine.cores > 0 && machine.memory_mb > 0 && machine.fsync_ms > 0.0, "{machine:?}");
        assert!(machine.kernel.starts_with("Linux"), "{machine:?}");
    }
}
