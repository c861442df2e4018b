//! Gates that tests put in a request's way, so that they can wait for a moment instead of guessing it.
//!
//! A held request is held even when its client has gone: released later it does what it came for, as a request does
//! that was under way in the network while its sender died.

use std::sync::{
    Mutex, PoisonError,
    atomic::{AtomicBool, Ordering},
};

use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::operation::Operation;

/// On which side of the work a request waits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum When {
    /// Before it takes effect.
    #[default]
    Before,
    /// After it has taken effect, before it is answered.
    After,
}

/// The gates of a simulator.
#[derive(Debug)]
pub(crate) struct Holds {
    /// Whether there is any gate, so that most requests need not lock.
    any: AtomicBool,
    gates: Mutex<Vec<Gate>>,
    waiting: watch::Sender<[u32; Operation::COUNT]>,
}

#[derive(Clone, Debug)]
struct Gate {
    op: Operation,
    when: When,
    key: Option<String>,
    opened: CancellationToken,
}

impl Holds {
    pub(crate) fn new() -> Self {
        Self {
            any: AtomicBool::new(false),
            gates: Mutex::new(Vec::new()),
            waiting: watch::Sender::new([0; Operation::COUNT]),
        }
    }

    /// Puts a gate before or after the work of this operation, of one key or of all.
    pub(crate) fn hold(&self, op: Operation, when: When, key: Option<String>) {
        let mut gates = self.gates.lock().unwrap_or_else(PoisonError::into_inner);
        gates.push(Gate { op, when, key, opened: CancellationToken::new() });
        self.any.store(true, Ordering::Release);
    }

    /// Opens the gates of this operation (of all, without one) for good.
    pub(crate) fn release(&self, op: Option<Operation>) {
        let mut gates = self.gates.lock().unwrap_or_else(PoisonError::into_inner);
        gates.retain(|gate| {
            let opens = op.is_none_or(|op| gate.op == op);
            if opens {
                gate.opened.cancel();
            }
            !opens
        });
        self.any.store(!gates.is_empty(), Ordering::Release);
    }

    /// Whether any gate stands anywhere.
    pub(crate) fn any(&self) -> bool {
        self.any.load(Ordering::Acquire)
    }

    /// Waits at the gates in the way of this request.
    pub(crate) async fn pass(&self, op: Operation, when: When, key: Option<&str>) {
        while let Some(opened) = self.find(op, when, key) {
            let _counted = Counted::new(&self.waiting, op);
            opened.cancelled().await;
        }
    }

    /// How many requests of each operation are waiting.
    pub(crate) fn waiting(&self) -> watch::Receiver<[u32; Operation::COUNT]> {
        self.waiting.subscribe()
    }

    fn find(&self, op: Operation, when: When, key: Option<&str>) -> Option<CancellationToken> {
        if !self.any() {
            return None;
        }
        let gates = self.gates.lock().unwrap_or_else(PoisonError::into_inner);
        let blocks =
            |gate: &&Gate| gate.op == op && gate.when == when && (gate.key.is_none() || gate.key.as_deref() == key);
        gates.iter().find(blocks).map(|gate| gate.opened.clone())
    }
}

/// Counts a waiting request until it is dropped, however it ends.
struct Counted<'a> {
    waiting: &'a watch::Sender<[u32; Operation::COUNT]>,
    op: Operation,
}

impl<'a> Counted<'a> {
    fn new(waiting: &'a watch::Sender<[u32; Operation::COUNT]>, op: Operation) -> Self {
        waiting.send_modify(|counts| counts[op.index()] += 1);
        Self { waiting, op }
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.waiting.send_modify(|counts| counts[self.op.index()] -= 1);
    }
}
