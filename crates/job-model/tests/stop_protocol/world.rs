//! What is neither leader nor worker: KMS, time, and the callers.

use job_model::JobState;

use crate::{
    model::{Bounds, Rules},
    state::{FromLeader, J, JOBS, OpenGo, Outcome, Phase, State, Try, WORKERS, asked},
};

/// KMS does a request. Its answer arrives, or is lost.
pub(crate) fn take_effect(state: &State, index: usize, answered: bool) -> Option<State> {
    let request = state.requests.get(index)?;
    if answered && request.worker.is_none() {
        return None;
    }
    let mut next = state.clone();
    let request = next.requests.remove(index);
    let job = &mut next.jobs[request.job];
    job.changed_key |= state.key != asked(request.job);
    next.effect_after_end |= job.finished();
    next.key = asked(request.job);
    next.note_key();
    if answered
        && let Some(worker) = request.worker
        && let Some(sent @ Try { phase: Phase::Sent, .. }) = &mut next.workers[worker].tries[request.job]
    {
        sent.phase = Phase::Ended(Outcome::Succeeded);
    }
    Some(next)
}

/// Time passes: all countdowns go down by one.
pub(crate) fn tick(state: &State, rules: &Rules, bounds: &Bounds) -> Option<State> {
    let mut next = state.clone();
    // What is over without effect never has one.
    next.requests.retain(|request| request.left > 0);
    for request in &mut next.requests {
        request.left -= 1;
    }
    for worker in &mut next.workers {
        for frame in &mut worker.session {
            if let FromLeader::Lease { left, .. } = frame {
                *left = left.saturating_sub(1);
            }
        }
        worker.session.retain(|frame| *frame != FromLeader::Lease { left: 0, aborted: [false; JOBS] });
        let live = worker.lease > 0;
        worker.lease = worker.lease.saturating_sub(1);
        if live && worker.lease == 0 && rules.go_dies_with_lease {
            for held in worker.tries.iter_mut().flatten() {
                if let Phase::Held { void } = &mut held.phase {
                    *void = true;
                }
            }
        }
    }
    tick_leader(&mut next, rules, bounds);
    (next != *state).then_some(next)
}

fn tick_leader(next: &mut State, rules: &Rules, bounds: &Bounds) {
    let leader = &mut next.leader;
    if next.takeovers > 0 {
        leader.term = leader.term.saturating_sub(1);
    }
    leader.old_workers = leader.old_workers.saturating_sub(1);
    if let Some(OpenGo { freed_in: Some(left), .. }) = &mut leader.open {
        *left = left.saturating_sub(1);
    }
    for worker in 0..WORKERS {
        let live = leader.leases[worker] > 0;
        leader.leases[worker] = leader.leases[worker].saturating_sub(1);
        if live
            && leader.leases[worker] == 0
            && let Some(go @ OpenGo { freed_in: None, .. }) = &mut leader.open
            && go.worker == worker
        {
            go.freed_in = Some(rules.grace(bounds));
        }
    }
    if let Some(OpenGo { freed_in: Some(0), .. }) = next.leader.open
        && let Some(go) = next.free_open_go()
    {
        next.jobs[go.job].doubt = true;
    }
}

/// A caller posts the job; the second one only when the first has ended.
pub(crate) fn post(state: &State, jobs: usize, overlap: bool, job: J) -> Option<State> {
    let turn = job < jobs && (overlap || job == 0 || state.jobs[job - 1].finished());
    if !turn || state.jobs[job].state.is_some() {
        return None;
    }
    let mut next = state.clone();
    next.jobs[job].state = Some(JobState::Running);
    next.note_key();
    Some(next)
}

/// A caller cancels the job: the abort command is published, and the leader will get it some time.
pub(crate) fn cancel(state: &State, job: J) -> Option<State> {
    let target = &state.jobs[job];
    if target.command || !target.running() {
        return None;
    }
    let mut next = state.clone();
    next.jobs[job].command = true;
    Some(next)
}
