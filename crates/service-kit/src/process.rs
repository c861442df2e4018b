//! What the kernel says of this process, in the names Prometheus uses for it everywhere.
//!
//! Read from the kernel at each scrape rather than kept as gauges: they are always of the moment, and the CPU seconds
//! are a counter with fractions, which the `metrics` crate has not.

use std::{fmt::Write, fs};

use rustix::time::{ClockId, clock_gettime};

/// The lines to append to `/metrics`. A file that cannot be read leaves its lines out.
pub(crate) fn render() -> String {
    let mut out = String::new();
    if let Ok(status) = fs::read_to_string("/proc/self/status") {
        let line = |out: &mut String, name, help, field| {
            if let Some(kib) = kib_of(&status, field) {
                metric(out, name, "gauge", help, kib * 1024);
            }
        };
        line(&mut out, "process_resident_memory_bytes", "Memory in RAM now.", "VmRSS:");
        line(&mut out, "process_resident_memory_peak_bytes", "The most memory in RAM so far.", "VmHWM:");
        line(&mut out, "process_virtual_memory_bytes", "Address space now.", "VmSize:");
    }
    let cpu = clock_gettime(ClockId::ProcessCPUTime);
    let cpu = format!("{}.{:09}", cpu.tv_sec, cpu.tv_nsec);
    metric(&mut out, "process_cpu_seconds_total", "counter", "CPU time used, user and system.", cpu);
    if let Ok(dir) = fs::read_dir("/proc/self/fd") {
        // Reading the directory holds one itself.
        metric(&mut out, "process_open_fds", "gauge", "Open file descriptors.", dir.count().saturating_sub(1));
    }
    if let Ok(dir) = fs::read_dir("/proc/self/task") {
        metric(&mut out, "process_threads", "gauge", "Threads.", dir.count());
    }
    out
}

fn metric(out: &mut String, name: &str, kind: &str, help: &str, value: impl std::fmt::Display) {
    write!(out, "# HELP {name} {help}\n# TYPE {name} {kind}\n{name} {value}\n").expect("a String takes all");
}

/// The number of a line like `VmRSS:     1234 kB`.
fn kib_of(status: &str, field: &str) -> Option<u64> {
    status.lines().find_map(|line| line.strip_prefix(field))?.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_uses_memory_and_files() {
        let text = render();
        for name in ["process_resident_memory_bytes", "process_resident_memory_peak_bytes", "process_open_fds"] {
            let line = text.lines().find(|line| line.starts_with(&format!("{name} "))).unwrap();
            assert!(line.rsplit_once(' ').unwrap().1.parse::<u64>().unwrap() > 0, "{line}");
        }
        assert!(text.contains("process_cpu_seconds_total "));
    }
}
