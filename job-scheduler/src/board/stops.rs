//! Stopping a job: commit, publish, read the leases, await what is under way, settle the rest.

use job_model::{JobId, Moment, TaskRef, TaskState};

use super::{
    Board,
    task::{Phase, Why},
};

impl Board {
    /// The job's abort is committed. In this order: publish it to the renewals and the sessions, then read the leases
    /// (rule 2 of the stop protocol): every renewal from here on names it, so a worker with an open Go either hears of
    /// it or its lease ends where it is read here. A second abort changes nothing.
    pub fn abort_committed(&mut self, id: JobId, now: Moment) {
        let Some(job) = self.jobs.get_mut(&id) else { return };
        if job.stopping {
            return;
        }
        job.stopping = true;
        self.tell_abort(id);
        for go in self.gos.values_mut().filter(|go| go.task.job == id) {
            let lease_end = self.workers.get(&go.worker).map_or(now, |worker| worker.lease_end);
            let end = lease_end.max(now) + self.settings.operation_timeout;
            go.free_at = Some(go.free_at.map_or(end, |at| at.min(end)));
        }
        self.settle(id, now);
        self.finish_if_over(id);
    }

    /// The job is to stop, and its abort is being committed. Nothing more of it goes meanwhile, and the workers are told at
    /// once: the fewer requests they begin, the sooner it has stopped. Tells whether that is news.
    pub fn abort_heard(&mut self, id: JobId) -> bool {
        let Some(job) = self.jobs.get_mut(&id).filter(|job| job.goes()) else { return false };
        job.abort_heard = true;
        self.tell_abort(id);
        true
    }

    /// A worker has the job's abort flag. A leader that has not heard of the abort commits it.
    pub fn stop_acked(&mut self, id: JobId) {
        if self.abort_heard(id) {
            self.effects.aborts.push(id);
        }
    }

    fn tell_abort(&mut self, id: JobId) {
        for session in self.sessions.keys() {
            self.effects.frame(*session).aborts.push(id);
        }
    }

    /// Settles all tasks of a stopping job that nobody is at.
    pub(super) fn settle(&mut self, id: JobId, now: Moment) {
        let Some(job) = self.jobs.get(&id).filter(|job| job.stopping) else { return };
        let open: Vec<TaskRef> =
            job.lanes.iter().flat_map(|lane| &lane.open).map(|seq| TaskRef { job: id, seq: *seq }).collect();
        for task in open {
            self.settle_task(task, now);
        }
    }

    /// A task of a stopping job: canceled, or looked at first when a try may have changed its key (rule 3).
    pub(super) fn settle_task(&mut self, id: TaskRef, now: Moment) {
        let holds_back = self.holds_back();
        let Some(task) = self.tasks.get(&id) else { return };
        match task.phase {
            Phase::Going(_) | Phase::LookDue(..) | Phase::Looking(..) | Phase::Ending => {}
            Phase::Waiting | Phase::Pausing(_) => match task.doubt {
                // An earlier leader's worker may be at it: wait for what it declares, or for its end (rule 6).
                _ if task.inherited && holds_back => {}
                Some(at) => self.look_at(id, (at + self.settings.operation_timeout).max(now), Why::Stop),
                None if task.attempts == 0 && !task.wrote => self.drop_untried(id),
                None => self.end(id, TaskState::Canceled, None, false),
            },
        }
    }

    /// A task of a stopping job that was never tried leaves the board without a write: once its job has finished, a row
    /// that is still pending reads canceled. So a stop costs the same however much was dispatched.
    fn drop_untried(&mut self, id: TaskRef) {
        let Some(task) = self.tasks.remove(&id) else { return };
        self.lanes[task.lane].outstanding -= 1;
        if let Some(lane) = self.jobs.get_mut(&id.job).and_then(|job| job.lanes.get_mut(usize::from(task.number))) {
            lane.open.remove(&id.seq);
        }
        for worker in &task.offers {
            if let Some(session) = self.workers.get(worker).and_then(|worker| worker.session) {
                self.effects.frame(session).nevers.push(id);
            }
        }
    }
}
