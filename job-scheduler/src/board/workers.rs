//! Workers: sessions, leases, and what becomes of the Gos of a lost one.

use std::collections::HashSet;

use job_model::{GoId, JobId, Moment, TaskRef, TaskState, WorkerId};

use super::{
    Board, Lease, POISON_AFTER, SessionId,
    looks::POISON,
    task::{Phase, Why},
};

/// A worker's first words in a session.
#[derive(Clone, Debug)]
pub struct Hello {
    /// Its process.
    pub worker: WorkerId,
    /// For logs.
    pub name: String,
    /// Gos it takes at once; 0 of one that leaves.
    pub concurrency: u32,
    /// Begun, and not yet acknowledged.
    pub open: Vec<(GoId, TaskRef)>,
}

#[derive(Debug)]
pub(super) struct Worker {
    pub(super) session: Option<SessionId>,
    /// Remembered in the store; no lease before.
    registered: bool,
    /// Has had a lease of this leader; before, `lease_end` only bounds one of an earlier leader.
    leased: bool,
    /// By the leader's clock; never earlier than by the worker's own.
    pub(super) lease_end: Moment,
    pub(super) concurrency: usize,
    pub(super) open: HashSet<GoId>,
    /// Jobs whose spec this session has.
    pub(super) specs: HashSet<JobId>,
}

impl Worker {
    /// Whether it may begin requests.
    pub(super) fn is_leased(&self, now: Moment) -> bool {
        self.leased && self.lease_end > now
    }
}

/// A permit that was given.
#[derive(Debug)]
pub(super) struct OpenGo {
    pub(super) task: TaskRef,
    pub(super) worker: WorkerId,
    pub(super) acting: bool,
    /// Its lease has ended, or its job stops: it is freed at this moment at the latest.
    pub(super) free_at: Option<Moment>,
}

impl Board {
    /// A worker opens a session. What it does not declare as open it has voided.
    pub fn hello(&mut self, session: SessionId, hello: Hello, now: Moment) {
        let concurrency = usize::try_from(hello.concurrency).unwrap_or(usize::MAX);
        let worker = self.workers.entry(hello.worker).or_insert_with(|| {
            self.effects.register.push((hello.worker, hello.name.clone()));
            Worker {
                session: None,
                registered: false,
                leased: false,
                lease_end: now + self.settings.lease,
                concurrency,
                open: HashSet::new(),
                specs: HashSet::new(),
            }
        });
        if let Some(old) = worker.session.replace(session) {
            self.sessions.remove(&old);
        }
        worker.specs.clear();
        worker.concurrency = concurrency;
        self.sessions.insert(session, hello.worker);
        let declared: HashSet<GoId> = hello.open.iter().map(|(go, _)| *go).collect();
        let voided: Vec<GoId> = worker.open.iter().copied().filter(|go| !declared.contains(go)).collect();
        for go in voided {
            self.go_voided(go, now);
        }
        for (go, task) in hello.open {
            self.go_declared(go, task, hello.worker, now);
        }
        self.drop_offers(hello.worker);
        self.pages_lost(hello.worker);
        if self.predecessors.remove(&hello.worker) && self.predecessors.is_empty() && self.holds_back() {
            self.inherited_until = now;
            self.release_inherited(now, now);
        }
        if self.workers.get(&hello.worker).is_some_and(|worker| worker.registered) {
            self.send_aborts(hello.worker);
        }
    }

    /// The store remembers the worker: it may have leases from now on.
    pub fn registered(&mut self, worker: WorkerId) {
        if let Some(entry) = self.workers.get_mut(&worker) {
            entry.registered = true;
            self.send_aborts(worker);
        }
    }

    fn send_aborts(&mut self, worker: WorkerId) {
        let Some(session) = self.workers.get(&worker).and_then(|worker| worker.session) else { return };
        let aborted = self.aborted();
        if !aborted.is_empty() {
            self.effects.frame(session).aborts.extend(aborted);
        }
    }

    /// Jobs that are stopping.
    fn aborted(&self) -> Vec<JobId> {
        self.jobs.iter().filter(|(_, job)| job.stopping).map(|(id, _)| *id).collect()
    }

    /// A session has ended; the worker may come back by another, or its lease runs out.
    pub fn session_closed(&mut self, session: SessionId) {
        let Some(id) = self.sessions.remove(&session) else { return };
        if let Some(worker) = self.workers.get_mut(&id) {
            worker.session = None;
        }
        self.drop_offers(id);
        self.looks_lost(id);
        self.pages_lost(id);
    }

    /// Renews the worker's lease. In this order: extend it, then read the aborted jobs (rule 1 of the stop protocol):
    /// a lease that outlives an abort names it.
    pub fn heartbeat(&mut self, session: SessionId, number: u64, now: Moment) {
        let Some(id) = self.sessions.get(&session).copied() else { return };
        let end = (now + self.settings.lease).min(self.term_end);
        let Some(worker) = self.workers.get_mut(&id).filter(|worker| worker.registered) else { return };
        if end <= now {
            return;
        }
        if worker.lease_end <= now {
            self.lease_lapsed(id);
        }
        if let Some(worker) = self.workers.get_mut(&id) {
            if !worker.is_leased(now) {
                self.lanes.iter_mut().for_each(|lane| lane.starved = false);
            }
            worker.leased = true;
            worker.lease_end = end;
        }
        let aborted = self.aborted();
        self.effects.frame(session).lease = Some(Lease { number, span: end.since(now), aborted });
    }

    /// Notes the leases that have ended.
    pub(super) fn lapse(&mut self, now: Moment) {
        let lapsed: Vec<WorkerId> = self
            .workers
            .iter()
            .filter(|(_, worker)| worker.lease_end <= now && !worker.open.is_empty())
            .map(|(id, _)| *id)
            .collect();
        for id in lapsed {
            self.lease_lapsed(id);
        }
    }

    /// The worker's lease has ended: what it had begun may still be under way for one operation timeout, and what it
    /// had not begun it never will (rule 5).
    fn lease_lapsed(&mut self, id: WorkerId) {
        let Some(worker) = self.workers.get(&id) else { return };
        let free_at = worker.lease_end + self.settings.operation_timeout;
        for go in &worker.open {
            if let Some(go) = self.gos.get_mut(go) {
                go.free_at.get_or_insert(free_at);
            }
        }
    }

    /// Frees the Gos whose time has come: their worker is lost, or does not answer.
    pub(super) fn expire(&mut self, now: Moment) {
        let expired: Vec<GoId> =
            self.gos.iter().filter(|(_, go)| go.free_at.is_some_and(|at| at <= now)).map(|(id, _)| *id).collect();
        for id in expired {
            let Some(go) = self.close_go(id) else { continue };
            if go.acting {
                self.note_write(go.task, now);
            }
            let Some(task) = self.tasks.get_mut(&go.task) else {
                self.finish_if_over(go.task.job);
                continue;
            };
            if task.phase != Phase::Waiting {
                continue; // another Go or its end is under way
            }
            task.lost += 1;
            if go.acting {
                task.doubt = Some(now);
            }
            tracing::warn!(
                job.id = %go.task.job, task.seq = go.task.seq, worker.id = %go.worker,
                "A worker was lost while it tried a task."
            );
            let poison = task.lost >= POISON_AFTER;
            if self.jobs.get(&go.task.job).is_some_and(|job| job.stopping) {
                self.settle_task(go.task, now);
                self.finish_if_over(go.task.job);
            } else if poison {
                self.poisoned(go.task, now);
            } else {
                self.wait_again(go.task, true);
            }
        }
    }

    /// A task that is held to kill its workers is looked at and told as found; one that changes nothing is told.
    fn poisoned(&mut self, id: TaskRef, now: Moment) {
        if self.jobs.get(&id.job).is_some_and(|job| job.dry_run) {
            self.end(id, TaskState::Failed, Some(POISON.to_owned()), false);
        } else {
            self.look_at(id, now, Why::Poison);
        }
    }

    /// A Go that its worker will never begin.
    pub(super) fn go_voided(&mut self, id: GoId, now: Moment) {
        let Some(go) = self.close_go(id) else { return };
        if go.acting {
            self.give_token_back(go.task);
        }
        if self.jobs.get(&go.task.job).is_some_and(|job| job.stopping) {
            self.settle_task(go.task, now);
        } else if self.tasks.get(&go.task).is_some_and(|task| task.phase == Phase::Waiting) {
            self.wait_again(go.task, true);
        }
        self.finish_if_over(go.task.job);
    }

    /// A begun Go that this leader may not know: it was given by an earlier one.
    fn go_declared(&mut self, id: GoId, task: TaskRef, worker: WorkerId, now: Moment) {
        if self.gos.contains_key(&id) {
            return;
        }
        // Numbers grow over all leaders. Taken for one that is open, this would stand in for another task's Go later.
        if id >= GoId::new(self.epoch, self.next_go) {
            tracing::error!(worker.id = %worker, go = id.as_u64(), "A worker declares a Go that nobody has given yet.");
            return;
        }
        let dry_run = self.jobs.get(&task.job).is_some_and(|job| job.dry_run);
        if let Some(state) = self.tasks.get_mut(&task).filter(|state| state.phase == Phase::Waiting)
            && (dry_run || !self.held.contains_key(&state.key))
        {
            state.phase = Phase::Going(id);
            if !dry_run {
                self.held.insert(state.key.clone(), id);
            }
        }
        // Also of a task that has ended: its job does not finish while this is open.
        // Its worker lives and will report; should it be lost, its lease's end frees it like any other. That of a stopping
        // job is awaited no longer than its worker can be at it: the worker has the flag, or its lease ends.
        let stops = self.jobs.get(&task.job).is_some_and(|job| job.stopping);
        let lease_end = self.workers.get(&worker).map_or(now, |worker| worker.lease_end.max(now));
        let free_at = stops.then(|| lease_end + self.settings.operation_timeout);
        self.gos.insert(id, OpenGo { task, worker, acting: !dry_run, free_at });
        if let Some(worker) = self.workers.get_mut(&worker) {
            worker.open.insert(id);
        }
    }

    /// Takes an open Go off all books and lets those that wait for its key move on.
    pub(super) fn close_go(&mut self, id: GoId) -> Option<OpenGo> {
        let go = self.gos.remove(&id)?;
        if let Some(worker) = self.workers.get_mut(&go.worker) {
            worker.open.remove(&id);
        }
        if let Some(task) = self.tasks.get_mut(&go.task) {
            if task.phase == Phase::Going(id) {
                task.phase = Phase::Waiting;
            }
            if self.held.get(&task.key) == Some(&id) {
                self.held.remove(&task.key);
                for waiting in self.queued_for.remove(&task.key).unwrap_or_default() {
                    self.enqueue(waiting, true);
                }
            }
        }
        for lane in &mut self.lanes {
            lane.starved = false;
        }
        Some(go)
    }

    /// The worker no longer holds its deliveries, or will ask again for those it does.
    fn drop_offers(&mut self, worker: WorkerId) {
        for task in self.tasks.values_mut() {
            task.offers.retain(|offer| *offer != worker);
        }
    }

    /// Forgets workers that are gone for good.
    pub(super) fn forget_workers(&mut self, now: Moment) {
        let settled = self.settings.operation_timeout * 2;
        let gone: Vec<WorkerId> = self
            .workers
            .iter()
            .filter(|(_, worker)| {
                worker.registered
                    && worker.session.is_none()
                    && worker.open.is_empty()
                    && worker.lease_end + settled < now
            })
            .map(|(id, _)| *id)
            .collect();
        for id in &gone {
            self.workers.remove(id);
        }
        self.effects.unregister.extend(gone);
        if self.inherited_until + settled < now {
            self.effects.unregister.extend(self.predecessors.drain());
        }
    }
}
