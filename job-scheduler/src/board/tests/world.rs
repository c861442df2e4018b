//! A board with everything around it played by hand: store, broker, workers and clock.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    time::Duration,
};

use job_model::{
    JobId, JobState, Moment, Outcome, Refusal, Request, TaskRef, TaskState, WorkerId, places::PlaceQuotas,
    quota::Quotas,
};
use uuid::Uuid;

use crate::board::{Board, Effects, Go, Hello, Look, NewJob, NewLane, Report, SessionId, Settings, Sight};

pub(super) const LEASE: Duration = Duration::from_secs(3);
pub(super) const TIMEOUT: Duration = Duration::from_secs(5);
/// What tests let pass at once.
const STEP: Duration = Duration::from_millis(10);
/// How often workers renew.
const BEAT: Duration = Duration::from_millis(500);

pub(super) fn refusal(code: &str) -> Refusal {
    Refusal { code: code.to_owned(), text: "said".to_owned(), status: 400 }
}

#[derive(Default)]
struct Seat {
    id: Option<WorkerId>,
    gos: Vec<Go>,
    looks: Vec<Look>,
    nevers: Vec<TaskRef>,
    lease: Option<Duration>,
    silent: bool,
    session: u64,
}

struct StoredJob {
    state: JobState,
    keys: Vec<String>,
    cursor: usize,
    finals: HashMap<u32, TaskState>,
    details: HashMap<u32, String>,
    already: usize,
    aborted: bool,
}

pub(super) struct World {
    board: Board,
    pub(super) now: Moment,
    seats: Vec<Seat>,
    jobs: HashMap<JobId, StoredJob>,
    published: VecDeque<TaskRef>,
    pub(super) concurrency: u32,
    numbers: u128,
    term_end: Moment,
    renews: bool,
    beat_at: Moment,
    quotas: Quotas,
    /// Of the job that is added next.
    max_rate: Option<f64>,
    dry_run: bool,
}

fn board(quotas: &Quotas, now: Moment, inherited_until: Moment, epoch: u32) -> Board {
    let settings =
        Settings { lease: LEASE, operation_timeout: TIMEOUT, quotas: PlaceQuotas::everywhere(quotas.clone()) };
    Board::new(settings, epoch, now + LEASE, inherited_until, HashSet::new())
}

impl World {
    pub(super) fn new(quotas: Quotas) -> Self {
        let now = Moment::from_nanos(0) + Duration::from_secs(1_000);
        Self {
            board: board(&quotas, now, Moment::default(), 1),
            now,
            seats: Vec::new(),
            jobs: HashMap::new(),
            published: VecDeque::new(),
            concurrency: 64,
            numbers: 0,
            term_end: now + LEASE,
            renews: true,
            beat_at: now,
            quotas,
            max_rate: None,
            dry_run: false,
        }
    }

    fn id(&mut self) -> Uuid {
        self.numbers += 1;
        Uuid::from_u128(self.numbers)
    }

    /// A new leader that holds inherited tasks back so long.
    pub(super) fn inherit(&mut self, wait: Duration) {
        self.board = board(&self.quotas, self.now, self.now + wait, 2);
    }

    pub(super) fn worker(&mut self) -> usize {
        let id = WorkerId::from_uuid(self.id());
        let seat = self.seats.len();
        self.seats.push(Seat { id: Some(id), ..Seat::default() });
        self.reconnect(seat, &[]);
        seat
    }

    fn session(&self, seat: usize) -> SessionId {
        SessionId(seat as u64 * 1_000_000 + self.seats[seat].session)
    }

    pub(super) fn reconnect(&mut self, seat: usize, open: &[Go]) {
        self.seats[seat].session += 1;
        self.seats[seat].gos.clear();
        let hello = Hello {
            worker: self.seats[seat].id.expect("set when it was made"),
            name: format!("worker-{seat}"),
            concurrency: self.concurrency,
            open: open.iter().map(|go| (go.go, go.task)).collect(),
        };
        self.board.hello(self.session(seat), hello, self.now);
        self.turn();
        self.heartbeat(seat);
    }

    /// The worker is heard no more; its connection stays.
    pub(super) fn silence(&mut self, seat: usize) {
        self.seats[seat].silent = true;
    }

    /// The worker's process is gone.
    pub(super) fn kill(&mut self, seat: usize) {
        self.seats[seat].silent = true;
        self.board.session_closed(self.session(seat));
        self.turn();
    }

    pub(super) fn heartbeat(&mut self, seat: usize) -> Option<Duration> {
        self.seats[seat].lease = None;
        self.board.heartbeat(self.session(seat), 1, self.now);
        self.turn();
        self.seats[seat].lease
    }

    pub(super) fn job(&mut self, keys: usize) -> JobId {
        let number = self.numbers;
        let keys: Vec<String> = (0..keys).map(|n| format!("key-{number}-{n}")).collect();
        self.job_of(&keys.iter().map(String::as_str).collect::<Vec<_>>(), Request::EnableKey)
    }

    pub(super) fn job_of(&mut self, keys: &[&str], request: Request) -> JobId {
        self.add_job(keys, request, 0)
    }

    pub(super) fn inherited_job(&mut self, keys: usize) -> JobId {
        let keys: Vec<String> = (0..keys).map(|n| format!("old-{n}")).collect();
        let job = self.add_job(&keys.iter().map(String::as_str).collect::<Vec<_>>(), Request::EnableKey, keys.len());
        self.turn();
        job
    }

    /// A job with a pace of its own.
    pub(super) fn paced_job(&mut self, keys: &[&str], rate: f64) -> JobId {
        self.max_rate = Some(rate);
        let job = self.add_job(keys, Request::EnableKey, 0);
        self.max_rate = None;
        job
    }

    /// A job that observes and decides only.
    pub(super) fn dry_job(&mut self, keys: &[&str], dispatched: usize) -> JobId {
        self.dry_run = true;
        let job = self.add_job(keys, Request::EnableKey, dispatched);
        self.dry_run = false;
        job
    }

    fn add_job(&mut self, keys: &[&str], request: Request, dispatched: usize) -> JobId {
        let id = JobId::from_uuid(self.id());
        let keys: Vec<String> = keys.iter().map(|key| (*key).to_owned()).collect();
        let lane = NewLane {
            account: "111122223333".into(),
            region: "us-east-1".into(),
            undispatched: u32::try_from(keys.len() - dispatched).unwrap(),
            open: (0u32..).zip(keys.iter().take(dispatched).cloned()).collect(),
        };
        self.jobs.insert(
            id,
            StoredJob {
                state: JobState::Running,
                keys,
                cursor: dispatched,
                finals: HashMap::new(),
                details: HashMap::new(),
                already: 0,
                aborted: false,
            },
        );
        let job = NewJob {
            id,
            request,
            force: false,
            dry_run: self.dry_run,
            max_rate: self.max_rate,
            follows: false,
            stopping: false,
            inherited: dispatched > 0,
            lanes: vec![lane],
        };
        self.board.job_added(job, self.now);
        self.turn();
        id
    }

    /// A turn, with every effect carried out at once.
    fn turn(&mut self) {
        loop {
            let effects = self.board.turn(self.now);
            if !self.perform(effects) {
                return;
            }
        }
    }

    fn perform(&mut self, effects: Effects) -> bool {
        let Effects { frames, writes, dispatches, publish, finish, aborts: _, register, unregister: _, walked: _ } =
            effects;
        let busy = !(writes.is_empty() && dispatches.is_empty() && finish.is_empty() && register.is_empty());
        for (session, frame) in frames {
            let seat = usize::try_from(session.0 / 1_000_000).unwrap();
            let seat = &mut self.seats[seat];
            seat.gos.extend(frame.gos);
            seat.looks.extend(frame.looks);
            seat.nevers.extend(frame.nevers);
            if let Some(lease) = frame.lease {
                seat.lease = Some(lease.span);
            }
        }
        self.published.extend(publish);
        for (worker, _) in register {
            self.board.registered(worker);
        }
        for dispatch in dispatches {
            let job = self.jobs.get_mut(&dispatch.job).unwrap();
            let take = if job.aborted { 0 } else { usize::try_from(dispatch.limit).unwrap() };
            let tasks: Vec<(u32, String)> =
                (0u32..).zip(job.keys.iter().cloned()).skip(job.cursor).take(take).collect();
            job.cursor += tasks.len();
            let left = if job.aborted { 0 } else { u32::try_from(job.keys.len() - job.cursor).unwrap() };
            self.board.dispatched(dispatch.job, dispatch.lane, tasks, left, self.now);
        }
        let written: Vec<TaskRef> = writes.iter().map(|task| task.task).collect();
        for task in writes {
            let job = self.jobs.get_mut(&task.task.job).unwrap();
            job.already += usize::from(task.already);
            job.details.extend(task.detail.map(|detail| (task.task.seq, detail)));
            let before = job.finals.insert(task.task.seq, task.state);
            assert_eq!(before, None, "a task ended twice");
        }
        self.board.written(&written);
        for id in finish {
            let job = self.jobs.get_mut(&id).unwrap();
            let left = job.keys.len() - job.cursor;
            // What was dispatched and never tried of an aborted job is canceled by the finish itself.
            assert!(job.aborted || (left == 0 && job.finals.len() == job.cursor), "tasks are left without a status");
            job.state = JobState::Finished;
            self.board.finished(id);
        }
        busy
    }

    /// The quotas change, here and wherever else they are told of.
    pub(super) fn requote(&mut self, quotas: PlaceQuotas) {
        self.board.quotas_changed(quotas, self.now);
        self.turn();
    }

    pub(super) fn abort(&mut self, id: JobId) {
        let job = self.jobs.get_mut(&id).unwrap();
        if job.state == JobState::Running {
            job.state = JobState::Stopping;
            job.aborted = true;
        }
        self.board.abort_committed(id, self.now);
        self.turn();
    }

    /// A worker tells that it has the job's flag; what the board wants aborted.
    pub(super) fn stop_ack(&mut self, id: JobId) -> Vec<JobId> {
        self.board.stop_acked(id);
        std::mem::take(&mut self.board.effects.aborts)
    }

    /// How many workers the next turn tells of the job's abort.
    pub(super) fn told_of_abort(&self, id: JobId) -> usize {
        self.board.effects.frames.values().filter(|frame| frame.aborts.contains(&id)).count()
    }

    pub(super) fn deliver(&mut self, seat: usize, task: TaskRef) {
        self.board.starts(self.session(seat), &[task], self.now);
        self.turn();
    }

    /// One published offer is taken from the broker.
    pub(super) fn take_published(&mut self) -> Option<TaskRef> {
        self.published.pop_front()
    }

    /// One published offer goes to the worker.
    pub(super) fn deliver_one(&mut self, seat: usize) -> Option<TaskRef> {
        let task = self.take_published()?;
        self.deliver(seat, task);
        Some(task)
    }

    pub(super) fn deliver_published(&mut self, seat: usize) {
        while self.deliver_one(seat).is_some() {}
    }

    /// All offers, old and new, go to the worker.
    pub(super) fn deliver_all(&mut self, seat: usize) {
        let open: Vec<JobId> = self.jobs.keys().copied().collect();
        for job in open {
            self.redeliver(job);
        }
        self.deliver_published(seat);
    }

    /// The broker gives all dispatched and unfinished tasks of the job out again.
    pub(super) fn redeliver(&mut self, id: JobId) {
        let job = &self.jobs[&id];
        let open = (0..u32::try_from(job.cursor).unwrap()).filter(|seq| !job.finals.contains_key(seq));
        self.published.extend(open.map(|seq| TaskRef { job: id, seq }));
    }

    pub(super) fn gos(&mut self, seat: usize) -> Vec<Go> {
        std::mem::take(&mut self.seats[seat].gos)
    }

    pub(super) fn looks(&mut self, seat: usize) -> Vec<Look> {
        std::mem::take(&mut self.seats[seat].looks)
    }

    pub(super) fn nevers(&mut self, seat: usize) -> Vec<TaskRef> {
        std::mem::take(&mut self.seats[seat].nevers)
    }

    pub(super) fn report(&mut self, seat: usize, go: &Go, outcome: Outcome) {
        self.tell(seat, go, outcome);
        self.turn();
    }

    /// What the next turn sets in motion; nobody carries it out.
    pub(super) fn effects(&mut self) -> Effects {
        self.board.turn(self.now)
    }

    /// A report without a turn.
    pub(super) fn tell(&mut self, seat: usize, go: &Go, outcome: Outcome) {
        let acted = match &outcome {
            Outcome::Succeeded { already } => !already,
            Outcome::Refused(_) => true,
            Outcome::Again { reason, .. } => *reason != job_model::AgainReason::NeedsActing,
            Outcome::Foretold(_) | Outcome::Unstarted => false,
        };
        let report = Report {
            go: go.go,
            task: go.task,
            state_before: "Disabled".to_owned(),
            acted,
            took: Duration::from_millis(20),
            outcome,
        };
        self.board.report(self.session(seat), report, self.now);
    }

    /// What a worker says that makes mistakes.
    pub(super) fn nonsense(&mut self, seat: usize, report: Report, look: u64, start: TaskRef) {
        self.board.report(self.session(seat), report, self.now);
        self.board.look_result(look, Sight::Seen { there: false }, self.now);
        self.board.starts(self.session(seat), &[start], self.now);
        self.turn();
    }

    pub(super) fn look_result(&mut self, look: &Look, there: bool) {
        self.board.look_result(look.look, Sight::Seen { there }, self.now);
        self.turn();
    }

    /// Lets time pass; workers that are not silent renew their leases, and the leader its term.
    pub(super) fn pass(&mut self, span: Duration) {
        let end = self.now + span;
        while self.now < end {
            self.now = (self.now + STEP).min(end);
            if self.renews {
                self.term_end = self.now + LEASE;
                self.board.term_renewed(self.term_end);
            }
            if self.now.since(self.beat_at) >= BEAT {
                self.beat_at = self.now;
                for seat in 0..self.seats.len() {
                    if !self.seats[seat].silent {
                        self.heartbeat(seat);
                    }
                }
            }
            self.turn();
        }
    }

    pub(super) fn pass_silently(&mut self, span: Duration) {
        self.now = self.now + span;
        self.turn();
    }

    pub(super) fn end_term_in(&mut self, span: Duration) {
        self.renews = false;
        self.board.term_end = self.now + span;
    }

    /// What is left on the board, for a failure's message.
    pub(super) fn open(&self) -> String {
        format!("{:?}, Gos {:?}, looks {:?}", self.board.tasks, self.board.gos, self.board.looks)
    }

    pub(super) fn state(&self, job: JobId) -> JobState {
        self.jobs[&job].state
    }

    pub(super) fn seats(&self) -> usize {
        self.seats.len()
    }

    pub(super) fn is_silent(&self, seat: usize) -> bool {
        self.seats[seat].silent
    }

    /// The details in the order of seq.
    pub(super) fn details(&self, job: JobId) -> Vec<Option<String>> {
        let job = &self.jobs[&job];
        (0..u32::try_from(job.keys.len()).unwrap()).map(|seq| job.details.get(&seq).cloned()).collect()
    }

    /// How many keys needed no call.
    pub(super) fn already(&self, job: JobId) -> usize {
        self.jobs[&job].already
    }

    /// The statuses in the order of seq; what was never dispatched of an aborted job reads canceled.
    pub(super) fn finals(&self, job: JobId) -> Vec<TaskState> {
        let job = &self.jobs[&job];
        (0..u32::try_from(job.keys.len()).unwrap())
            .map(|seq| match job.finals.get(&seq) {
                Some(state) => *state,
                None if job.aborted => TaskState::Canceled,
                None => TaskState::Pending,
            })
            .collect()
    }
}
