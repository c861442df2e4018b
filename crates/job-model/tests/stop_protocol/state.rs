//! What the model remembers: the key and the requests under way at KMS, two workers, the leader, two jobs.
//!
//! All times are countdowns in ticks, so there is no clock that grows: the model is finite without a horizon, and an
//! exhaustive walk covers every length of time.

use job_model::{JobState, KeyState, TaskState};

/// The most workers a scenario has.
pub(crate) const WORKERS: usize = 2;
/// The most jobs a scenario has.
pub(crate) const JOBS: usize = 2;

/// Index of a worker.
pub(crate) type W = usize;
/// Index of a job; each has one task, and all tasks are of the one key.
pub(crate) type J = usize;
/// A countdown in ticks; 0 is over.
pub(crate) type Ticks = u8;

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct State {
    pub(crate) key: KeyState,
    pub(crate) requests: Vec<Request>,
    pub(crate) workers: [Worker; WORKERS],
    pub(crate) leader: Leader,
    pub(crate) jobs: [Job; JOBS],
    /// Faults that may still happen.
    pub(crate) worker_crashes: u8,
    pub(crate) takeovers: u8,
    /// A request of a finished job was sent.
    pub(crate) sent_after_end: bool,
    /// A request of a finished job took effect.
    pub(crate) effect_after_end: bool,
}

/// A mutating request under way: it takes effect at any moment until `left` is over, or never.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Request {
    pub(crate) job: J,
    /// Who waits for the answer; `None` when nobody does any more.
    pub(crate) worker: Option<W>,
    pub(crate) left: Ticks,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Worker {
    pub(crate) alive: bool,
    /// Its own view of its lease.
    pub(crate) lease: Ticks,
    /// Frames from the leader, in order. They arrive late, or never: then the session breaks.
    pub(crate) session: Vec<FromLeader>,
    /// The abort flag per job.
    pub(crate) aborted: [bool; JOBS],
    pub(crate) tries: [Option<Try>; JOBS],
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum FromLeader {
    /// Counts down from when the heartbeat was sent, also while it is under way.
    Lease {
        left: Ticks,
        aborted: [bool; JOBS],
    },
    Go {
        job: J,
        open: bool,
    },
}

/// One try of a task, from the Go until the report is acknowledged.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Try {
    pub(crate) phase: Phase,
    /// The leader counts its Go as open: it stands for the Go's number, by which a report is matched.
    pub(crate) open: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Phase {
    /// The Go is held, no mutating request was sent.
    Held { void: bool },
    /// A mutating request was sent.
    Sent,
    /// Ended; the report is kept and sent until it is acknowledged.
    Ended(Outcome),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Outcome {
    Succeeded,
    Unanswered,
    Unstarted,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Leader {
    pub(crate) alive: bool,
    /// What is left of its term. It stands still when no takeover can happen any more.
    pub(crate) term: Ticks,
    /// The workers' leases, never shorter than the workers think.
    pub(crate) leases: [Ticks; WORKERS],
    /// A renewal between its two steps.
    pub(crate) renewal: Option<Renewal>,
    /// The open Go: at most one, because all tasks are of one key.
    pub(crate) open: Option<OpenGo>,
    /// Until nothing of the old leader's workers can be under way: its lease end plus the operation timeout.
    pub(crate) old_workers: Ticks,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Renewal {
    pub(crate) worker: W,
    pub(crate) step: RenewalStep,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum RenewalStep {
    Extended,
    /// Only with rule 1 taken away.
    AbortsRead([bool; JOBS]),
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct OpenGo {
    pub(crate) job: J,
    pub(crate) worker: W,
    /// When it is freed without a report: counted once the lease has lapsed, or once the stopping leader has noted it.
    pub(crate) freed_in: Option<Ticks>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Job {
    /// `None` before it is posted.
    pub(crate) state: Option<JobState>,
    pub(crate) task: TaskState,
    pub(crate) dispatched: Dispatched,
    /// The abort command was published.
    pub(crate) command: bool,
    /// The leader's renewals name it.
    pub(crate) published: bool,
    /// The leader has noted the deadline of its open Go.
    pub(crate) leases_read: bool,
    /// A Go of it was freed without a report, or a try went unanswered.
    pub(crate) doubt: bool,
    /// The answer to a look, on its way: whether the key was in the asked state.
    pub(crate) look: Option<bool>,
    /// Truth: a request of it changed the key.
    pub(crate) changed_key: bool,
    /// Truth: the key was in the asked state at some moment since it was posted.
    pub(crate) was_there: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Dispatched {
    No,
    ByThisLeader,
    ByOldLeader,
}

/// The state that job `job` asks for: the two contradict each other.
pub(crate) const fn asked(job: J) -> KeyState {
    if job == 0 { KeyState::Disabled } else { KeyState::Enabled }
}

impl Job {
    pub(crate) const UNPOSTED: Self = Self {
        state: None,
        task: TaskState::Pending,
        dispatched: Dispatched::No,
        command: false,
        published: false,
        leases_read: false,
        doubt: false,
        look: None,
        changed_key: false,
        was_there: false,
    };

    pub(crate) fn running(&self) -> bool {
        self.state == Some(JobState::Running)
    }
    pub(crate) fn stopping(&self) -> bool {
        self.state == Some(JobState::Stopping)
    }
    pub(crate) fn finished(&self) -> bool {
        self.state == Some(JobState::Finished)
    }
    pub(crate) fn pending(&self) -> bool {
        self.task == TaskState::Pending
    }
    /// Dispatched, and a worker that may have had it was lost, a try went unanswered, or the leadership changed.
    pub(crate) fn doubtful(&self) -> bool {
        self.doubt || self.dispatched == Dispatched::ByOldLeader
    }
}

impl Leader {
    /// It may grant leases and Gos.
    pub(crate) const fn leads(&self) -> bool {
        self.alive && self.term > 0
    }
}

impl State {
    /// The open Go ends: by its report, by its deadline, or with the leader's memory.
    pub(crate) fn free_open_go(&mut self) -> Option<OpenGo> {
        let go = self.leader.open.take()?;
        let worker = &mut self.workers[go.worker];
        if let Some(held) = &mut worker.tries[go.job] {
            held.open = false;
        }
        for frame in &mut worker.session {
            if let FromLeader::Go { job, open } = frame
                && *job == go.job
            {
                *open = false;
            }
        }
        Some(go)
    }

    /// No worker can have a request of `job` under way, or send one, as far as the leader knows.
    pub(crate) fn nothing_under_way(&self, job: J) -> bool {
        let old = self.jobs[job].dispatched == Dispatched::ByOldLeader && self.leader.old_workers > 0;
        !old && self.leader.open.as_ref().is_none_or(|go| go.job != job)
    }

    /// The stopping job is drained: every open Go of it is reported, or its noted deadline has passed.
    pub(crate) fn drained(&self, job: J) -> bool {
        let stop = &self.jobs[job];
        stop.stopping() && stop.published && stop.leases_read && self.nothing_under_way(job)
    }

    /// The leader is one sequential actor: between the steps of a renewal or an abort it does nothing but the steps of
    /// the other, whose order the rules fix.
    pub(crate) fn leader_is_free(&self) -> bool {
        let aborting = self.jobs.iter().any(|job| job.stopping() && !(job.published && job.leases_read));
        self.leader.alive && self.leader.renewal.is_none() && !aborting
    }

    /// Workers are alike: of two states that differ only in who is who, one is walked.
    pub(crate) fn canonical(mut self) -> Self {
        let of = |w: W| (&self.workers[w], self.leader.leases[w]);
        if of(1) > of(0) {
            let other = |w: W| 1 - w;
            self.workers.swap(0, 1);
            self.leader.leases.swap(0, 1);
            if let Some(renewal) = &mut self.leader.renewal {
                renewal.worker = other(renewal.worker);
            }
            if let Some(go) = &mut self.leader.open {
                go.worker = other(go.worker);
            }
            for request in &mut self.requests {
                request.worker = request.worker.map(other);
            }
        }
        self
    }

    /// Remembers for the properties who sees the key in the asked state.
    pub(crate) fn note_key(&mut self) {
        for (index, job) in self.jobs.iter_mut().enumerate() {
            if job.state.is_some() && self.key == asked(index) {
                job.was_there = true;
            }
        }
    }
}
