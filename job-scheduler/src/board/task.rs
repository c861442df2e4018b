//! A dispatched task on the board.

use std::time::Duration;

use job_model::{GoId, KeyAddress, Moment, Refusal, WorkerId};

/// Where a dispatched, unfinished task stands.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Phase {
    /// Waits for a worker that offers to run it, for its turn, a token, or its key.
    Waiting,
    /// A Go is open.
    Going(GoId),
    /// Tries again at its time.
    Pausing(Moment),
    /// Its key is to be looked at, not before the moment.
    LookDue(Moment, Why),
    /// A worker looks.
    Looking(u64, Why),
    /// Its final status is being written.
    Ending,
}

/// Why a key is looked at, which decides what is told if it is not in the asked state.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Why {
    /// Its job stops.
    Stop,
    /// It has lost five workers.
    Poison,
    /// It was tried long enough; this was said last.
    Exhausted(Refusal),
}

/// See the module.
#[derive(Debug)]
pub(super) struct Task {
    pub(super) key: KeyAddress,
    /// Index of its lane on the board.
    pub(super) lane: usize,
    /// Its lane's number in the job.
    pub(super) number: u16,
    pub(super) phase: Phase,
    /// Stands in its lane's queue.
    pub(super) queued: bool,
    /// Workers that hold a delivery of it and have asked.
    pub(super) offers: Vec<WorkerId>,
    pub(super) attempts: u32,
    /// Gos whose worker was lost.
    pub(super) lost: u32,
    /// An earlier try may have changed the key, last at this moment.
    pub(super) doubt: Option<Moment>,
    /// An observe-only Go found the call is needed.
    pub(super) needs_acting: bool,
    /// Its next Go goes on with a try that has its token of the job's own pace.
    pub(super) paced: bool,
    /// A mutating request was, or may have been, sent.
    pub(super) wrote: bool,
    pub(super) failing_since: Option<Moment>,
    pub(super) failures: u32,
    pub(super) looking_since: Option<Moment>,
    /// Dispatched, or last asked for.
    pub(super) heard_at: Moment,
    /// Its offer was last published, or asked for.
    pub(super) offered_at: Moment,
    /// How often its offer was published again since a worker asked for it.
    pub(super) copies: u32,
    /// Dispatched by an earlier leader, whose workers may be at it.
    pub(super) inherited: bool,
    pub(super) state_before: String,
    /// Of the last try.
    pub(super) took: Option<Duration>,
    /// Whose report ended it, and of which Go.
    pub(super) reported_by: Option<(WorkerId, GoId)>,
}

impl Task {
    pub(super) const fn new(key: KeyAddress, lane: usize, number: u16, now: Moment, inherited: bool) -> Self {
        Self {
            key,
            lane,
            number,
            phase: Phase::Waiting,
            queued: false,
            offers: Vec::new(),
            attempts: 0,
            lost: 0,
            doubt: None,
            needs_acting: false,
            paced: false,
            wrote: false,
            failing_since: None,
            failures: 0,
            looking_since: None,
            heard_at: now,
            offered_at: now,
            copies: 0,
            inherited,
            state_before: String::new(),
            took: None,
            reported_by: None,
        }
    }
}
