//! Start and Go: an offer becomes a permit when its turn, its key, a worker and the tokens allow.

use job_model::{GoId, Moment, TaskRef, WorkerId, plan::Leave};

use super::{Board, Go, SessionId, task::Phase, workers::OpenGo};

/// A lane that has missed so many tasks in a turn waits until a worker has room again.
const MISSES: usize = 32;

/// What became of one attempt to give a Go.
enum Given {
    /// It was given, or the task is not to be considered now.
    Next,
    /// No worker that offers the task has room.
    Missed,
    /// The lane can give nothing more in this turn.
    Stop,
}

impl Board {
    /// A worker offers to run tasks it has deliveries of. A delivery is only an offer: it may be a copy, late, or of a
    /// job that has ended.
    pub fn starts(&mut self, session: SessionId, tasks: &[TaskRef], now: Moment) {
        let Some(worker) = self.sessions.get(&session).copied() else { return };
        for task in tasks {
            match self.tasks.get_mut(task) {
                // Final, or of an ended job (rule 4: what is final gets no Go).
                None => self.effects.frame(session).nevers.push(*task),
                Some(state) => {
                    state.heard(now);
                    if !state.offers.contains(&worker) {
                        state.offers.push(worker);
                        // Also of a task that is queued already: those who offered it may all have been lost.
                        self.lanes[state.lane].starved = false;
                    }
                    if state.phase == Phase::Waiting {
                        self.enqueue(*task, false);
                    }
                }
            }
        }
    }

    /// Puts a waiting task into its lane's queue, unless it is there or must not go.
    pub(super) fn enqueue(&mut self, task: TaskRef, first: bool) {
        if self.jobs.get(&task.job).is_none_or(|job| !job.goes()) {
            return;
        }
        let holds_back = self.holds_back();
        if let Some(state) = self.tasks.get_mut(&task) {
            if state.inherited && holds_back {
                return; // released by release_inherited
            }
            if !state.queued && !state.offers.is_empty() && state.phase == Phase::Waiting {
                state.queued = true;
                let lane = &mut self.lanes[state.lane];
                lane.enqueue(task, first || state.paced);
                lane.starved = false;
                if state.paced {
                    // It has its token already: its job need not wait for another.
                    lane.unpark(task.job);
                }
            }
        }
    }

    /// The task waits for its next Go, from a worker that still offers it.
    pub(super) fn wait_again(&mut self, task: TaskRef, first: bool) {
        if let Some(state) = self.tasks.get_mut(&task) {
            state.phase = Phase::Waiting;
            self.enqueue(task, first);
        }
    }

    /// Whether tasks dispatched by an earlier leader still wait.
    pub(super) fn holds_back(&self) -> bool {
        self.inherited_until > Moment::default()
    }

    /// Tasks dispatched before this leader may go: all that an earlier leader's workers began has ended, or is
    /// declared (rule 6). An undeclared request of theirs was sent at `sent` at the latest.
    pub(super) fn release_inherited(&mut self, sent: Moment, now: Moment) {
        self.inherited_until = Moment::default();
        let waiting: Vec<TaskRef> =
            self.tasks.iter().filter(|(_, task)| task.inherited).map(|(task, _)| *task).collect();
        for task in &waiting {
            // Something of it may have been sent: until a try has seen the key, it is doubtful.
            if let Some(state) = self.tasks.get_mut(task) {
                state.inherited = false;
                state.doubt.get_or_insert(sent);
            }
            self.enqueue(*task, true);
        }
        self.inherited_keys.clear();
        for task in std::mem::take(&mut self.held_back) {
            self.enqueue(task, false);
        }
        let jobs: Vec<_> = self.jobs.keys().copied().collect();
        for job in jobs {
            self.settle(job, now);
            self.finish_if_over(job);
        }
    }

    /// Gives every Go that can be given now.
    pub(super) fn give(&mut self, now: Moment) {
        if self.holds_back() && self.inherited_until <= now {
            self.release_inherited(now - self.settings.operation_timeout, now);
        }
        if self.term_end <= now {
            return;
        }
        for index in 0..self.lanes.len() {
            self.unpark(index, now);
            if self.lanes[index].starved {
                continue;
            }
            let mut misses = 0;
            for _ in 0..self.lanes[index].waiting() {
                match self.give_one(index, now) {
                    Given::Next => {}
                    Given::Missed if misses < MISSES => misses += 1,
                    Given::Missed => {
                        self.lanes[index].starved = true;
                        break;
                    }
                    Given::Stop => break,
                }
            }
        }
    }

    /// Jobs that have a token of their own pace again, or need none any more, take turns again.
    fn unpark(&mut self, index: usize, now: Moment) {
        let lane = &mut self.lanes[index];
        let (jobs, turns) = (&mut self.jobs, &mut lane.turns);
        lane.parked.retain(|id| {
            let waits = jobs
                .get_mut(id)
                .filter(|job| job.goes())
                .and_then(|job| job.pace.as_mut())
                .is_some_and(|pace| !pace.has(now));
            if !waits {
                turns.push_back(*id);
            }
            waits
        });
    }

    /// When a job that waits for a token of its own pace has the next one.
    pub(super) fn next_unpark_at(&self, now: Moment) -> Option<Moment> {
        let parked = self.lanes.iter().filter(|lane| !lane.starved).flat_map(|lane| &lane.parked);
        parked.filter_map(|id| self.jobs.get(id)?.pace.as_ref()).map(|pace| pace.next_at(now)).min()
    }

    fn give_one(&mut self, index: usize, now: Moment) -> Given {
        let lane = &mut self.lanes[index];
        let acting = !lane.dry_run && lane.bucket.has(now);
        let Some(reading) = self.readings.get_mut(&lane.reading) else { return Given::Stop };
        if !reading.has(now) {
            return Given::Stop;
        }
        let Some(id) = lane.dequeue() else { return Given::Stop };
        let Some(state) = self.tasks.get_mut(&id) else { return Given::Next };
        state.queued = false;
        let Some(job) = self.jobs.get_mut(&id.job).filter(|job| job.goes()) else { return Given::Next };
        if state.phase != Phase::Waiting {
            return Given::Next;
        }
        if !job.dry_run {
            // An earlier leader's worker may be writing to it for another task (rule 6 is about keys).
            if self.inherited_until > Moment::default() && self.inherited_keys.contains(&state.key) {
                self.held_back.push(id);
                return Given::Next;
            }
            if self.held.contains_key(&state.key) {
                self.queued_for.entry(state.key.clone()).or_default().push(id);
                return Given::Next;
            }
        }
        if !state.paced && job.pace.as_mut().is_some_and(|pace| !pace.has(now)) {
            state.queued = true;
            lane.park(id);
            return Given::Next;
        }
        let trust_reading = !job.force && self.writes.trusts(&state.key, &job.request, now);
        // Without a token, a look alone may show that no call is needed.
        if !acting && !job.dry_run && (state.needs_acting || !trust_reading) {
            state.queued = true;
            lane.enqueue(id, true);
            return Given::Stop;
        }
        let Some((worker_id, session)) = self.able_worker(&id, now) else {
            let (state, lane) = (self.tasks.get_mut(&id), &mut self.lanes[index]);
            if let Some(state) = state.filter(|state| !state.offers.is_empty()) {
                state.queued = true;
                lane.enqueue(id, false);
                return Given::Missed;
            }
            return Given::Next;
        };
        if acting {
            self.lanes[index].bucket.take(now);
        }
        if let Some(reading) = self.readings.get_mut(&self.lanes[index].reading) {
            reading.take(now);
        }
        self.take_own(id, now);
        self.go(id, worker_id, session, acting, trust_reading, now);
        Given::Next
    }

    /// One token of the job's own pace for each try. A look and the act that follows it are one.
    fn take_own(&mut self, id: TaskRef, now: Moment) {
        if let (Some(task), Some(job)) = (self.tasks.get_mut(&id), self.jobs.get_mut(&id.job))
            && !std::mem::take(&mut task.paced)
            && let Some(pace) = &mut job.pace
        {
            pace.take(now);
        }
    }

    /// A worker that offers the task, has a session and a live lease, and has room.
    fn able_worker(&self, task: &TaskRef, now: Moment) -> Option<(WorkerId, SessionId)> {
        self.tasks.get(task)?.offers.iter().find_map(|id| {
            let worker = self.workers.get(id)?;
            let able = worker.is_leased(now) && worker.open.len() < worker.concurrency;
            worker.session.filter(|_| able).map(|session| (*id, session))
        })
    }

    fn go(
        &mut self,
        id: TaskRef,
        worker_id: WorkerId,
        session: SessionId,
        acting: bool,
        trust_reading: bool,
        now: Moment,
    ) {
        let go = GoId::new(self.epoch, self.next_go);
        self.next_go += 1;
        let Some(task) = self.tasks.get_mut(&id) else { return };
        let doubted = Leave::doubted(task.doubt.map(|at| now.since(at)), trust_reading);
        task.phase = Phase::Going(go);
        task.attempts += u32::from(acting);
        if self.jobs.get(&id.job).is_none_or(|job| !job.dry_run) {
            self.held.insert(task.key.clone(), go);
        }
        self.gos.insert(go, OpenGo { task: id, worker: worker_id, acting, free_at: None });
        let key = task.key.clone();
        let frame = self.effects.frame(session);
        if let Some(worker) = self.workers.get_mut(&worker_id) {
            worker.open.insert(go);
            if worker.specs.insert(id.job) {
                frame.specs.push(id.job);
            }
        }
        frame.gos.push(Go { go, task: id, key, acting, doubted, trust_reading });
    }

    /// An acting token that was given and not used.
    pub(super) fn give_token_back(&mut self, task: TaskRef) {
        if let Some(state) = self.tasks.get(&task) {
            self.lanes[state.lane].bucket.give_back();
        }
    }

    /// Remembers that a mutating request of the task was, or may have been, sent.
    pub(super) fn note_write(&mut self, task: TaskRef, now: Moment) {
        if let (Some(state), Some(job)) = (self.tasks.get_mut(&task), self.jobs.get(&task.job)) {
            state.wrote = true;
            self.writes.record(&state.key, &job.request, now);
        }
    }
}
