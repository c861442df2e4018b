//! CPU time and memory of processes, from `/proc` (proc(5)).
//!
//! A part may be many processes (Postgres is one per connection), and some end while it is measured. Their time is not
//! lost: it goes to the parent that waited for them. So a part's time is that of the whole tree below its process, each
//! with what its ended children had taken, and the difference of two readings is what was used between them.

use std::{collections::HashMap, fs, time::Duration};

use anyhow::{Context, Result};

/// Clock ticks a second in `/proc`: `USER_HZ`, 100 on every architecture that Linux still builds for.
const TICKS_PER_SECOND: u64 = 100;

/// One reading of all processes' times.
#[derive(Debug)]
pub struct Snapshot(HashMap<u32, Stat>);

/// What `/proc/<pid>/stat` tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stat {
    parent: u32,
    /// Its own and those of the children it waited for, user and system.
    ticks: u64,
}

impl Snapshot {
    /// Reads all processes now.
    ///
    /// # Errors
    /// When there is no `/proc`.
    pub fn now() -> Result<Self> {
        let mut all = HashMap::new();
        for entry in fs::read_dir("/proc").context("cannot list /proc")? {
            let Some(pid) = entry.ok().and_then(|entry| entry.file_name().to_str()?.parse().ok()) else { continue };
            // One that has ended since the listing is its parent's by now.
            if let Some(stat) = fs::read_to_string(format!("/proc/{pid}/stat")).ok().and_then(|line| parse(&line)) {
                all.insert(pid, stat);
            }
        }
        Ok(Self(all))
    }

    /// The CPU time of a process and everything below it, ended children included.
    #[must_use]
    pub fn cpu(&self, root: u32) -> Duration {
        let ticks: u64 = self.0.iter().filter(|(pid, _)| self.is_below(**pid, root)).map(|(_, stat)| stat.ticks).sum();
        Duration::from_millis(ticks * 1_000 / TICKS_PER_SECOND)
    }

    /// The CPU time of one process and the children it waited for, without those that still run.
    #[must_use]
    pub fn cpu_alone(&self, pid: u32) -> Duration {
        let ticks = self.0.get(&pid).map_or(0, |stat| stat.ticks);
        Duration::from_millis(ticks * 1_000 / TICKS_PER_SECOND)
    }

    /// The processes of a tree.
    pub fn tree(&self, root: u32) -> impl Iterator<Item = u32> {
        self.0.keys().copied().filter(move |pid| self.is_below(*pid, root))
    }

    fn is_below(&self, pid: u32, root: u32) -> bool {
        let mut pid = pid;
        // Deeper than any real tree: the listing is no snapshot, so a reused id could make a ring.
        for _ in 0..64 {
            if pid == root {
                return true;
            }
            match self.0.get(&pid) {
                Some(stat) if stat.parent != 0 => pid = stat.parent,
                Some(_) | None => return false,
            }
        }
        false
    }
}

/// CPU time that the whole machine has used since its start, all cores together (`/proc/stat`; idle and waiting for disks
/// is not used, and time that the hypervisor took away is).
///
/// # Errors
/// When there is no `/proc`.
pub fn machine_cpu() -> Result<Duration> {
    let text = fs::read_to_string("/proc/stat").context("cannot read /proc/stat")?;
    let ticks = busy_ticks(&text).context("/proc/stat has no line of all CPUs")?;
    Ok(Duration::from_millis(ticks * 1_000 / TICKS_PER_SECOND))
}

/// A line of `/proc/<pid>/status` in kB: `VmHWM` (most resident memory so far), `VmRSS` (now).
#[must_use]
pub fn status_kb(pid: u32, name: &str) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    line.trim().trim_end_matches(" kB").parse().ok()
}

/// Resident memory in kB of which what is shared is counted in equal parts with those that share it (`Pss`): adds up over
/// processes that share much. The kernel may refuse it of other users' processes.
#[must_use]
pub fn shared_once_kb(pid: u32) -> Option<u64> {
    let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?;
    let line = rollup.lines().find_map(|line| line.strip_prefix("Pss:"))?;
    line.trim().trim_end_matches(" kB").parse().ok()
}

/// Lets `VmHWM` begin anew from what is resident now. Tells whether the kernel allowed it.
pub fn forget_peak(pid: u32) -> bool {
    fs::write(format!("/proc/{pid}/clear_refs"), "5").is_ok()
}

/// The second field is the program's name in brackets and may hold anything: fields are counted from the last closing
/// one. ppid is field 4; utime, stime, cutime, cstime are 14 to 17.
fn parse(line: &str) -> Option<Stat> {
    let fields: Vec<&str> = line.get(line.rfind(')')? + 1..)?.split_whitespace().collect();
    let ticks = fields.get(11..15)?.iter().map(|field| field.parse::<u64>().ok()).sum::<Option<u64>>()?;
    Some(Stat { parent: fields.get(1)?.parse().ok()?, ticks })
}

/// `cpu user nice system idle iowait irq softirq steal …`
fn busy_ticks(text: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix("cpu "))?;
    let fields: Vec<u64> = line.split_whitespace().filter_map(|field| field.parse().ok()).collect();
    let not_used = fields.get(3)? + fields.get(4)?;
    Some(fields.iter().take(8).sum::<u64>() - not_used)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(name: &str, parent: u32, times: [u64; 4]) -> Stat {
        let [user, system, waited_user, waited_system] = times;
        let text = format!(
            "9 ({name}) S {parent} 9 9 0 -1 4194560 1 0 0 0 {user} {system} {waited_user} {waited_system} 20 0 1 0 47 1 1"
        );
        parse(&text).unwrap()
    }

    #[test]
    fn a_name_with_brackets_does_not_shift_the_fields() {
        assert_eq!(line("a) b)", 7, [1, 2, 3, 4]), Stat { parent: 7, ticks: 10 });
        assert_eq!(parse("9 (cut) S 1"), None);
    }

    #[test]
    fn a_tree_is_all_that_descends_from_its_root_and_what_has_ended() {
        let all = [
            (10, line("postmaster", 1, [100, 0, 50, 0])),
            (11, line("backend", 10, [20, 5, 0, 0])),
            (12, line("helper", 11, [1, 0, 0, 0])),
            (13, line("stranger", 1, [999, 0, 0, 0])),
        ];
        let snapshot = Snapshot(all.into());
        assert_eq!(snapshot.cpu(10), Duration::from_millis(1_760));
        assert_eq!(snapshot.cpu(11), Duration::from_millis(260));
        assert_eq!(snapshot.cpu(99), Duration::ZERO);
        let mut tree: Vec<u32> = snapshot.tree(10).collect();
        tree.sort_unstable();
        assert_eq!(tree, [10, 11, 12]);
    }

    #[test]
    fn a_ring_of_parents_ends() {
        let snapshot = Snapshot([(1, line("a", 2, [1, 0, 0, 0])), (2, line("b", 1, [1, 0, 0, 0]))].into());
        assert_eq!(snapshot.cpu(3), Duration::ZERO);
    }

    #[test]
    fn waiting_is_not_using() {
        assert_eq!(busy_ticks("cpu  10 1 20 400 50 0 3 2 7 0\ncpu0 1 1 1 1 1\n"), Some(36));
        assert_eq!(busy_ticks("cpu0 1 1 1 1 1\n"), None);
    }

    #[test]
    fn this_process_has_a_size_and_is_in_its_own_tree() {
        let own = std::process::id();
        assert!(status_kb(own, "VmRSS").unwrap() > 0);
        assert!(Snapshot::now().unwrap().tree(own).any(|pid| pid == own));
        assert!(machine_cpu().unwrap() > Duration::ZERO);
    }
}
