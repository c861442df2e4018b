//! The leader's mind: which task may go, what has ended, and when a job has stopped.
//!
//! Pure: events come in with the time they came at, and [`Effects`] go out. The loop around it (`leader`) does the I/O and
//! tells the outcome as another event. One actor handles one event after the other, so the order of the steps that
//! the stop protocol depends on is the order of the lines here. `crates/job-model/tests/stop_protocol` checks that
//! protocol in the same words.
//!
//! Invariants:
//! - a task is in [`Board::tasks`] from before its first publication until its final status is committed; one that is
//!   not there is final, or was never dispatched, and gets `Never`;
//! - a key is held by at most one open Go over all jobs; a dry run's, which changes nothing, holds none and waits for none;
//! - a Go stays open until its report, or until the lease it came under has ended and the operation timeout after it;
//! - a job finishes only when every task of it has been given to the writer and no dispatch of it is under way; the
//!   writer commits in order, the last status before the finish.

mod bucket;
mod give;
mod job;
mod lanes;
mod looks;
mod pages;
mod reports;
mod stops;
mod task;
#[cfg(test)]
mod tests;
mod unheard;
mod workers;
mod writes;

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, HashMap, HashSet, VecDeque},
    time::Duration,
};

use job_model::{GoId, JobId, KeyAddress, Lane, Moment, Reading, TaskRef, WorkerId, places::PlaceQuotas};

pub use job::{NewJob, NewLane};
pub use looks::Sight;
pub use pages::{Ask, Leaf, NewWalk, Page, Step, WalkId, Walked};
pub use reports::Report;
pub use workers::Hello;

use self::{
    bucket::Bucket,
    job::Job,
    lanes::LaneState,
    looks::OpenLook,
    pages::{OpenPage, Walk},
    task::Task,
    workers::{OpenGo, Worker},
    writes::Writes,
};
use crate::store::report::FinalTask;

/// What the board is set to.
#[derive(Clone, Debug)]
pub struct Settings {
    /// How long a worker may act on one renewal.
    pub lease: Duration,
    /// The longest one KMS request may take.
    pub operation_timeout: Duration,
    /// The pace of each lane.
    pub quotas: PlaceQuotas,
}

/// How much of a lane's work is outstanding: enough that no worker runs dry, little enough that a slow lane does not
/// fill the workers' prefetch.
const WINDOW: Duration = Duration::from_secs(2);
/// At least so many tasks of a lane, and of each job in it, are outstanding.
const WINDOW_LEAST: usize = 2;
/// And of an unlimited lane at the most so many.
const WINDOW_MOST: usize = 4096;
/// After so many Gos whose worker was lost, a task is held to be what kills them.
const POISON_AFTER: u32 = 5;
/// How long a task is tried again after failures that pass, throttling excepted.
const RETRY_FOR: Duration = Duration::from_secs(5 * 60);

/// One connection of a worker. A new one takes the place of an old.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionId(pub u64);

/// A Go as it is sent.
#[derive(Clone, Debug)]
pub struct Go {
    /// Its number.
    pub go: GoId,
    /// The task.
    pub task: TaskRef,
    /// Its key.
    pub key: KeyAddress,
    /// It may act; otherwise it only observes and decides.
    pub acting: bool,
    /// An earlier try may have changed the key a moment ago.
    pub doubted: bool,
    /// The reading can be believed.
    pub trust_reading: bool,
}

/// A look as it is sent.
#[derive(Clone, Debug)]
pub struct Look {
    /// Its number.
    pub look: u64,
    /// Whose request says what is asked.
    pub job: JobId,
    /// The key.
    pub key: KeyAddress,
}

/// A lease as it is sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    /// The heartbeat it answers.
    pub number: u64,
    /// From when that heartbeat was sent.
    pub span: Duration,
    /// All jobs that are stopping.
    pub aborted: Vec<JobId>,
}

/// What goes to one session in one turn.
#[derive(Debug, Default)]
pub struct Frame {
    /// A renewal.
    pub lease: Option<Lease>,
    /// Jobs whose spec this session needs first.
    pub specs: Vec<JobId>,
    /// Permits.
    pub gos: Vec<Go>,
    /// Refusals for ever.
    pub nevers: Vec<TaskRef>,
    /// Reports taken, and whether their task is final.
    pub report_acks: Vec<(GoId, TaskRef, bool)>,
    /// Jobs that stop.
    pub aborts: Vec<JobId>,
    /// Reads to make.
    pub looks: Vec<Look>,
    /// Jobs that have finished.
    pub forget: Vec<JobId>,
    /// Pages to read.
    pub pages: Vec<Ask>,
}

/// Part of a job to dispatch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dispatch {
    /// The job.
    pub job: JobId,
    /// Its lane's number.
    pub lane: u16,
    /// How many tasks.
    pub limit: u32,
    /// The cursor as the board knows it.
    pub from: u32,
    /// No task of the lane below this seq is unfinished.
    pub low: u32,
}

/// What is to be done. The loop takes it after each turn.
#[derive(Debug, Default)]
pub struct Effects {
    /// Frames by session.
    pub frames: HashMap<SessionId, Frame>,
    /// Final statuses to write; `written` answers.
    pub writes: Vec<FinalTask>,
    /// Cursors to move; `dispatched` answers.
    pub dispatches: Vec<Dispatch>,
    /// Offers to publish.
    pub publish: Vec<TaskRef>,
    /// Jobs to finish; `finished` answers.
    pub finish: Vec<JobId>,
    /// Aborts that workers know of and the store does not; `abort_committed` answers.
    pub aborts: Vec<JobId>,
    /// Workers to remember; `registered` answers.
    pub register: Vec<(WorkerId, String)>,
    /// Workers to forget.
    pub unregister: Vec<WorkerId>,
    /// Pages to store, and walks to end; `walked` answers.
    pub walked: Vec<Walked>,
}

impl Effects {
    fn frame(&mut self, session: SessionId) -> &mut Frame {
        self.frames.entry(session).or_default()
    }
}

/// See the module.
#[derive(Debug)]
pub struct Board {
    settings: Settings,
    epoch: u32,
    next_go: u64,
    next_look: u64,
    /// Nothing is given past this moment unless the leadership is renewed.
    term_end: Moment,
    /// Until then tasks dispatched by an earlier leader wait, for a worker of its may still be at them.
    inherited_until: Moment,
    /// The keys of those tasks, which wait for other jobs too, and the tasks that wait for them.
    inherited_keys: HashSet<KeyAddress>,
    held_back: Vec<TaskRef>,
    /// Workers of earlier leaders that have not declared what they have open.
    predecessors: HashSet<WorkerId>,
    workers: HashMap<WorkerId, Worker>,
    sessions: HashMap<SessionId, WorkerId>,
    jobs: HashMap<JobId, Job>,
    tasks: HashMap<TaskRef, Task>,
    lanes: Vec<LaneState>,
    /// By what they are, and whether of dry runs.
    lane_ids: HashMap<(Lane, bool), usize>,
    readings: HashMap<Reading, Bucket>,
    gos: HashMap<GoId, OpenGo>,
    /// Who holds a key.
    held: HashMap<KeyAddress, GoId>,
    /// Who waits for it.
    queued_for: HashMap<KeyAddress, Vec<TaskRef>>,
    /// Tasks that do something at a time: their pause ends, or their look is due.
    timers: BinaryHeap<Reverse<(Moment, TaskRef)>>,
    looks: HashMap<u64, OpenLook>,
    /// Tasks whose look is due and has no worker yet.
    looks_due: VecDeque<TaskRef>,
    /// Synchronizations, by account and Region.
    walks: HashMap<WalkId, Walk>,
    next_page: u64,
    pages: HashMap<u64, OpenPage>,
    writes: Writes,
    swept_at: Moment,
    surveyed_at: Moment,
    effects: Effects,
}

impl Board {
    /// An empty board of the leader of `epoch`, whose term ends at `term_end`. Tasks added as inherited wait until
    /// `inherited_until`, or until all `predecessors` have declared what they have open.
    pub fn new(
        settings: Settings,
        epoch: u32,
        term_end: Moment,
        inherited_until: Moment,
        predecessors: HashSet<WorkerId>,
    ) -> Self {
        Self {
            settings,
            epoch,
            next_go: 1,
            next_look: 1,
            term_end,
            inherited_until,
            inherited_keys: HashSet::new(),
            held_back: Vec::new(),
            predecessors,
            workers: HashMap::new(),
            sessions: HashMap::new(),
            jobs: HashMap::new(),
            tasks: HashMap::new(),
            lanes: Vec::new(),
            lane_ids: HashMap::new(),
            readings: HashMap::new(),
            gos: HashMap::new(),
            held: HashMap::new(),
            queued_for: HashMap::new(),
            timers: BinaryHeap::new(),
            looks: HashMap::new(),
            looks_due: VecDeque::new(),
            walks: HashMap::new(),
            next_page: 1,
            pages: HashMap::new(),
            writes: Writes::new(),
            swept_at: Moment::default(),
            surveyed_at: Moment::default(),
            effects: Effects::default(),
        }
    }

    /// The leadership was renewed by a request sent one term before `term_end`.
    pub fn term_renewed(&mut self, term_end: Moment) {
        self.term_end = self.term_end.max(term_end);
    }

    /// The quotas have changed: all lanes keep the new pace from here on.
    pub fn quotas_changed(&mut self, quotas: PlaceQuotas, now: Moment) {
        for ((lane, dry_run), index) in &self.lane_ids {
            let quota = quotas.per_second(&lane.account, &lane.region, lane.operation.kms_operation());
            self.lanes[*index].bucket.set_quota(quota.filter(|_| !dry_run), now);
        }
        for (reading, bucket) in &mut self.readings {
            bucket.set_quota(quotas.per_second(&reading.account, &reading.region, reading.kms_operation), now);
        }
        self.settings.quotas = quotas;
    }

    /// Ends the turn: gives what can be given, fills the lanes, and hands over what is to be done.
    pub fn turn(&mut self, now: Moment) -> Effects {
        self.lapse(now);
        self.expire(now);
        self.run_timers(now);
        self.assign_looks(now);
        self.give(now);
        self.assign_pages(now);
        self.survey(now);
        self.fill_lanes();
        if now.since(self.swept_at) > Duration::from_secs(5) {
            self.swept_at = now;
            self.sweep(now);
        }
        std::mem::take(&mut self.effects)
    }

    /// When the next turn is due at the latest, if nothing happens before.
    pub fn next_turn(&mut self, now: Moment) -> Moment {
        let mut next = now + Duration::from_millis(500);
        if let Some(Reverse((at, _))) = self.timers.peek() {
            next = next.min(*at);
        }
        for lane in &self.lanes {
            if let Some(at) = lane.next_give_at(now, &self.readings) {
                next = next.min(at);
            }
        }
        if let Some(at) = self.next_unpark_at(now) {
            next = next.min(at);
        }
        if let Some(at) = self.next_page_at(now) {
            next = next.min(at);
        }
        next.max(now + Duration::from_millis(1))
    }

    /// What happens rarely: repairs and forgetting.
    fn sweep(&mut self, now: Moment) {
        self.writes.forget(now);
        self.forget_workers(now);
    }

    /// Whether the job has not finished.
    pub fn has_job(&self, job: JobId) -> bool {
        self.jobs.contains_key(&job)
    }

    /// Figures for the metrics.
    pub fn gauges(&self) -> Gauges {
        Gauges {
            jobs: self.jobs.len(),
            tasks: self.tasks.len(),
            open_gos: self.gos.len(),
            workers: self.workers.values().filter(|worker| worker.session.is_some()).count(),
            stopping: self.jobs.values().filter(|job| job.stopping).count(),
            walks: self.walks.len(),
        }
    }
}

/// How much is going on.
#[derive(Clone, Copy, Debug)]
pub struct Gauges {
    /// Unfinished jobs.
    pub jobs: usize,
    /// Dispatched, unfinished tasks.
    pub tasks: usize,
    /// Open Gos.
    pub open_gos: usize,
    /// Workers with a session.
    pub workers: usize,
    /// Jobs that are stopping.
    pub stopping: usize,
    /// Accounts and Regions that are being synchronized.
    pub walks: usize,
}
