//! What the session knows and decides, without any I/O: deliveries, Gos, flags and lease in, frames out.
//!
//! Everything that happens to this worker arrives here as one call after another from the session's loop, so nothing in
//! it is shared or locked except what tries read at any moment: the lease and the flags. Frames are drained, not sent
//! one by one: whatever gathered since the last one goes out together.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use job_model::{GoId, JobId, KeyAddress, Moment, TaskRef, WorkerId, plan::Leave};
use keyfleet_proto::{convert, workers::v1 as wire};

use crate::{
    gos::Gos,
    lease::{Heartbeats, Lease},
    metrics,
    offers::{Offers, Tag},
    permit::{Clock, Permit},
    reports,
    run::{Attempt, Looked, Spec, Tried},
    stops::Stops,
};

/// Reports and Starts in one frame at the most: below gRPC's limits with long error texts.
const BATCH: usize = 2_000;

/// With so many tries under way the next report is near: worth waiting for.
const MANY: usize = 16;

/// What a frame of the leader's sets in motion.
#[derive(Debug)]
pub enum Work {
    /// Try a task.
    Try {
        /// The Go's number.
        go: GoId,
        /// What to try.
        attempt: Box<Attempt>,
    },
    /// Look at a doubtful key.
    Look {
        /// The look's number.
        look: u64,
        /// The key.
        key: KeyAddress,
        /// What its job asks.
        spec: Arc<Spec>,
        /// What allows the reading.
        permit: Arc<Permit>,
    },
    /// Read a page of what an account and Region have.
    Page {
        /// What is asked.
        request: wire::PageRequest,
        /// What allows the reading.
        permit: Arc<Permit>,
    },
}

/// The state of one worker.
#[derive(Debug)]
pub struct Desk {
    clock: Clock,
    lease: Arc<Lease>,
    stops: Arc<Stops>,
    heartbeats: Heartbeats,
    specs: HashMap<JobId, Arc<Spec>>,
    offers: Offers,
    gos: Gos,
    heartbeat_due: bool,
    stop_acks: BTreeSet<JobId>,
    look_results: Vec<wire::LookResult>,
    page_results: Vec<wire::PageResult>,
    /// A try of a stopped job has ended since the last frame.
    stopping: bool,
    /// A job was aborted since somebody asked.
    aborted: bool,
    /// Looks of older sessions are not answered.
    session: u64,
    leaving: bool,
}

impl Desk {
    /// Holds nothing, and has no lease.
    pub fn new(stops: Arc<Stops>, clock: Clock) -> Self {
        let lease = Arc::new(Lease::default());
        Self {
            clock,
            heartbeats: Heartbeats::new(lease.clone()),
            lease,
            stops,
            specs: HashMap::new(),
            offers: Offers::default(),
            gos: Gos::default(),
            heartbeat_due: false,
            stop_acks: BTreeSet::new(),
            look_results: Vec::new(),
            page_results: Vec::new(),
            stopping: false,
            aborted: false,
            session: 0,
            leaving: false,
        }
    }

    /// The first frame of a new session: what had not begun is void from here on, what had is declared.
    pub fn hello(&mut self, worker: WorkerId, name: &str, concurrency: u32) -> wire::FromWorker {
        self.session += 1;
        self.heartbeats.new_session();
        // The new leader sends the specs again.
        self.specs.clear();
        self.look_results.clear();
        self.page_results.clear();
        let (void, open_gos) = self.gos.new_session();
        self.offers.new_session(&void);
        if self.leaving {
            self.offers.release();
        }
        // A leader that told of an abort may have been lost before it was committed.
        self.stop_acks.extend(self.stops.all());
        self.heartbeat_due = true;
        let concurrency = if self.leaving { 0 } else { concurrency };
        wire::FromWorker {
            hello: Some(wire::Hello {
                worker_id: worker.to_vec().into(),
                name: name.to_owned(),
                concurrency,
                open_gos,
            }),
            ..wire::FromWorker::default()
        }
    }

    /// Which session this is; grows.
    pub const fn session(&self) -> u64 {
        self.session
    }

    /// A frame came. Gives what it sets in motion.
    pub fn on_frame(&mut self, frame: wire::FromLeader) -> Vec<Work> {
        if let Some(lease) = frame.lease {
            self.on_lease(&lease);
        }
        for bytes in &frame.aborts {
            if let Some(job) = read(convert::job_id(bytes)) {
                self.stops.set(job, (self.clock)());
                self.on_abort(job);
            }
        }
        for spec in &frame.specs {
            let job = convert::job_id(&spec.job_id);
            if let (Some(job), Some(request)) = (read(job), read(convert::request(spec))) {
                self.specs.insert(job, Arc::new(Spec { request, force: spec.force, dry_run: spec.dry_run }));
            }
        }
        for ack in &frame.report_acks {
            self.on_report_ack(ack);
        }
        for task in &frame.nevers {
            if let Some(task) = read(TaskRef::try_from(task)) {
                self.offers.settle(task);
            }
        }
        let mut work = Vec::with_capacity(frame.gos.len() + frame.looks.len());
        work.extend(frame.gos.into_iter().filter_map(|go| read(self.on_go(go)).flatten()));
        work.extend(frame.looks.into_iter().filter_map(|look| read(self.on_look(look)).flatten()));
        for request in frame.pages {
            if self.leaving {
                let void = wire::Again {
                    code: "Void".to_owned(),
                    text: "the worker is leaving".to_owned(),
                    ..wire::Again::default()
                };
                let outcome = Some(wire::page_result::Outcome::Unavailable(void));
                self.page_results.push(wire::PageResult { page: request.page, throttled: false, outcome });
            } else {
                work.push(Work::Page { request, permit: Arc::new(Permit::for_look(&self.lease, self.clock)) });
            }
        }
        for bytes in &frame.forget {
            if let Some(job) = read(convert::job_id(bytes)) {
                self.specs.remove(&job);
                self.stops.forget(job);
            }
        }
        work
    }

    fn on_lease(&mut self, lease: &wire::Lease) {
        let now = (self.clock)();
        if self.heartbeats.granted(lease.number, Duration::from_millis(lease.lease_ms), now) {
            metrics::lease_lapsed();
            tracing::warn!("The lease had lapsed; what was permitted under it is void.");
        }
        let named: HashSet<JobId> = lease.aborted.iter().filter_map(|bytes| read(convert::job_id(bytes))).collect();
        for job in self.stops.named(&named, now) {
            self.on_abort(job);
        }
    }

    /// The job's flag was set: acknowledge what has not started, and tell the leader how much is under way.
    pub fn on_abort(&mut self, job: JobId) {
        self.offers.stop(job);
        self.stop_acks.insert(job);
        self.aborted = true;
    }

    /// Whether a job was aborted since this was asked.
    pub const fn take_aborted(&mut self) -> bool {
        std::mem::replace(&mut self.aborted, false)
    }

    fn on_go(&mut self, go: wire::Go) -> Result<Option<Work>, convert::BadField> {
        let task = convert::task(go.task.as_ref())?;
        let key = convert::key(go.key)?;
        let id = GoId::from_u64(go.go);
        // Of a dry run none may act, whatever the Go says.
        let acting = go.acting && self.specs.get(&task.job).is_some_and(|spec| !spec.dry_run);
        let flag = self.stops.flag(task.job);
        let permit = Arc::new(match acting {
            true => Permit::for_go(&self.lease, flag, self.clock),
            false => Permit::for_observing(&self.lease, flag, self.clock),
        });
        if !self.gos.given(id, task, permit.clone()) {
            return Ok(None);
        }
        self.offers.going(task);
        let Some(spec) = self.specs.get(&task.job).filter(|_| !self.leaving).cloned() else {
            if !self.leaving {
                tracing::error!(job.id = %task.job, task.seq = task.seq, "A Go came before its job's spec.");
            }
            self.gos.reported(id, reports::unstarted(id, task));
            return Ok(None);
        };
        let leave = Leave { acting, doubted: go.doubted, trust_reading: go.trust_reading };
        let attempt = Box::new(Attempt { task, key, spec, leave, permit });
        Ok(Some(Work::Try { go: id, attempt }))
    }

    fn on_look(&mut self, look: wire::Look) -> Result<Option<Work>, convert::BadField> {
        let job = convert::job_id(&look.job_id)?;
        let key = convert::key(look.key)?;
        let Some(spec) = self.specs.get(&job).filter(|_| !self.leaving).cloned() else {
            let text = "the worker is leaving, or the look came before its job's spec".to_owned();
            self.on_looked(self.session, look.look, Looked::Unavailable { code: "Void".to_owned(), text });
            return Ok(None);
        };
        let permit = Arc::new(Permit::for_look(&self.lease, self.clock));
        Ok(Some(Work::Look { look: look.look, key, spec, permit }))
    }

    fn on_report_ack(&mut self, ack: &wire::ReportAck) {
        let Some(task) = self.gos.acknowledged(GoId::from_u64(ack.go)) else { return };
        let stopped = self.stops.is_set(task.job);
        self.offers.reported(task, ack.r#final, stopped);
        if stopped {
            // How much is under way has changed.
            self.stop_acks.insert(task.job);
        }
    }

    /// A delivery came.
    pub fn on_delivery(&mut self, task: TaskRef, tag: Tag) {
        // One that comes while leaving is given back when the consumer closes.
        if !self.leaving {
            self.offers.delivered(task, tag, self.stops.is_set(task.job));
        }
    }

    /// The deliveries of all channels up to this one come back to somebody.
    pub fn on_channel_lost(&mut self, channel: u64) {
        self.offers.channel_lost(channel);
    }

    /// A try has ended.
    pub fn on_tried(&mut self, go: GoId, task: TaskRef, tried: Tried) {
        self.gos.reported(go, reports::report(go, task, tried));
        self.stopping |= self.stops.is_set(task.job);
    }

    /// A look of the session has ended.
    pub fn on_looked(&mut self, session: u64, look: u64, looked: Looked) {
        if session == self.session {
            self.look_results.push(reports::look_result(look, looked));
        }
    }

    /// A page of the session has been read.
    pub fn on_page(&mut self, session: u64, result: wire::PageResult) {
        if session == self.session {
            self.page_results.push(result);
        }
    }

    /// The time for a heartbeat has come.
    pub const fn beat(&mut self) {
        self.heartbeat_due = true;
    }

    /// The time from one heartbeat to the next.
    pub fn interval(&self) -> Duration {
        self.heartbeats.interval()
    }

    /// The length of the last lease.
    pub const fn lease_length(&self) -> Option<Duration> {
        self.heartbeats.length()
    }

    /// Whether the lease is live.
    pub fn is_leased(&self, now: Moment) -> bool {
        self.lease.live(now)
    }

    /// Whether there is something to send.
    pub fn has_frame(&self) -> bool {
        self.heartbeat_due
            || self.offers.has_starts()
            || self.gos.has_reports()
            || !self.stop_acks.is_empty()
            || !self.look_results.is_empty()
            || !self.page_results.is_empty()
    }

    /// Whether what there is to send may wait a moment for more of its kind: much is under way, and nothing of it stops a
    /// job or renews the lease.
    pub fn can_wait(&self) -> bool {
        self.gos.len() >= MANY
            && !self.heartbeat_due
            && !self.stopping
            && self.stop_acks.is_empty()
            && self.look_results.is_empty()
            && self.page_results.is_empty()
    }

    /// Takes what there is to send, to be sent at once: the lease counts from here.
    pub fn take_frame(&mut self) -> wire::FromWorker {
        self.stopping = false;
        let heartbeat = std::mem::take(&mut self.heartbeat_due).then(|| {
            let now = (self.clock)();
            self.stops.prune(now);
            wire::Heartbeat {
                number: self.heartbeats.beat(now),
                stops: self.stops.to_tell().into_iter().map(|job| self.stop_ack(job)).collect(),
            }
        });
        let stop_acks = std::mem::take(&mut self.stop_acks);
        let starts = self.offers.take_starts(BATCH);
        wire::FromWorker {
            hello: None,
            heartbeat,
            starts: starts.into_iter().map(Into::into).collect(),
            reports: self.gos.take_reports(BATCH),
            stop_acks: stop_acks.into_iter().map(|job| self.stop_ack(job)).collect(),
            look_results: std::mem::take(&mut self.look_results),
            page_results: std::mem::take(&mut self.page_results),
        }
    }

    fn stop_ack(&self, job: JobId) -> wire::StopAck {
        wire::StopAck { job_id: job.to_vec().into(), in_flight: self.gos.in_flight(job) }
    }

    /// Takes the deliveries to be acknowledged.
    pub fn take_acknowledgements(&mut self) -> Vec<Tag> {
        self.offers.take_acknowledgements()
    }

    /// From here on nothing begins: the process is about to end. Takes the deliveries to be given back.
    pub fn leave(&mut self) -> Vec<Tag> {
        self.leaving = true;
        self.offers.release()
    }

    /// Whether no Go is open: a process that leaves may end.
    pub fn is_done(&self) -> bool {
        self.gos.is_empty()
    }

    /// Tells the levels to whoever scrapes them.
    pub fn tell_levels(&self) {
        metrics::levels(self.gos.len(), self.offers.len());
    }
}

/// A field that makes no sense is the leader's fault: told, and passed over.
fn read<T>(field: Result<T, convert::BadField>) -> Option<T> {
    field.inspect_err(|error| tracing::error!(%error, "The leader sent what makes no sense.")).ok()
}

#[cfg(test)]
mod fuzz;
