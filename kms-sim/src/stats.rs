//! Counts of requests per operation and outcome, for `/_sim/stats` and `/metrics`.

use std::{
    collections::BTreeMap,
    sync::{
        OnceLock,
        atomic::{AtomicU64, Ordering},
    },
};

use crate::{operation::Operation, outcome::Outcome};

/// The counters.
#[derive(Debug)]
pub(crate) struct Stats {
    cells: Vec<Cell>,
}

#[derive(Debug, Default)]
struct Cell {
    count: AtomicU64,
    metric: OnceLock<metrics::Counter>,
}

impl Stats {
    pub(crate) fn new() -> Self {
        // One more row for operations the simulator does not know.
        Self { cells: (0..(Operation::COUNT + 1) * Outcome::COUNT).map(|_| Cell::default()).collect() }
    }

    pub(crate) fn count(&self, op: Option<Operation>, outcome: Outcome) {
        let cell = &self.cells[index(op, outcome)];
        cell.count.fetch_add(1, Ordering::Relaxed);
        let register = || {
            let operation = op.map_or("Unknown", Operation::name);
            metrics::counter!("kms_sim_requests_total", "operation" => operation, "outcome" => outcome.name())
        };
        cell.metric.get_or_init(register).increment(1);
    }

    /// The counts above 0, by operation and outcome.
    pub(crate) fn read(&self) -> BTreeMap<&'static str, BTreeMap<&'static str, u64>> {
        let mut all: BTreeMap<_, BTreeMap<_, _>> = BTreeMap::new();
        for op in Operation::ALL.into_iter().map(Some).chain([None]) {
            for outcome in Outcome::all() {
                let count = self.cells[index(op, outcome)].count.load(Ordering::Relaxed);
                if count > 0 {
                    all.entry(op.map_or("Unknown", Operation::name)).or_default().insert(outcome.name(), count);
                }
            }
        }
        all
    }

    pub(crate) fn reset(&self) {
        for cell in &self.cells {
            cell.count.store(0, Ordering::Relaxed);
        }
    }
}

fn index(op: Option<Operation>, outcome: Outcome) -> usize {
    op.map_or(Operation::COUNT, Operation::index) * Outcome::COUNT + outcome.index()
}
