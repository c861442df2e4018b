//! Dispatched tasks that nobody is at: their offers are lost, or lie with a worker that is frozen or gone.
//!
//! Problem: RabbitMQ hands offers to its consumers in turns, to a frozen one too, until a heartbeat shows that it is gone
//! (up to ten seconds). A share of each lane's window would end up there, and soon all of it: the lane would stand still
//! while other workers have nothing to do.
//!
//! So what nobody is at does not count in the windows, within a bound, and is offered again, first soon and then less and
//! less often. A copy of an offer harms nothing: whoever asks for a task that is final or going gets no second Go. What is
//! safe to start is decided elsewhere; nothing here frees a Go or a key.

use std::time::Duration;

use job_model::{Moment, TaskRef};

use super::{
    Board,
    task::{Phase, Task},
};

/// How often the tasks are looked through.
const EVERY: Duration = Duration::from_millis(500);
/// An offer that no worker has asked about in this time is with nobody who can ask. It takes milliseconds.
const UNHEARD: Duration = Duration::from_secs(1);
/// The first copy of an offer is published after this time; the time doubles with each.
const FIRST_COPY: Duration = Duration::from_secs(5);
/// And is never longer than this.
const LAST_COPY: Duration = Duration::from_secs(60);
/// A lane, and a job in it, has at the most so many windows more outstanding than its own.
const BEYOND: usize = 4;

/// How much of `window` is taken by `open` tasks of which `stuck` are with nobody.
pub(super) const fn taken(open: usize, stuck: usize, window: usize) -> usize {
    let most = window.saturating_mul(BEYOND);
    open.saturating_sub(if stuck < most { stuck } else { most })
}

impl Board {
    /// Counts what nobody is at, and publishes it again where its time has come.
    pub(super) fn survey(&mut self, now: Moment) {
        if now.since(self.surveyed_at) < EVERY {
            return;
        }
        self.surveyed_at = now;
        self.lanes.iter_mut().for_each(|lane| lane.stuck = 0);
        self.jobs.values_mut().flat_map(|job| &mut job.lanes).for_each(|lane| lane.stuck = 0);
        if !self.workers.values().any(|worker| worker.is_leased(now)) {
            return; // nobody could take more
        }
        for (id, task) in &mut self.tasks {
            let waits = task.phase == Phase::Waiting
                && now.since(task.heard_at) >= UNHEARD
                && !task.offers.iter().any(|worker| self.workers.get(worker).is_some_and(|w| w.is_leased(now)));
            let lost = match task.phase {
                Phase::Going(go) => self.gos.get(&go).is_some_and(|go| go.free_at.is_some()),
                Phase::Waiting | Phase::Pausing(_) | Phase::LookDue(..) | Phase::Looking(..) | Phase::Ending => false,
            };
            let Some(job) = self.jobs.get_mut(&id.job).filter(|job| (waits || lost) && !job.stopping) else { continue };
            self.lanes[task.lane].stuck += 1;
            if let Some(lane) = job.lanes.get_mut(usize::from(task.number)) {
                lane.stuck += 1;
            }
            if waits && now.since(task.offered_at) >= task.next_copy() {
                task.offered_at = now;
                task.copies = task.copies.saturating_add(1);
                self.effects.publish.push(*id);
            }
        }
    }

    /// A message was dead-lettered: a doubt, not a verdict.
    pub fn dead_lettered(&mut self, task: TaskRef, now: Moment) {
        let Some(state) = self.tasks.get_mut(&task) else { return };
        if self.jobs.get(&task.job).is_some_and(|job| !job.stopping) {
            state.offered_at = now;
            self.effects.publish.push(task);
        }
    }
}

impl Task {
    /// How long after its last offer it is offered again.
    fn next_copy(&self) -> Duration {
        FIRST_COPY.saturating_mul(1 << self.copies.min(10)).min(LAST_COPY)
    }

    /// A worker has asked for it.
    pub(super) const fn heard(&mut self, now: Moment) {
        self.heard_at = now;
        self.offered_at = now;
        self.copies = 0;
    }
}
