//! The worker's steps. A worker may also do nothing for any length of time: that is a frozen one, or one cut off.

use crate::{
    model::{Bounds, Rules},
    state::{FromLeader, J, JOBS, Outcome, Phase, Request, State, Try, W, Worker, asked},
};

/// The next frame of the session arrives.
pub(crate) fn receive(state: &State, rules: &Rules, worker: W) -> Option<State> {
    if state.workers[worker].session.is_empty() {
        return None;
    }
    let mut next = state.clone();
    let own = &mut next.workers[worker];
    match own.session.remove(0) {
        FromLeader::Lease { left, aborted } => {
            own.lease = own.lease.max(left);
            for job in (0..JOBS).filter(|job| aborted[*job]) {
                set_flag(own, job);
            }
        }
        FromLeader::Go { job, open } => {
            // Frames come in order: without a live lease now, the one the Go came under has lapsed.
            let void = own.aborted[job] || (own.lease == 0 && rules.go_dies_with_lease);
            match &own.tries[job] {
                Some(Try { phase: Phase::Sent | Phase::Ended(_), .. }) => {}
                None | Some(Try { phase: Phase::Held { .. }, .. }) => {
                    own.tries[job] = Some(Try { phase: Phase::Held { void }, open });
                }
            }
        }
    }
    Some(next)
}

/// The abort command reaches the worker's own queue, or the leader repeats it over the session. Neither is certain.
pub(crate) fn hear_abort(state: &State, worker: W, job: J) -> Option<State> {
    let own = &state.workers[worker];
    if !state.jobs[job].command || state.jobs[job].finished() || !own.alive || own.aborted[job] {
        return None;
    }
    let mut next = state.clone();
    set_flag(&mut next.workers[worker], job);
    Some(next)
}

/// Held Gos of the job are void from now on, also when the flag is forgotten later.
fn set_flag(own: &mut Worker, job: J) {
    own.aborted[job] = true;
    if let Some(Try { phase: Phase::Held { void }, .. }) = &mut own.tries[job] {
        *void = true;
    }
}

/// A finished job's flag is forgotten. The leader's word for it comes behind all frames sent before.
pub(crate) fn forget(state: &State, worker: W, job: J) -> Option<State> {
    let own = &state.workers[worker];
    if !state.jobs[job].finished() || !own.aborted[job] || !own.session.is_empty() {
        return None;
    }
    let mut next = state.clone();
    next.workers[worker].aborted[job] = false;
    Some(next)
}

/// Flag, lease and Go allow a KMS request of this try now.
fn may_begin(own: &Worker, job: J) -> bool {
    let held = matches!(own.tries[job], Some(Try { phase: Phase::Held { void: false }, .. }));
    held && own.lease > 0 && !own.aborted[job]
}

/// Observe, decide: the key is in the asked state.
pub(crate) fn already_there(state: &State, worker: W, job: J) -> Option<State> {
    if !may_begin(&state.workers[worker], job) || state.key != asked(job) {
        return None;
    }
    Some(ended(state, worker, job, Outcome::Succeeded))
}

/// Observe, decide, check flag, lease and Go, act. In doubt it acts, so what it read does not matter here.
pub(crate) fn act(state: &State, bounds: &Bounds, worker: W, job: J) -> Option<State> {
    if !may_begin(&state.workers[worker], job) {
        return None;
    }
    let mut next = state.clone();
    next.sent_after_end |= next.jobs[job].finished();
    next.requests.push(Request { job, worker: Some(worker), left: bounds.operation_timeout });
    if let Some(held) = &mut next.workers[worker].tries[job] {
        held.phase = Phase::Sent;
    }
    Some(next)
}

/// The flag or the lease forbids the held Go: it is given back.
pub(crate) fn unstarted(state: &State, worker: W, job: J) -> Option<State> {
    match state.workers[worker].tries[job].as_ref()?.phase {
        Phase::Held { void: true } => Some(ended(state, worker, job, Outcome::Unstarted)),
        Phase::Held { void: false } | Phase::Sent | Phase::Ended(_) => None,
    }
}

/// No answer came. It is told when the request can no longer take effect: then the report frees the Go safely.
pub(crate) fn unanswered(state: &State, rules: &Rules, worker: W, job: J) -> Option<State> {
    let own = &state.workers[worker];
    if own.tries[job].as_ref()?.phase != Phase::Sent {
        return None;
    }
    let under_way = |r: &Request| r.worker == Some(worker) && r.job == job;
    if rules.unanswered_told_after_timeout && state.requests.iter().any(under_way) {
        return None;
    }
    let mut next = ended(state, worker, job, Outcome::Unanswered);
    for request in next.requests.iter_mut().filter(|r| under_way(r)) {
        request.worker = None;
    }
    Some(next)
}

fn ended(state: &State, worker: W, job: J, outcome: Outcome) -> State {
    let mut next = state.clone();
    if let Some(ended) = &mut next.workers[worker].tries[job] {
        ended.phase = Phase::Ended(outcome);
    }
    next
}

/// The session breaks and a new one begins with Hello: what was under way on the old one is lost, Gos that were not
/// begun are void, and the leader frees what is not declared.
pub(crate) fn hello(state: &State, worker: W) -> Option<State> {
    if !state.workers[worker].alive || !state.leader.leads() {
        return None;
    }
    let mut next = state.clone();
    let own = &mut next.workers[worker];
    own.session.clear();
    for held in &mut own.tries {
        if matches!(held, Some(Try { phase: Phase::Held { .. }, .. })) {
            *held = None;
        }
    }
    if let Some(go) = &state.leader.open
        && go.worker == worker
        && !matches!(next.workers[worker].tries[go.job], Some(Try { open: true, .. }))
    {
        next.free_open_go();
    }
    if next.leader.renewal.as_ref().is_some_and(|renewal| renewal.worker == worker) {
        next.leader.renewal = None;
    }
    (next != *state).then_some(next)
}

/// Only with rule 4 taken away: a delivery, perhaps late or repeated, starts without asking.
pub(crate) fn start_without_go(state: &State, worker: W, job: J) -> Option<State> {
    let own = &state.workers[worker];
    let delivered = state.jobs[job].dispatched != crate::state::Dispatched::No;
    if !delivered || !own.alive || own.tries[job].is_some() {
        return None;
    }
    let mut next = state.clone();
    next.workers[worker].tries[job] = Some(Try { phase: Phase::Held { void: false }, open: false });
    Some(next)
}

/// The process dies; its request under way does not.
pub(crate) fn crash(state: &State, worker: W) -> Option<State> {
    if !state.workers[worker].alive || state.worker_crashes == 0 {
        return None;
    }
    let mut next = state.clone();
    next.worker_crashes -= 1;
    next.workers[worker] = Worker::default();
    for request in next.requests.iter_mut().filter(|r| r.worker == Some(worker)) {
        request.worker = None;
    }
    Some(next)
}

/// A new process, with a new id: the leader still waits for the old one, so the model reuses its place only after that.
pub(crate) fn restart(state: &State, workers: usize, worker: W) -> Option<State> {
    let old_counts =
        state.leader.leases[worker] > 0 || state.leader.open.as_ref().is_some_and(|go| go.worker == worker);
    if worker >= workers || state.workers[worker].alive || old_counts {
        return None;
    }
    let mut next = state.clone();
    next.workers[worker].alive = true;
    Some(next)
}
