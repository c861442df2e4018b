//! Lanes: their pace, whose turn it is, and how much is outstanding.

use std::collections::{HashMap, VecDeque};

use job_model::{JobId, Lane, Moment, Reading, TaskRef};

use super::{Board, Bucket, Dispatch, WINDOW, WINDOW_LEAST, WINDOW_MOST, unheard::taken};

/// One lane on the board.
#[derive(Debug)]
pub(super) struct LaneState {
    pub(super) reading: Reading,
    /// Of dry runs alone: it has no acting tokens and needs none, so that they wait for nobody who acts.
    pub(super) dry_run: bool,
    pub(super) bucket: Bucket,
    /// Jobs with tasks past their cursor here, in turns.
    pub(super) undispatched: VecDeque<JobId>,
    /// A cursor move for this lane is under way.
    dispatching: bool,
    /// Dispatched, unfinished tasks.
    pub(super) outstanding: usize,
    /// Of these, what nobody was at when that was last looked at.
    pub(super) stuck: usize,
    /// Jobs with tasks that could go, in turns.
    pub(super) turns: VecDeque<JobId>,
    /// Jobs that have such tasks and wait for a token of their own pace.
    pub(super) parked: Vec<JobId>,
    /// Their tasks, in the order they were asked for.
    pub(super) ready: HashMap<JobId, VecDeque<u32>>,
    /// Nothing can be given before this, whatever comes: all workers are full, or tokens are out.
    pub(super) starved: bool,
}

impl LaneState {
    fn new(lane: &Lane, dry_run: bool, quota: Option<f64>, now: Moment) -> Self {
        Self {
            reading: lane.reading(),
            dry_run,
            bucket: Bucket::new(quota, now),
            undispatched: VecDeque::new(),
            dispatching: false,
            outstanding: 0,
            stuck: 0,
            turns: VecDeque::new(),
            parked: Vec::new(),
            ready: HashMap::new(),
            starved: false,
        }
    }

    /// How many tasks are outstanding at the most.
    fn window(&self) -> usize {
        let most = self.bucket.in_span(WINDOW).map_or(WINDOW_MOST as f64, f64::ceil);
        (most as usize).clamp(WINDOW_LEAST, WINDOW_MOST)
    }

    pub(super) fn dispatch_ended(&mut self, job: JobId, more: bool) {
        self.dispatching = false;
        if more {
            self.undispatched.push_back(job);
        }
    }

    /// When a waiting task may next get a token; `None` when nothing waits for one.
    pub(super) fn next_give_at(&self, now: Moment, readings: &HashMap<Reading, Bucket>) -> Option<Moment> {
        if self.turns.is_empty() || self.starved {
            return None;
        }
        let acting = self.bucket.next_at(now);
        let reading = readings.get(&self.reading).map_or(now, |bucket| bucket.next_at(now));
        Some(acting.max(reading))
    }

    /// Puts a task into its job's queue.
    pub(super) fn enqueue(&mut self, task: TaskRef, first: bool) {
        let queue = self.ready.entry(task.job).or_default();
        if queue.is_empty() {
            self.turns.push_back(task.job);
        }
        if first {
            queue.push_front(task.seq);
        } else {
            queue.push_back(task.seq);
        }
    }

    /// Takes the next task: one of the job whose turn it is.
    pub(super) fn dequeue(&mut self) -> Option<TaskRef> {
        let job = self.turns.pop_front()?;
        let queue = self.ready.get_mut(&job)?;
        let seq = queue.pop_front();
        if queue.is_empty() {
            self.ready.remove(&job);
        } else {
            self.turns.push_back(job);
        }
        seq.map(|seq| TaskRef { job, seq })
    }

    /// Puts a task back, and leaves its job out of the turns until it has a token of its own.
    pub(super) fn park(&mut self, task: TaskRef) {
        self.ready.entry(task.job).or_default().push_front(task.seq);
        self.turns.retain(|job| *job != task.job);
        self.parked.push(task.job);
    }

    /// Lets a job take turns again that waits for a token of its own.
    pub(super) fn unpark(&mut self, job: JobId) {
        if let Some(at) = self.parked.iter().position(|parked| *parked == job) {
            self.turns.push_back(self.parked.swap_remove(at));
        }
    }

    /// How many tasks wait to go.
    pub(super) fn waiting(&self) -> usize {
        self.ready.values().map(VecDeque::len).sum()
    }
}

impl Board {
    /// The lane's place on the board; made at its first use.
    pub(super) fn lane_index(&mut self, lane: Lane, dry_run: bool, now: Moment) -> usize {
        let id = (lane, dry_run);
        if let Some(index) = self.lane_ids.get(&id) {
            return *index;
        }
        let (lane, dry_run) = id.clone();
        let of = |operation| self.settings.quotas.per_second(&lane.account, &lane.region, operation);
        let quota = of(lane.operation.kms_operation()).filter(|_| !dry_run);
        let reading = lane.reading();
        let reading_quota = of(reading.kms_operation);
        self.readings.entry(reading).or_insert_with(|| Bucket::new(reading_quota, now));
        self.lanes.push(LaneState::new(&lane, dry_run, quota, now));
        let index = self.lanes.len() - 1;
        self.lane_ids.insert(id, index);
        index
    }

    /// Asks for the dispatch of more tasks wherever a window has room: for the lane's jobs in turns, and at least a few
    /// of each, so that a small job never waits behind a large one.
    pub(super) fn fill_lanes(&mut self) {
        for index in 0..self.lanes.len() {
            self.fill(index);
        }
    }

    fn fill(&mut self, index: usize) {
        let lane = &mut self.lanes[index];
        if lane.dispatching || lane.undispatched.is_empty() {
            return;
        }
        let window = lane.window();
        let room = window.saturating_sub(taken(lane.outstanding, lane.stuck, window));
        // Half a window at once, so that a fast lane dispatches in large batches.
        let roomy = room * 2 >= window;
        for _ in 0..lane.undispatched.len() {
            let Some(job) = lane.undispatched.pop_front() else { return };
            let Some(state) = self.jobs.get_mut(&job).filter(|state| !state.stopping) else { continue };
            let own = state.window();
            let Some((number, job_lane)) =
                (0u16..).zip(state.lanes.iter_mut()).find(|(_, job_lane)| job_lane.lane == index)
            else {
                continue;
            };
            let share = room.div_ceil(lane.undispatched.len() + 1);
            let room_of = |window| usize::saturating_sub(window, taken(job_lane.open.len(), job_lane.stuck, window));
            let least = room_of(WINDOW_LEAST);
            let limit = if roomy { share.max(least) } else { least };
            let limit = limit.min(room_of(own));
            if limit == 0 {
                lane.undispatched.push_back(job);
                continue;
            }
            lane.dispatching = true;
            job_lane.dispatching = true;
            self.effects.dispatches.push(Dispatch {
                job,
                lane: number,
                limit: u32::try_from(limit).unwrap_or(u32::MAX),
                from: job_lane.cursor,
                low: job_lane.open.first().copied().unwrap_or(job_lane.cursor),
            });
            return;
        }
    }
}
