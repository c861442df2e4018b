//! An unfinished job on the board.

use std::{collections::BTreeSet, sync::Arc};

use job_model::{JobId, KeyAddress, KeyName, Lane, Moment, Request, TaskRef};

use super::{Board, Bucket, WINDOW, WINDOW_LEAST, task::Task};

/// A job as it is told to the board: new, or taken up from an earlier leader.
#[derive(Clone, Debug)]
pub struct NewJob {
    /// Its id.
    pub id: JobId,
    /// What it asks.
    pub request: Request,
    /// Acts whatever was read.
    pub force: bool,
    /// Observes and decides only.
    pub dry_run: bool,
    /// Tasks per second over all its lanes, at the most; above 0.
    pub max_rate: Option<f64>,
    /// Its keys may be registered: their cached state follows.
    pub follows: bool,
    /// Its abort is committed.
    pub stopping: bool,
    /// Taken up from an earlier leader, whose workers may be at it.
    pub inherited: bool,
    /// By number.
    pub lanes: Vec<NewLane>,
}

/// One account and Region of a job.
#[derive(Clone, Debug)]
pub struct NewLane {
    /// The AWS account.
    pub account: Arc<str>,
    /// The Region.
    pub region: Arc<str>,
    /// Tasks past the cursor.
    pub undispatched: u32,
    /// Dispatched by an earlier leader and unfinished.
    pub open: Vec<(u32, String)>,
}

#[derive(Debug)]
pub(super) struct JobLane {
    /// Index on the board.
    pub(super) lane: usize,
    pub(super) account: Arc<str>,
    pub(super) region: Arc<str>,
    pub(super) undispatched: u32,
    /// Dispatched and not ended.
    pub(super) open: BTreeSet<u32>,
    /// Of these, what nobody was at when that was last looked at.
    pub(super) stuck: usize,
    /// All dispatched tasks lie below.
    pub(super) cursor: u32,
    /// A cursor move is under way.
    pub(super) dispatching: bool,
}

#[derive(Debug)]
pub(super) struct Job {
    pub(super) request: Request,
    pub(super) force: bool,
    pub(super) dry_run: bool,
    /// The pace of all its tasks together, when it is to keep one of its own.
    pub(super) pace: Option<Bucket>,
    pub(super) follows: bool,
    pub(super) stopping: bool,
    /// An abort of it is being committed: nothing more of it goes.
    pub(super) abort_heard: bool,
    pub(super) inherited: bool,
    pub(super) lanes: Vec<JobLane>,
    /// Tasks whose final status is being written.
    pub(super) ending: usize,
    pub(super) finishing: bool,
}

impl Job {
    /// Whether tasks of it may go.
    pub(super) const fn goes(&self) -> bool {
        !self.stopping && !self.abort_heard
    }

    /// How many of its tasks are outstanding in one lane at the most: enough for its own pace.
    pub(super) fn window(&self) -> usize {
        let most = self.pace.as_ref().and_then(|pace| pace.in_span(WINDOW));
        most.map_or(usize::MAX, |most| (most.ceil() as usize).max(WINDOW_LEAST))
    }

    /// Whether nothing of it is left but what the writer has been given: the finish goes to it after that.
    pub(super) fn is_over(&self) -> bool {
        let gone = |lane: &JobLane| !lane.dispatching && (self.stopping || lane.undispatched == 0);
        self.lanes.iter().all(gone) && self.lanes.iter().map(|lane| lane.open.len()).sum::<usize>() == self.ending
    }
}

/// The address of a key whose lane is known: bare ids and ARNs of the same key have the same.
fn address(lane: &JobLane, text: &str) -> KeyAddress {
    let id = match KeyName::parse(text) {
        KeyName::Arn { id, .. } => id,
        KeyName::Id(id) => id,
        KeyName::Nothing => text,
    };
    KeyAddress { account: lane.account.clone(), region: lane.region.clone(), id: id.into() }
}

impl Board {
    /// A job was committed, or is taken up.
    pub fn job_added(&mut self, new: NewJob, now: Moment) {
        let mut lanes = Vec::with_capacity(new.lanes.len());
        let mut open = Vec::new();
        for (number, lane) in (0u16..).zip(new.lanes) {
            let index = self.lane_index(
                Lane { account: lane.account.clone(), region: lane.region.clone(), operation: new.request.operation() },
                new.dry_run,
                now,
            );
            lanes.push(JobLane {
                lane: index,
                account: lane.account,
                region: lane.region,
                undispatched: lane.undispatched,
                open: BTreeSet::new(),
                stuck: 0,
                cursor: 0,
                dispatching: false,
            });
            open.push((number, lane.open));
        }
        let job = Job {
            request: new.request,
            force: new.force,
            dry_run: new.dry_run,
            pace: new.max_rate.map(|rate| Bucket::new(Some(rate), now)),
            follows: new.follows,
            stopping: new.stopping,
            abort_heard: false,
            inherited: new.inherited,
            lanes,
            ending: 0,
            finishing: false,
        };
        for lane in &job.lanes {
            if !job.stopping && lane.undispatched > 0 {
                self.lanes[lane.lane].undispatched.push_back(new.id);
            }
        }
        self.jobs.insert(new.id, job);
        for (number, tasks) in open {
            self.tasks_added(new.id, number, tasks, now, true);
        }
        if new.stopping {
            self.settle(new.id, now);
        }
        self.finish_if_over(new.id);
    }

    /// A cursor has moved past these tasks; they may be published now.
    pub fn dispatched(&mut self, job: JobId, number: u16, tasks: Vec<(u32, String)>, left: u32, now: Moment) {
        let Some(state) = self.jobs.get_mut(&job) else { return };
        let stopping = state.stopping;
        let Some(lane) = state.lanes.get_mut(usize::from(number)) else { return };
        lane.dispatching = false;
        lane.undispatched = left;
        self.lanes[lane.lane].dispatch_ended(job, left > 0 && !stopping);
        self.tasks_added(job, number, tasks, now, false);
        if stopping {
            self.settle(job, now);
        }
        self.finish_if_over(job);
    }

    fn tasks_added(&mut self, id: JobId, number: u16, tasks: Vec<(u32, String)>, now: Moment, inherited: bool) {
        let Some(job) = self.jobs.get_mut(&id) else { return };
        let Some(lane) = job.lanes.get_mut(usize::from(number)) else { return };
        // What a dry run's worker may be at changes nothing.
        let inherited = inherited && !job.dry_run;
        for (seq, text) in tasks {
            let task = TaskRef { job: id, seq };
            let key = address(lane, &text);
            if inherited {
                // It may have been sent by a worker of the earlier leader.
                self.writes.record(&key, &job.request, now);
                self.inherited_keys.insert(key.clone());
            }
            let mut entry = Task::new(key, lane.lane, number, now, inherited);
            entry.wrote = inherited;
            self.tasks.insert(task, entry);
            lane.open.insert(seq);
            lane.cursor = lane.cursor.max(seq + 1);
            self.lanes[lane.lane].outstanding += 1;
            if !job.stopping {
                self.effects.publish.push(task);
            }
        }
    }

    /// Asks for the job's finish once nothing of it is left: no task that still has to end, no dispatch, no open Go. The
    /// writer takes things in order, so the last statuses are committed before it. What an earlier leader dispatched may
    /// have Gos that nobody has declared yet, also of tasks that have ended meanwhile.
    pub(super) fn finish_if_over(&mut self, id: JobId) {
        let holds_back = self.holds_back();
        if let Some(job) = self.jobs.get_mut(&id)
            && !job.finishing
            && job.is_over()
            && !(job.inherited && holds_back)
            && self.gos.values().all(|go| go.task.job != id)
        {
            job.finishing = true;
            self.effects.finish.push(id);
        }
    }

    /// The job's finish is committed.
    pub fn finished(&mut self, id: JobId) {
        self.jobs.remove(&id);
        for worker in self.workers.values_mut() {
            if worker.specs.remove(&id)
                && let Some(session) = worker.session
            {
                self.effects.frame(session).forget.push(id);
            }
        }
    }

    /// A write made before this leader led, read from the store.
    pub fn write_recalled(&mut self, account: &Arc<str>, region: &Arc<str>, text: &str, request: &Request, at: Moment) {
        let id = match KeyName::parse(text) {
            KeyName::Arn { id, .. } => id,
            KeyName::Id(id) => id,
            KeyName::Nothing => text,
        };
        let key = KeyAddress { account: account.clone(), region: region.clone(), id: id.into() };
        self.writes.record(&key, request, at);
    }
}
