//! The model: what can happen next, the rules that can be taken away, and what must hold.

use job_model::KeyState;
use stateright::{Model, Property};

use crate::{
    leader, properties,
    state::{J, JOBS, Job, Leader, State, Ticks, W, Worker},
    worker, world,
};

/// The rules of the design, each of which can be taken away.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rules {
    /// 1. A renewal extends the lease, then reads the aborted jobs.
    pub(crate) extend_before_reading_aborts: bool,
    /// 2. An abort is committed, then published to renewals, then the leases are read.
    pub(crate) publish_abort_before_reading_leases: bool,
    /// 3. A doubtful task is looked at before it is told.
    pub(crate) look_before_telling_doubt: bool,
    /// 4. Nothing starts without a Go, and what is final gets none.
    pub(crate) nothing_without_go: bool,
    /// 5. A Go dies with its lease: a renewed lease does not revive it ...
    pub(crate) go_dies_with_lease: bool,
    /// ... and it is freed only after lease end plus operation timeout.
    pub(crate) go_freed_after_timeout: bool,
    /// 6. A new leader waits likewise for the workers of the old one.
    pub(crate) new_leader_waits: bool,
    /// Follows from P1: an unanswered try is reported only when its request can no longer take effect.
    pub(crate) unanswered_told_after_timeout: bool,
    /// Follows from P1: a job whose tasks are all final finishes only when no Go of it is open.
    pub(crate) finish_after_open_gos: bool,
}

impl Rules {
    /// The whole design.
    pub(crate) const ALL: Self = Self {
        extend_before_reading_aborts: true,
        publish_abort_before_reading_leases: true,
        look_before_telling_doubt: true,
        nothing_without_go: true,
        go_dies_with_lease: true,
        go_freed_after_timeout: true,
        new_leader_waits: true,
        unanswered_told_after_timeout: true,
        finish_after_open_gos: true,
    };

    /// How long after the lease's end a Go still counts.
    pub(crate) const fn grace(&self, bounds: &Bounds) -> Ticks {
        if self.go_freed_after_timeout { bounds.operation_timeout } else { 0 }
    }
}

/// Spans in ticks. The term is at least the lease.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    pub(crate) lease: Ticks,
    pub(crate) operation_timeout: Ticks,
    pub(crate) term: Ticks,
}

/// What may go wrong, beside what always may: anything late, a worker silent for ever, a try unanswered.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Faults {
    /// How often a worker dies and comes back as a new one.
    pub(crate) worker_crashes: u8,
    /// How often the standby takes over.
    pub(crate) takeovers: u8,
    /// Sessions break and begin anew.
    pub(crate) broken_sessions: bool,
    /// A report's acknowledgement may be lost.
    pub(crate) lost_acks: bool,
    /// Workers may hear the abort command itself, before or beside the leader's renewals.
    pub(crate) fast_aborts: bool,
}

/// A world of a certain size with the rules that hold in it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Protocol {
    pub(crate) rules: Rules,
    pub(crate) bounds: Bounds,
    pub(crate) keys: &'static [KeyState],
    pub(crate) workers: usize,
    pub(crate) jobs: usize,
    /// Which jobs a caller may cancel.
    pub(crate) cancels: [bool; JOBS],
    pub(crate) faults: Faults,
    /// Frames under way to one worker at the most: how far the leader may run ahead of what arrives.
    pub(crate) frames: usize,
    /// Walks only one of two states that differ in who is who: half the work, but the traces swap names.
    pub(crate) alike: bool,
    /// The second job may be posted before the first has ended.
    pub(crate) overlap: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    Tick,
    Post(J),
    Cancel(J),
    TakeEffect { request: usize, answered: bool },
    // Leader
    BeginRenewal(W),
    EndRenewal,
    Dispatch(J),
    GiveGo(W, J),
    CommitAbort(J),
    PublishAbort(J),
    ReadLeases(J),
    TakeReport { worker: W, job: J, ack_lost: bool },
    Settle(J),
    Look(W, J),
    TakeLook(J),
    Finish(J),
    RenewTerm,
    CrashLeader,
    TakeOver,
    // Worker
    Receive(W),
    HearAbort(W, J),
    Forget(W, J),
    AlreadyThere(W, J),
    Act(W, J),
    Unstarted(W, J),
    Unanswered(W, J),
    Hello(W),
    StartWithoutGo(W, J),
    CrashWorker(W),
    RestartWorker(W),
}

impl Model for Protocol {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        let begin = |key| State {
            key,
            requests: Vec::new(),
            workers: std::array::from_fn(|w| Worker { alive: w < self.workers, ..Worker::default() }),
            leader: Leader { alive: true, term: self.bounds.term, ..Leader::default() },
            jobs: [Job::UNPOSTED; JOBS],
            worker_crashes: self.faults.worker_crashes,
            takeovers: self.faults.takeovers,
            sent_after_end: false,
            effect_after_end: false,
        };
        self.keys.iter().copied().map(begin).collect()
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        use Action as A;
        actions.extend([A::Tick, A::EndRenewal, A::RenewTerm, A::CrashLeader, A::TakeOver]);
        for request in 0..state.requests.len() {
            actions.extend([true, false].map(|answered| A::TakeEffect { request, answered }));
        }
        for job in 0..self.jobs {
            actions.push(A::Post(job));
            if state.jobs[job].state.is_none() {
                continue;
            }
            if self.cancels[job] {
                actions.extend([A::Cancel(job), A::CommitAbort(job), A::PublishAbort(job), A::ReadLeases(job)]);
                actions.extend([A::Settle(job), A::TakeLook(job)]);
            }
            actions.extend([A::Dispatch(job), A::Finish(job)]);
            for w in 0..self.workers {
                if state.workers[w].tries[job].is_some() {
                    actions.extend([A::AlreadyThere(w, job), A::Act(w, job), A::Unstarted(w, job)]);
                    actions.push(A::Unanswered(w, job));
                    actions.push(A::TakeReport { worker: w, job, ack_lost: false });
                    if self.faults.lost_acks {
                        actions.push(A::TakeReport { worker: w, job, ack_lost: true });
                    }
                }
                actions.extend([A::GiveGo(w, job), A::Forget(w, job), A::Look(w, job)]);
                if self.faults.fast_aborts {
                    actions.push(A::HearAbort(w, job));
                }
                if !self.rules.nothing_without_go {
                    actions.push(A::StartWithoutGo(w, job));
                }
            }
        }
        for w in 0..self.workers {
            actions.extend([A::BeginRenewal(w), A::Receive(w), A::CrashWorker(w), A::RestartWorker(w)]);
            if self.faults.broken_sessions {
                actions.push(A::Hello(w));
            }
        }
    }

    fn next_state(&self, last: &State, action: Action) -> Option<State> {
        let (rules, bounds) = (&self.rules, &self.bounds);
        let next = match action {
            Action::Tick => world::tick(last, rules, bounds),
            Action::Post(job) => world::post(last, self.jobs, self.overlap, job),
            Action::Cancel(job) => world::cancel(last, job),
            Action::TakeEffect { request, answered } => world::take_effect(last, request, answered),
            Action::BeginRenewal(w) => leader::begin_renewal(last, self, w),
            Action::EndRenewal => leader::end_renewal(last, bounds),
            Action::Dispatch(job) => leader::dispatch(last, job),
            Action::GiveGo(w, job) => leader::give_go(last, self, w, job),
            Action::CommitAbort(job) => leader::commit_abort(last, job),
            Action::PublishAbort(job) => leader::publish_abort(last, rules, job),
            Action::ReadLeases(job) => leader::read_leases(last, rules, bounds, job),
            Action::TakeReport { worker, job, ack_lost } => leader::take_report(last, worker, job, ack_lost),
            Action::Settle(job) => leader::settle(last, rules, job),
            Action::Look(w, job) => leader::look(last, w, job),
            Action::TakeLook(job) => leader::take_look(last, job),
            Action::Finish(job) => leader::finish(last, rules, job),
            Action::RenewTerm => leader::renew_term(last, bounds),
            Action::CrashLeader => leader::crash(last),
            Action::TakeOver => leader::take_over(last, rules, bounds),
            Action::Receive(w) => worker::receive(last, rules, w),
            Action::HearAbort(w, job) => worker::hear_abort(last, w, job),
            Action::Forget(w, job) => worker::forget(last, w, job),
            Action::AlreadyThere(w, job) => worker::already_there(last, w, job),
            Action::Act(w, job) => worker::act(last, bounds, w, job),
            Action::Unstarted(w, job) => worker::unstarted(last, w, job),
            Action::Unanswered(w, job) => worker::unanswered(last, rules, w, job),
            Action::Hello(w) => worker::hello(last, w),
            Action::StartWithoutGo(w, job) => worker::start_without_go(last, w, job),
            Action::CrashWorker(w) => worker::crash(last, w),
            Action::RestartWorker(w) => worker::restart(last, self.workers, w),
        };
        if self.alike { next.map(State::canonical) } else { next }
    }

    fn properties(&self) -> Vec<Property<Self>> {
        properties::of(self)
    }
}
