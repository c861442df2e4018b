//! What a try's report means, and the end of a task.

use std::time::Duration;

use job_model::{
    AgainReason, Forecast, GoId, KeyState, Moment, Outcome, Refusal, Request, TaskRef, TaskState, WorkerId,
};

use super::{
    Board, RETRY_FOR, SessionId,
    job::Job,
    task::{Phase, Task, Why},
};
use crate::store::{
    follow::{Change, Follow},
    report::FinalTask,
};

/// The first pause after a failure; it doubles up to the longest.
const PAUSE_FIRST: Duration = Duration::from_millis(100);
/// The longest pause.
const PAUSE_LONGEST: Duration = Duration::from_secs(5);

/// A worker's report of one Go.
#[derive(Clone, Debug)]
pub struct Report {
    /// The Go.
    pub go: GoId,
    /// Its task.
    pub task: TaskRef,
    /// The key's state as seen before; empty when it was not.
    pub state_before: String,
    /// A mutating request was sent.
    pub acted: bool,
    /// From its begin to its end, by the worker's clock.
    pub took: Duration,
    /// How it ended.
    pub outcome: Outcome,
}

impl Board {
    /// A Go has ended. A report of a Go that was freed meanwhile is late: it changes nothing that is final, and nothing
    /// that a newer Go is about to tell.
    pub fn report(&mut self, session: SessionId, report: Report, now: Moment) {
        let Some(worker) = self.sessions.get(&session).copied() else { return };
        let known = self.gos.get(&report.go).is_some_and(|go| go.task == report.task);
        let acting = if known {
            self.close_go(report.go).is_some_and(|go| go.acting)
        } else {
            let Some(task) = self.tasks.get_mut(&report.task) else {
                self.effects.frame(session).report_acks.push((report.go, report.task, true));
                return;
            };
            let settled = match report.outcome {
                Outcome::Succeeded { .. } | Outcome::Refused(_) | Outcome::Foretold(_) => true,
                Outcome::Again { .. } | Outcome::Unstarted => false,
            };
            let free = match task.phase {
                Phase::Waiting | Phase::Pausing(_) | Phase::LookDue(..) | Phase::Looking(..) => true,
                Phase::Going(_) | Phase::Ending => false,
            };
            if settled && free {
                task.phase = Phase::Waiting;
            } else {
                if report.acted {
                    self.note_write(report.task, now);
                }
                self.effects.frame(session).report_acks.push((report.go, report.task, false));
                self.starts(session, &[report.task], now);
                return;
            }
            false
        };
        let Some(task) = self.tasks.get_mut(&report.task) else {
            self.effects.frame(session).report_acks.push((report.go, report.task, true));
            self.finish_if_over(report.task.job);
            return;
        };
        if task.phase != Phase::Waiting {
            // Another Go is open, or its end is being written: that one tells.
            if report.acted {
                self.note_write(report.task, now);
            }
            self.effects.frame(session).report_acks.push((report.go, report.task, false));
            self.starts(session, &[report.task], now);
            return;
        }
        if !task.offers.contains(&worker) {
            task.offers.push(worker);
        }
        if task.state_before.is_empty() {
            task.state_before.clone_from(&report.state_before);
        }
        task.took = Some(report.took);
        if report.acted {
            self.note_write(report.task, now);
        } else if acting {
            self.give_token_back(report.task);
        }
        let dry_run = self.jobs.get(&report.task.job).is_some_and(|job| job.dry_run);
        match report.outcome {
            Outcome::Foretold(forecast) if dry_run => {
                self.acknowledge_when_written(report.task, worker, report.go);
                self.end_as_foretold(report.task, &forecast);
                return;
            }
            // A worker that knows no dry runs has seen the key in the asked state.
            Outcome::Succeeded { .. } if dry_run => {
                self.acknowledge_when_written(report.task, worker, report.go);
                self.end_as_foretold(report.task, &Forecast::Already);
                return;
            }
            // It knows no dry runs, and cannot tell whether KMS would refuse.
            Outcome::Again { reason: AgainReason::NeedsActing, said } if dry_run => {
                self.again(report.task, AgainReason::Unavailable, said, false, now);
            }
            // Of a job that is none: nonsense, and a try that says nothing.
            Outcome::Foretold(_) => self.pause(report.task, now + PAUSE_FIRST),
            Outcome::Succeeded { already } => {
                self.acknowledge_when_written(report.task, worker, report.go);
                // What an earlier try of ours may have done is not told as found.
                let already = already && self.tasks.get(&report.task).is_some_and(|task| !task.wrote);
                self.end(report.task, TaskState::Succeeded, None, already);
                return;
            }
            Outcome::Refused(said) => {
                self.acknowledge_when_written(report.task, worker, report.go);
                self.end(report.task, TaskState::Failed, Some(told(&said)), false);
                return;
            }
            Outcome::Again { reason, said } => self.again(report.task, reason, said, report.acted, now),
            Outcome::Unstarted => {
                self.uncount(report.task, acting);
                // A moment, or a worker whose lease has lapsed unseen would be given it over and over.
                self.pause(report.task, now + PAUSE_FIRST);
            }
        }
        self.effects.frame(session).report_acks.push((report.go, report.task, false));
        if self.jobs.get(&report.task.job).is_some_and(|job| job.stopping) {
            self.settle_task(report.task, now);
            self.finish_if_over(report.task.job);
        }
    }

    /// The end of a dry run's task: what would succeed counts as succeeded, and what would fail as failed.
    fn end_as_foretold(&mut self, id: TaskRef, forecast: &Forecast) {
        let (Some(task), Some(job)) = (self.tasks.get_mut(&id), self.jobs.get(&id.job)) else { return };
        task.attempts = task.attempts.max(1);
        let told = Some(forecast.told(&job.request));
        match forecast {
            Forecast::Would => self.end(id, TaskState::Succeeded, told, false),
            Forecast::Already => self.end(id, TaskState::Succeeded, told, true),
            Forecast::Impossible(_) => self.end(id, TaskState::Failed, told, false),
        }
    }

    /// A try that never began was none.
    fn uncount(&mut self, task: TaskRef, acting: bool) {
        if let Some(task) = self.tasks.get_mut(&task) {
            task.attempts = task.attempts.saturating_sub(u32::from(acting));
        }
    }

    fn again(&mut self, id: TaskRef, reason: AgainReason, said: Refusal, acted: bool, now: Moment) {
        let dry_run = self.jobs.get(&id.job).is_some_and(|job| job.dry_run);
        let Some(task) = self.tasks.get_mut(&id) else { return };
        if reason.doubtful() && !dry_run {
            task.doubt = Some(now);
        }
        match reason {
            AgainReason::NeedsActing => {
                task.needs_acting = true;
                task.paced = true;
                self.wait_again(id, true);
                return;
            }
            AgainReason::Throttled => {
                let lane = &mut self.lanes[task.lane];
                if acted {
                    lane.bucket.slow(now);
                } else if let Some(reading) = self.readings.get_mut(&lane.reading) {
                    reading.slow(now);
                }
            }
            AgainReason::Unavailable | AgainReason::Unanswered => {
                let since = *task.failing_since.get_or_insert(now);
                if now.since(since) >= RETRY_FOR {
                    if task.doubt.is_some() {
                        self.look_at(id, now, Why::Exhausted(said));
                    } else {
                        self.end(id, TaskState::Failed, Some(told(&said)), false);
                    }
                    return;
                }
            }
        }
        task.failures += 1;
        let until = now + pause(task.failures, id.seq);
        self.pause(id, until);
    }

    fn pause(&mut self, id: TaskRef, until: Moment) {
        if let Some(task) = self.tasks.get_mut(&id) {
            task.phase = Phase::Pausing(until);
            self.at(until, id);
        }
    }

    /// Once the final status is committed, the worker that reported it may acknowledge its delivery.
    fn acknowledge_when_written(&mut self, task: TaskRef, worker: WorkerId, go: GoId) {
        if let Some(task) = self.tasks.get_mut(&task) {
            task.reported_by = Some((worker, go));
        }
    }

    /// Hands a task's final status to the writer.
    pub(super) fn end(&mut self, id: TaskRef, state: TaskState, detail: Option<String>, already: bool) {
        let Some(task) = self.tasks.get_mut(&id) else { return };
        if task.phase == Phase::Ending {
            return;
        }
        task.phase = Phase::Ending;
        let change = self.jobs.get(&id.job).and_then(|job| follow(job, task, state, detail.as_deref(), already));
        self.effects.writes.push(FinalTask {
            task: id,
            state,
            detail,
            attempts: task.attempts.max(u32::from(already)),
            already,
            wrote: task.wrote,
            state_before: (!task.state_before.is_empty()).then(|| task.state_before.clone()),
            took: task.took,
            follow: change.map(|change| Follow { key: task.key.clone(), change }),
        });
        if let Some(job) = self.jobs.get_mut(&id.job) {
            job.ending += 1;
        }
        self.finish_if_over(id.job);
    }

    /// Final statuses are committed: the deliveries may be acknowledged, and the tasks leave the board.
    pub fn written(&mut self, tasks: &[TaskRef]) {
        for id in tasks {
            let Some(task) = self.tasks.remove(id) else { continue };
            self.lanes[task.lane].outstanding -= 1;
            for worker in &task.offers {
                let Some(session) = self.workers.get(worker).and_then(|worker| worker.session) else { continue };
                let frame = self.effects.frame(session);
                match task.reported_by {
                    Some((reporter, go)) if reporter == *worker => frame.report_acks.push((go, *id, true)),
                    Some(_) | None => frame.nevers.push(*id),
                }
            }
            if let Some(job) = self.jobs.get_mut(&id.job) {
                if let Some(lane) = job.lanes.get_mut(usize::from(task.number)) {
                    lane.open.remove(&id.seq);
                }
                job.ending = job.ending.saturating_sub(1);
                // A Go that was open beside the report is closed by now.
                self.finish_if_over(id.job);
            }
        }
    }
}

/// What the end of a task changes beside it.
fn follow(job: &Job, task: &Task, state: TaskState, detail: Option<&str>, already: bool) -> Option<Change> {
    let seen = || task.state_before.parse().ok().map(Change::Seen);
    if job.dry_run {
        return match state {
            TaskState::Succeeded | TaskState::Failed if job.follows => seen(),
            TaskState::Succeeded | TaskState::Failed | TaskState::Pending | TaskState::Canceled => None,
        };
    }
    match (&job.request, state) {
        (Request::ApplyPolicy { .. }, TaskState::Succeeded) => Some(Change::Policy),
        (_, _) if !job.follows => None,
        (_, TaskState::Failed) if detail.is_some_and(|detail| detail.starts_with("NotFoundException")) => {
            Some(Change::Gone)
        }
        (Request::ApplyPolicy { .. }, _) | (_, TaskState::Pending | TaskState::Canceled) => None,
        (_, TaskState::Failed) => seen(),
        (_, TaskState::Succeeded) if already => seen(),
        // It takes effect once its key store is connected again.
        (Request::EnableKey | Request::DisableKey, TaskState::Succeeded) if task.state_before == "Unavailable" => None,
        (Request::EnableKey, TaskState::Succeeded) => Some(Change::Brought { state: KeyState::Enabled, days: None }),
        (Request::DisableKey | Request::CancelKeyDeletion, TaskState::Succeeded) => {
            Some(Change::Brought { state: KeyState::Disabled, days: None })
        }
        (Request::ScheduleKeyDeletion { days }, TaskState::Succeeded) => {
            Some(Change::Brought { state: KeyState::PendingDeletion, days: Some(*days) })
        }
    }
}

/// The status text of a refusal, as the API tells it.
pub(super) fn told(said: &Refusal) -> String {
    format!("{}: {}", said.code, said.text)
}

/// Doubling from the first to the longest, spread by up to a half so that a lane's tasks do not come back at once. The
/// spread is taken from the task, not from chance.
fn pause(failures: u32, seq: u32) -> Duration {
    let full = PAUSE_FIRST.saturating_mul(1 << failures.saturating_sub(1).min(10)).min(PAUSE_LONGEST);
    let spread = f64::from(seq.wrapping_mul(2_654_435_769) >> 16) / 65_536.0;
    full.mul_f64(1.0 - 0.5 * spread)
}
