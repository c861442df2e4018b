//! The board's loop: events in, a turn, effects out.

use std::{collections::HashMap, sync::Arc, time::Duration};

use job_model::{JobId, Moment, TaskRef, places::PlaceQuotas};
use keyfleet_proto::workers::v1::{FromLeader, JobSpec};
use service_kit::clock::boottime;
use tokio::{
    sync::{mpsc, oneshot, watch},
    task::JoinSet,
};

use super::{
    Current, EVENTS, Event, Handle, Outlet, Owned, Term, dispatcher, frames, intake, maintenance, publisher, takeover,
    walker, writer,
};
use crate::{
    Context,
    board::{Board, Dispatch, Effects, SessionId},
    containers::{Estate, Reach},
};

/// Events handled in one turn at the most, so that effects are not held up by a flood.
const EVENTS_A_TURN: usize = 256;

/// Where effects go.
struct Hands {
    write: mpsc::UnboundedSender<writer::Write>,
    dispatch: mpsc::UnboundedSender<Dispatch>,
    publish: mpsc::UnboundedSender<Vec<TaskRef>>,
    abort: mpsc::UnboundedSender<JobId>,
    workers: mpsc::UnboundedSender<maintenance::Change>,
    walk: mpsc::UnboundedSender<walker::Work>,
}

/// The way to a worker, and how accounts are reached as it was told last.
struct Session {
    outlet: Outlet,
    told: Option<Arc<[Reach]>>,
}

struct Loop {
    board: Board,
    hands: Hands,
    sessions: HashMap<SessionId, Session>,
    reaches: Arc<[Reach]>,
    specs: HashMap<JobId, JobSpec>,
    owned: Owned,
    waiting: HashMap<JobId, Vec<oneshot::Sender<()>>>,
}

/// Leads until the term has ended. All that it started has ended when it returns.
pub(super) async fn run(context: Context, current: Current, term: Term) {
    let owned = Owned::default();
    let (board, specs, sweeps) = loop {
        match takeover::load(&context, &term, &owned).await {
            Ok(loaded) => break loaded,
            Err(error) => tracing::warn!(%error, "The unfinished jobs could not be read yet."),
        }
        tokio::select! {
            () = term.ended.cancelled() => return,
            () = tokio::time::sleep(Duration::from_millis(200)) => {}
        }
    };
    let (events, incoming) = mpsc::channel(EVENTS);
    let handle = Handle { epoch: term.epoch, events, owned: owned.clone(), ended: term.ended.clone() };
    let mut tasks = JoinSet::new();
    let (write, writes) = mpsc::unbounded_channel();
    let (dispatch, dispatches) = mpsc::unbounded_channel();
    let (publish, offers) = mpsc::unbounded_channel();
    let (abort, acked) = mpsc::unbounded_channel();
    let (workers, changes) = mpsc::unbounded_channel();
    let (walk, walked) = mpsc::unbounded_channel();
    for sweep in sweeps {
        let _ = walk.send(walker::Work::Sweep(sweep));
    }
    tasks.spawn(writer::run(context.clone(), handle.clone(), writes));
    tasks.spawn(dispatcher::run(context.clone(), handle.clone(), dispatches));
    tasks.spawn(publisher::run(context.clone(), offers));
    tasks.spawn(maintenance::remember_workers(context.clone(), handle.clone(), changes));
    tasks.spawn(maintenance::remove_old(context.clone(), handle.clone()));
    tasks.spawn(maintenance::follow_containers(context.clone()));
    tasks.spawn(walker::run(context.clone(), handle.clone(), walked));
    tasks.spawn(intake::aborts(context.clone(), handle.clone()));
    tasks.spawn(intake::acked_aborts(context.clone(), handle.clone(), acked));
    tasks.spawn(intake::dead_letters(context.clone(), handle.clone()));

    let state = Loop {
        board,
        hands: Hands { write, dispatch, publish, abort, workers, walk },
        sessions: HashMap::new(),
        reaches: context.estates.now().reaches().into(),
        specs,
        owned,
        waiting: HashMap::new(),
    };
    let (quotas, estates) = (context.quotas.clone(), context.estates.changes());
    current.set(Some(handle));
    state.run(incoming, quotas, estates, &term).await;
    current.set(None);
    // Their work is guarded by the epoch, so none of it can land after a takeover; it need not be awaited.
    tasks.shutdown().await;
}

impl Loop {
    async fn run(
        mut self,
        mut incoming: mpsc::Receiver<Event>,
        mut quotas: watch::Receiver<PlaceQuotas>,
        mut estates: watch::Receiver<Arc<Estate>>,
        term: &Term,
    ) {
        // What changed since the board was made is told at once.
        quotas.mark_changed();
        estates.mark_changed();
        let mut reported_at = boottime();
        loop {
            let now = boottime();
            self.board.term_renewed(*term.end.borrow());
            self.turn(now, &mut estates);
            if now.since(reported_at) > Duration::from_secs(1) {
                reported_at = now;
                self.report_gauges();
            }
            let pause = self.board.next_turn(now).since(boottime());
            tokio::select! {
                biased;
                () = term.ended.cancelled() => return,
                Ok(()) = quotas.changed() => {
                    let quotas = quotas.borrow_and_update().clone();
                    self.board.quotas_changed(quotas, boottime());
                }
                // Told before the next turn's frames.
                Ok(()) = estates.changed() => estates.mark_changed(),
                event = incoming.recv() => {
                    let Some(event) = event else { return };
                    self.handle(event);
                    for _ in 1..EVENTS_A_TURN {
                        match incoming.try_recv() {
                            Ok(event) => self.handle(event),
                            Err(_) => break,
                        }
                    }
                }
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    /// What follows from the events so far.
    fn turn(&mut self, now: Moment, estates: &mut watch::Receiver<Arc<Estate>>) {
        let effects = self.board.turn(now);
        self.tell_reaches(estates);
        self.perform(effects);
    }

    fn handle(&mut self, event: Event) {
        let now = boottime();
        match event {
            Event::JobAdded(job) => {
                self.specs.insert(job.id, keyfleet_proto::convert::spec(job.id, &job.request, job.force, job.dry_run));
                self.board.job_added(job, now);
            }
            Event::Dispatched { job, lane, tasks, left } => self.board.dispatched(job, lane, tasks, left, now),
            Event::Written(tasks) => self.board.written(&tasks),
            Event::Finished(job) => {
                self.board.finished(job);
                self.specs.remove(&job);
                self.owned.remove(job);
                for waiting in self.waiting.remove(&job).unwrap_or_default() {
                    let _ = waiting.send(());
                }
            }
            Event::AbortHeard(job) => {
                self.board.abort_heard(job);
            }
            Event::AbortCommitted(job) => self.board.abort_committed(job, now),
            Event::AwaitFinish(job, tell) => {
                if self.board.has_job(job) {
                    let waiting = self.waiting.entry(job).or_default();
                    waiting.retain(|tell| !tell.is_closed());
                    waiting.push(tell);
                } else {
                    let _ = tell.send(());
                }
            }
            Event::DeadLettered(task) => self.board.dead_lettered(task, now),
            Event::SessionOpened(session, hello, outlet) => {
                tracing::info!(worker.id = %hello.worker, worker.name = hello.name, "A worker opened a session.");
                self.sessions.insert(session, Session { outlet, told: None });
                self.board.hello(session, hello, now);
            }
            Event::Received(session, received) => {
                for job in received.stops {
                    self.board.stop_acked(job);
                }
                for report in received.reports {
                    self.board.report(session, report, now);
                }
                for (look, sight) in received.looks {
                    self.board.look_result(look, sight, now);
                }
                for (page, throttled, leaf) in received.pages {
                    self.board.page_result(page, throttled, leaf, now);
                }
                if let Some(number) = received.heartbeat {
                    self.board.heartbeat(session, number, now);
                }
                self.board.starts(session, &received.starts, now);
            }
            Event::SessionClosed(session) => {
                self.sessions.remove(&session);
                self.board.session_closed(session);
            }
            Event::Registered(worker) => self.board.registered(worker),
            Event::WalkAdded(walk) => self.board.walk_added(walk, now),
            Event::Walked(walk, next) => self.board.walked(walk, next, now),
            Event::WalksCanceled(sync) => self.board.walks_canceled(sync),
        }
    }

    fn perform(&mut self, effects: Effects) {
        let Effects { frames, writes, dispatches, publish, finish, aborts, register, unregister, walked } = effects;
        // A closed channel means that its task has ended, which it does only with the term.
        if !writes.is_empty() {
            let _ = self.hands.write.send(writer::Write::Final(writes));
        }
        for job in finish {
            let _ = self.hands.write.send(writer::Write::Finish(job));
        }
        for dispatch in dispatches {
            let _ = self.hands.dispatch.send(dispatch);
        }
        if !publish.is_empty() {
            let _ = self.hands.publish.send(publish);
        }
        for job in aborts {
            let _ = self.hands.abort.send(job);
        }
        for (worker, name) in register {
            let _ = self.hands.workers.send(maintenance::Change::Register(worker, name));
        }
        if !unregister.is_empty() {
            let _ = self.hands.workers.send(maintenance::Change::Remove(unregister));
        }
        for work in walked {
            let _ = self.hands.walk.send(walker::Work::Walked(work));
        }
        for (session, frame) in frames {
            let frame = frames::to_wire(frame, &self.specs);
            self.send(session, frame);
        }
    }

    /// Tells each worker how accounts are reached, if it was not told so before.
    ///
    /// Between a turn and its frames, because no Go, Look or page may reach a worker that does not know the way to its
    /// account. A container is put into `estates` before its creation is answered, so before any job, resource or
    /// synchronization of it is committed and told to this loop; whatever this turn gives of those, the change that it
    /// depends on is seen here, and one outlet keeps the order. For the same reason it is the first frame of a session.
    fn tell_reaches(&mut self, estates: &mut watch::Receiver<Arc<Estate>>) {
        if estates.has_changed().unwrap_or(false) {
            let reaches = estates.borrow_and_update().reaches();
            if *self.reaches != *reaches {
                self.reaches = reaches.into();
            }
        }
        let behind = |session: &Session| !session.told.as_ref().is_some_and(|told| Arc::ptr_eq(told, &self.reaches));
        let behind: Vec<_> = self.sessions.iter().filter(|(_, session)| behind(session)).map(|(id, _)| *id).collect();
        for id in behind {
            self.send(id, frames::reaches(&self.reaches));
            if let Some(session) = self.sessions.get_mut(&id) {
                session.told = Some(Arc::clone(&self.reaches));
            }
        }
    }

    fn send(&mut self, session: SessionId, frame: FromLeader) {
        let Some(Session { outlet, .. }) = self.sessions.get(&session) else { return };
        if outlet.frames.try_send(frame).is_err() {
            // The worker takes nothing more. Its session ends; it will come back, or its lease runs out.
            tracing::warn!(session = session.0, "A worker's session is stuck and is closed.");
            outlet.close.cancel();
            self.sessions.remove(&session);
            self.board.session_closed(session);
        }
    }

    fn report_gauges(&self) {
        let gauges = self.board.gauges();
        for (name, value) in [
            ("keyfleet_jobs_unfinished", gauges.jobs),
            ("keyfleet_jobs_stopping", gauges.stopping),
            ("keyfleet_tasks_outstanding", gauges.tasks),
            ("keyfleet_gos_open", gauges.open_gos),
            ("keyfleet_workers_connected", gauges.workers),
            ("keyfleet_synchronizing", gauges.walks),
        ] {
            metrics::gauge!(name).set(value as f64);
        }
    }
}

#[cfg(test)]
mod tests;
