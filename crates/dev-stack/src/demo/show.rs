//! What the demo shows: a progress bar (lines where nobody watches), and a small table.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::io::{IsTerminal, stdout};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::gateway::Job;

/// Progress of one job.
pub(super) enum Progress {
    Bar(ProgressBar),
    /// A line per quarter, for logs.
    Lines {
        total: usize,
        told: Cell<usize>,
    },
}

impl Progress {
    pub(super) fn new(total: usize) -> Self {
        if !stdout().is_terminal() {
            return Self::Lines { total, told: Cell::new(0) };
        }
        let bar = ProgressBar::with_draw_target(u64::try_from(total).ok(), ProgressDrawTarget::stdout());
        if let Ok(style) = ProgressStyle::with_template("   {wide_bar} {pos}/{len} keys  {elapsed}") {
            bar.set_style(style);
        }
        Self::Bar(bar)
    }

    pub(super) fn at(&self, done: usize) {
        match self {
            Self::Bar(bar) => bar.set_position(done as u64),
            Self::Lines { total, told } => {
                let quarter = (done * 4).checked_div(*total).unwrap_or(0);
                if quarter > told.get() {
                    told.set(quarter);
                    println!("   {done} of {total} keys");
                }
            }
        }
    }

    /// Leaves the bar as it is.
    pub(super) fn finish(&self) {
        match self {
            Self::Bar(bar) => bar.abandon(),
            Self::Lines { .. } => {}
        }
    }
}

/// What became of a job and what it took.
pub(super) fn table(job: &Job, took: Duration, requests: &BTreeMap<String, u64>) {
    for line in table_lines(job, took, requests) {
        println!("   {line}");
    }
}

/// A duration for people.
pub(super) fn seconds(duration: Duration) -> String {
    format!("{:.1} s", duration.as_secs_f64())
}

fn table_lines(job: &Job, took: Duration, requests: &BTreeMap<String, u64>) -> Vec<String> {
    let mut rows = vec![("status".to_owned(), job.overall_status.clone())];
    let shown = ["succeeded", "already", "failed", "canceled", "in_progress"];
    for name in shown {
        let count = job.counts.get(name).copied().unwrap_or_default();
        if count > 0 {
            let name = if name == "already" { "of them already so".to_owned() } else { format!("keys {name}") };
            rows.push((name, count.to_string()));
        }
    }
    rows.push(("time".to_owned(), seconds(took)));
    rows.extend(requests.iter().map(|(operation, count)| (format!("{operation} requests"), count.to_string())));
    let width = rows.iter().map(|(name, _)| name.len()).max().unwrap_or_default();
    rows.iter().map(|(name, value)| format!("{name:width$}  {value:>9}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_shows_what_happened_and_leaves_out_what_did_not() {
        let job = Job {
            operation: "enablekey".to_owned(),
            overall_status: "completed".to_owned(),
            counts: [("succeeded".to_owned(), 3), ("failed".to_owned(), 0)].into(),
            detailed_status: BTreeMap::new(),
        };
        let lines = table_lines(&job, Duration::from_millis(2340), &[("EnableKey".to_owned(), 3)].into());
        assert_eq!(
            lines,
            [
                "status              completed",
                "keys succeeded              3",
                "time                    2.3 s",
                "EnableKey requests          3",
            ]
        );
    }
}
