//! The leader's steps: one sequential actor, cut into the pieces whose order the rules fix.

use job_model::{
    TaskState,
    state::{JobEvent, TaskEvent},
};

use crate::{
    model::{Bounds, Protocol, Rules},
    state::{Dispatched, FromLeader, J, JOBS, Leader, OpenGo, Outcome, Phase, Renewal, RenewalStep, State, W, asked},
};

/// First step of a renewal. The heartbeat that asks for it was sent just now: a later one only shortens what the
/// worker believes.
pub(crate) fn begin_renewal(state: &State, protocol: &Protocol, worker: W) -> Option<State> {
    let own = &state.workers[worker];
    let answered = own.session.iter().all(|frame| matches!(frame, FromLeader::Go { .. }));
    let asks = own.alive && own.session.len() < protocol.frames && answered;
    if !state.leader.leads() || !asks || state.leader.renewal.is_some() {
        return None;
    }
    let mut next = state.clone();
    let step = if protocol.rules.extend_before_reading_aborts {
        extend(&mut next, &protocol.bounds, worker);
        RenewalStep::Extended
    } else {
        RenewalStep::AbortsRead(stopping_jobs(&next))
    };
    next.leader.renewal = Some(Renewal { worker, step });
    Some(next)
}

/// Second step of a renewal: the Lease is sent.
pub(crate) fn end_renewal(state: &State, bounds: &Bounds) -> Option<State> {
    if !state.leader.leads() {
        return None;
    }
    let mut next = state.clone();
    let Renewal { worker, step } = next.leader.renewal.take()?;
    let aborted = match step {
        RenewalStep::Extended => stopping_jobs(&next),
        RenewalStep::AbortsRead(aborted) => {
            extend(&mut next, bounds, worker);
            aborted
        }
    };
    let left = next.leader.leases[worker];
    send(&mut next, worker, FromLeader::Lease { left, aborted });
    Some(next)
}

/// A lease never outlives the leader's term.
fn extend(state: &mut State, bounds: &Bounds, worker: W) {
    state.leader.leases[worker] = bounds.lease.min(state.leader.term);
}

/// The set that renewals read.
fn stopping_jobs(state: &State) -> [bool; JOBS] {
    std::array::from_fn(|job| state.jobs[job].published && state.jobs[job].stopping())
}

fn send(state: &mut State, worker: W, frame: FromLeader) {
    if state.workers[worker].alive {
        state.workers[worker].session.push(frame);
    }
}

/// One transaction checks the abort and moves the cursor; from then on the task's deliveries come at any time, to any
/// worker, any number of times.
pub(crate) fn dispatch(state: &State, job: J) -> Option<State> {
    let task = &state.jobs[job];
    if !state.leader_is_free() || !task.running() || task.dispatched != Dispatched::No {
        return None;
    }
    let mut next = state.clone();
    next.jobs[job].dispatched = Dispatched::ByThisLeader;
    Some(next)
}

/// The answer to a Start: Go. Never and wait change nothing. A worker asks for what it is not already trying.
pub(crate) fn give_go(state: &State, protocol: &Protocol, worker: W, job: J) -> Option<State> {
    let leader = &state.leader;
    let old_key = leader.old_workers > 0 && state.jobs.iter().any(|j| j.dispatched == Dispatched::ByOldLeader);
    let task = &state.jobs[job];
    let startable = task.running() && task.pending() && task.dispatched != Dispatched::No;
    let asks = state.workers[worker].tries[job].is_none() && state.workers[worker].session.len() < protocol.frames;
    if !leader.leads()
        || !state.leader_is_free()
        || leader.leases[worker] == 0
        || leader.open.is_some()
        || old_key
        || !startable
        || !asks
    {
        return None;
    }
    let mut next = state.clone();
    next.leader.open = Some(OpenGo { job, worker, freed_in: None });
    send(&mut next, worker, FromLeader::Go { job, open: true });
    Some(next)
}

/// First step of an abort. What was never dispatched is canceled by it.
pub(crate) fn commit_abort(state: &State, job: J) -> Option<State> {
    if !state.leader.alive || !state.jobs[job].command || !state.jobs[job].running() {
        return None;
    }
    let mut next = state.clone();
    let stop = &mut next.jobs[job];
    stop.state = Some(stop.state?.next(JobEvent::Abort).ok()?);
    if stop.dispatched == Dispatched::No {
        stop.task = stop.task.next(TaskEvent::Cancel).unwrap_or(stop.task);
    }
    Some(next)
}

/// Second step: renewals name it from now on.
pub(crate) fn publish_abort(state: &State, rules: &Rules, job: J) -> Option<State> {
    let stop = &state.jobs[job];
    let turn = stop.leases_read != rules.publish_abort_before_reading_leases;
    if !state.leader.alive || !stop.stopping() || stop.published || !turn {
        return None;
    }
    let mut next = state.clone();
    next.jobs[job].published = true;
    Some(next)
}

/// Third step: the deadline of the open Go is its lease's end as read now, plus the operation timeout. Renewals after
/// this carry the abort.
pub(crate) fn read_leases(state: &State, rules: &Rules, bounds: &Bounds, job: J) -> Option<State> {
    let stop = &state.jobs[job];
    let turn = stop.published == rules.publish_abort_before_reading_leases;
    if !state.leader.alive || !stop.stopping() || stop.leases_read || !turn {
        return None;
    }
    let mut next = state.clone();
    next.jobs[job].leases_read = true;
    let leases = next.leader.leases;
    if let Some(go) = &mut next.leader.open
        && go.job == job
    {
        let deadline = leases[go.worker] + rules.grace(bounds);
        go.freed_in = Some(go.freed_in.map_or(deadline, |earlier| earlier.min(deadline)));
    }
    Some(next)
}

/// A report arrives, is committed, and acknowledged; `ack_lost`: the worker keeps it and will send it again.
pub(crate) fn take_report(state: &State, worker: W, job: J, ack_lost: bool) -> Option<State> {
    let ended = state.workers[worker].tries[job].as_ref()?;
    let Phase::Ended(outcome) = ended.phase else { return None };
    if !state.leader_is_free() {
        return None;
    }
    let mut next = state.clone();
    if ended.open {
        next.free_open_go();
    }
    let task = &mut next.jobs[job];
    match outcome {
        // The first final state wins: `next` refuses later ones.
        Outcome::Succeeded => task.task = task.task.next(TaskEvent::Succeed).unwrap_or(task.task),
        Outcome::Unanswered => task.doubt |= task.pending(),
        Outcome::Unstarted => {}
    }
    if !ack_lost {
        next.workers[worker].tries[job] = None;
    }
    Some(next)
}

/// Drained: what is left is canceled, unless it must be looked at first.
pub(crate) fn settle(state: &State, rules: &Rules, job: J) -> Option<State> {
    let stop = &state.jobs[job];
    let looks_first = rules.look_before_telling_doubt && stop.doubtful();
    if !state.leader_is_free() || !state.drained(job) || !stop.pending() || looks_first {
        return None;
    }
    let mut next = state.clone();
    next.jobs[job].task = TaskState::Pending.next(TaskEvent::Cancel).ok()?;
    Some(next)
}

/// Drained and doubtful: a live worker looks at the key, under its lease, whatever its flags.
pub(crate) fn look(state: &State, worker: W, job: J) -> Option<State> {
    let stop = &state.jobs[job];
    let wanted = state.drained(job) && stop.pending() && stop.doubtful() && stop.look.is_none();
    if !state.leader.leads()
        || !state.leader_is_free()
        || !wanted
        || !state.workers[worker].alive
        || state.workers[worker].lease == 0
    {
        return None;
    }
    let mut next = state.clone();
    next.jobs[job].look = Some(state.key == asked(job));
    Some(next)
}

/// The look's answer arrives and is told as found.
pub(crate) fn take_look(state: &State, job: J) -> Option<State> {
    if !state.leader_is_free() {
        return None;
    }
    let mut next = state.clone();
    let stop = &mut next.jobs[job];
    let told = if stop.look.take()? { TaskEvent::Succeed } else { TaskEvent::Cancel };
    stop.task = stop.task.next(told).unwrap_or(stop.task);
    Some(next)
}

/// Every task is final and nothing of the job is under way: `finished` is committed, and a cancel may answer 200.
pub(crate) fn finish(state: &State, rules: &Rules, job: J) -> Option<State> {
    let ended = &state.jobs[job];
    let stopped = ended.running() || (ended.published && ended.leases_read);
    let clear = state.nothing_under_way(job) || !rules.finish_after_open_gos;
    if !state.leader_is_free() || ended.pending() || !stopped || !clear {
        return None;
    }
    let mut next = state.clone();
    let job = &mut next.jobs[job];
    job.state = Some(job.state?.next(JobEvent::Finish).ok()?);
    // Forgotten with the job; also keeps the model small.
    (job.published, job.leases_read, job.doubt, job.look) = (false, false, false, None);
    Some(next)
}

/// The leadership row is renewed; the term counts from before that was sent.
pub(crate) fn renew_term(state: &State, bounds: &Bounds) -> Option<State> {
    if !state.leader.leads() || state.leader.term == bounds.term {
        return None;
    }
    let mut next = state.clone();
    next.leader.term = bounds.term;
    Some(next)
}

/// The leader dies, and its memory with it.
pub(crate) fn crash(state: &State) -> Option<State> {
    if !state.leader.alive || state.takeovers == 0 {
        return None;
    }
    let mut next = state.clone();
    next.free_open_go();
    next.leader = Leader { term: state.leader.term, ..Leader::default() };
    for job in &mut next.jobs {
        job.look = None;
    }
    Some(next)
}

/// The standby takes over once the old term is over, whether the old leader died or was only cut off; its writes are
/// refused from now on. The new one reads the stopping jobs from the database before it serves renewals.
pub(crate) fn take_over(state: &State, rules: &Rules, bounds: &Bounds) -> Option<State> {
    if state.takeovers == 0 || state.leader.term > 0 {
        return None;
    }
    let mut next = state.clone();
    next.takeovers -= 1;
    next.free_open_go();
    let old_workers = if rules.new_leader_waits { bounds.operation_timeout } else { 0 };
    next.leader = Leader { alive: true, term: bounds.term, old_workers, ..Leader::default() };
    for worker in &mut next.workers {
        // Sessions end with the leader, and so does what was under way on them.
        worker.session.clear();
    }
    for job in &mut next.jobs {
        job.look = None;
        (job.published, job.leases_read) = (job.stopping(), job.stopping());
        if job.dispatched == Dispatched::ByThisLeader && !job.finished() {
            job.dispatched = Dispatched::ByOldLeader;
        }
    }
    Some(next)
}
