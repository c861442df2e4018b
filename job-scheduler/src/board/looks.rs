//! Looks: read-only requests that settle what a doubtful task's key is like, by any live worker.

use std::time::Duration;

use job_model::{LOOK_FOR, Moment, Refusal, TaskRef, TaskState, WorkerId};

use super::{
    Board, Look, SessionId,
    reports::told,
    task::{Phase, Why},
};

/// Looks a worker makes at once.
const LOOKS_AT_ONCE: usize = 64;
/// The pause after a look that could not be made.
const LOOK_AGAIN_AFTER: Duration = Duration::from_secs(1);

/// What is told of a task that has lost [`super::POISON_AFTER`] workers.
pub(super) const POISON: &str = "WorkerLost: five workers were lost while they tried this key";

#[derive(Debug)]
pub(super) struct OpenLook {
    task: TaskRef,
    worker: WorkerId,
    /// Held to be lost after this moment.
    until: Moment,
}

/// What a look showed.
#[derive(Clone, Debug)]
pub enum Sight {
    /// The key was read.
    Seen {
        /// It is in the state its job asks for.
        there: bool,
    },
    /// KMS's final answer to the read.
    Refused(Refusal),
    /// It could not be read now.
    Unavailable(Refusal),
}

impl Board {
    /// The task's key is to be looked at, not before `at`.
    pub(super) fn look_at(&mut self, id: TaskRef, at: Moment, why: Why) {
        if let Some(task) = self.tasks.get_mut(&id) {
            task.phase = Phase::LookDue(at, why);
            self.at(at, id);
        }
    }

    /// Wakes the task at the moment.
    pub(super) fn at(&mut self, at: Moment, task: TaskRef) {
        self.timers.push(std::cmp::Reverse((at, task)));
    }

    /// Tasks whose pause has ended wait for a Go again; looks that are due wait for a worker.
    pub(super) fn run_timers(&mut self, now: Moment) {
        while let Some(std::cmp::Reverse((at, id))) = self.timers.peek().copied() {
            if at > now {
                return;
            }
            self.timers.pop();
            match self.tasks.get(&id).map(|task| &task.phase) {
                Some(Phase::Pausing(until)) if *until <= now => self.wait_again(id, true),
                Some(Phase::LookDue(at, _)) if *at <= now => self.looks_due.push_back(id),
                Some(
                    Phase::Waiting
                    | Phase::Going(_)
                    | Phase::Pausing(_)
                    | Phase::LookDue(..)
                    | Phase::Looking(..)
                    | Phase::Ending,
                )
                | None => {}
            }
        }
    }

    /// Gives the looks that are due to live workers. While none lives they wait.
    pub(super) fn assign_looks(&mut self, now: Moment) {
        let lost: Vec<u64> = self.looks.iter().filter(|(_, look)| look.until <= now).map(|(id, _)| *id).collect();
        for look in lost {
            self.look_lost(look);
        }
        for _ in 0..self.looks_due.len() {
            let Some((worker, session)) = self.free_looker(now) else { return };
            let Some(id) = self.looks_due.pop_front() else { return };
            let Some(task) = self.tasks.get_mut(&id) else { continue };
            let Phase::LookDue(_, why) = &task.phase else { continue };
            let Some(reading) = self.readings.get_mut(&self.lanes[task.lane].reading) else { continue };
            if !reading.take(now) {
                let next = reading.next_at(now).max(now + Duration::from_millis(1));
                self.at(next, id);
                continue;
            }
            let look = self.next_look;
            self.next_look += 1;
            task.phase = Phase::Looking(look, why.clone());
            let key = task.key.clone();
            // A read takes one operation timeout, and the answer some time to arrive.
            let until = now + self.settings.operation_timeout * 2;
            self.looks.insert(look, OpenLook { task: id, worker, until });
            let frame = self.effects.frame(session);
            if self.workers.get_mut(&worker).is_some_and(|worker| worker.specs.insert(id.job)) {
                frame.specs.push(id.job);
            }
            frame.looks.push(Look { look, job: id.job, key });
        }
    }

    fn free_looker(&self, now: Moment) -> Option<(WorkerId, SessionId)> {
        self.workers
            .iter()
            .filter(|(_, worker)| worker.is_leased(now))
            .filter_map(|(id, worker)| worker.session.map(|session| (*id, session)))
            .map(|(id, session)| (self.looks.values().filter(|look| look.worker == id).count(), id, session))
            .filter(|(looks, ..)| *looks < LOOKS_AT_ONCE)
            .min()
            .map(|(_, id, session)| (id, session))
    }

    /// The worker that looked is lost: another looks.
    pub(super) fn looks_lost(&mut self, worker: WorkerId) {
        let lost: Vec<u64> = self.looks.iter().filter(|(_, look)| look.worker == worker).map(|(id, _)| *id).collect();
        for look in lost {
            self.look_lost(look);
        }
    }

    fn look_lost(&mut self, look: u64) {
        let Some(open) = self.looks.remove(&look) else { return };
        if let Some(task) = self.tasks.get_mut(&open.task)
            && let Phase::Looking(_, why) = &task.phase
        {
            task.phase = Phase::LookDue(Moment::default(), why.clone());
            self.looks_due.push_back(open.task);
        }
    }

    /// A look's answer: the task is told as found.
    pub fn look_result(&mut self, look: u64, sight: Sight, now: Moment) {
        let Some(open) = self.looks.remove(&look) else { return };
        let id = open.task;
        let Some(task) = self.tasks.get_mut(&id) else { return };
        let Phase::Looking(_, why) = task.phase.clone() else { return };
        match sight {
            Sight::Seen { there: true } => self.end(id, TaskState::Succeeded, None, false),
            Sight::Seen { there: false } => self.end_as_not_there(id, why),
            Sight::Refused(refusal) if refusal.says_not_found() => self.end_as_not_there(id, why),
            Sight::Refused(refusal) | Sight::Unavailable(refusal) => {
                let since = *task.looking_since.get_or_insert(now);
                if now.since(since) >= LOOK_FOR {
                    let detail = format!(
                        "OutcomeUnknown: a request went unanswered and the key could not be looked at ({})",
                        told(&refusal)
                    );
                    self.end(id, TaskState::Failed, Some(detail), false);
                } else {
                    self.look_at(id, now + LOOK_AGAIN_AFTER, why);
                }
            }
        }
    }

    fn end_as_not_there(&mut self, id: TaskRef, why: Why) {
        match why {
            Why::Stop => self.end(id, TaskState::Canceled, None, false),
            Why::Exhausted(said) => self.end(id, TaskState::Failed, Some(told(&said)), false),
            Why::Poison => {
                self.end(id, TaskState::Failed, Some(POISON.to_owned()), false);
            }
        }
    }
}
