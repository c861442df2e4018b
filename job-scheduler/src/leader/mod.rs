//! Leading: one scheduler at a time holds the board; the others stand by.
//!
//! [`election`] decides who, [`lead`] runs the board's loop, and the other files are the hands of that loop, each a
//! task of its own that does one kind of I/O and tells the loop how it went.

mod dispatcher;
pub mod election;
mod frames;
mod intake;
mod lead;
mod maintenance;
mod publisher;
mod takeover;
mod walker;
mod writer;

pub use intake::abort;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use job_model::{ContainerId, JobId, Moment, SyncId, TaskRef, Tenant, WorkerId};
use keyfleet_proto::workers::v1::FromLeader;
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

use crate::board::{Hello, Leaf, NewJob, NewWalk, Report, SessionId, Sight, Step, WalkId};

/// Events that wait for the loop at the most; a session that brings more waits.
const EVENTS: usize = 4096;

/// What the board's loop is told.
#[derive(Debug)]
pub enum Event {
    /// A job was committed.
    JobAdded(NewJob),
    /// A cursor was moved.
    Dispatched {
        /// The job.
        job: JobId,
        /// Its lane's number.
        lane: u16,
        /// What it passed.
        tasks: Vec<(u32, String)>,
        /// What lies past it.
        left: u32,
    },
    /// Final statuses are committed.
    Written(Vec<TaskRef>),
    /// A job's finish is committed.
    Finished(JobId),
    /// A job is to stop; its abort is being committed.
    AbortHeard(JobId),
    /// A job's abort is committed.
    AbortCommitted(JobId),
    /// Somebody waits for a job to finish; told at once when it is not on the board.
    AwaitFinish(JobId, oneshot::Sender<()>),
    /// A task's message was dead-lettered.
    DeadLettered(TaskRef),
    /// A worker opens a session.
    SessionOpened(SessionId, Hello, Outlet),
    /// It brings this.
    Received(SessionId, Received),
    /// It has ended.
    SessionClosed(SessionId),
    /// The store remembers the worker.
    Registered(WorkerId),
    /// A part of a synchronization was committed.
    WalkAdded(NewWalk),
    /// It is stored up to here, or has ended.
    Walked(WalkId, Option<(Step, String)>),
    /// The cancel of a synchronization is committed.
    WalksCanceled(SyncId),
}

/// The way to a worker.
#[derive(Debug)]
pub struct Outlet {
    /// Frames for it.
    pub frames: mpsc::Sender<FromLeader>,
    /// Ends the session.
    pub close: CancellationToken,
}

/// One frame of a worker.
#[derive(Debug, Default)]
pub struct Received {
    /// The heartbeat's number.
    pub heartbeat: Option<u64>,
    /// Tasks it offers to run.
    pub starts: Vec<TaskRef>,
    /// Gos that ended.
    pub reports: Vec<Report>,
    /// Jobs whose abort flag it has.
    pub stops: Vec<JobId>,
    /// Looks it made.
    pub looks: Vec<(u64, Sight)>,
    /// Pages it read, and whether KMS refused a read for pace.
    pub pages: Vec<(u64, bool, Leaf)>,
}

/// The way to the leader of this process, while it leads.
#[derive(Clone, Debug)]
pub struct Handle {
    /// Its epoch, which guards every write.
    pub epoch: u32,
    events: mpsc::Sender<Event>,
    /// Of the unfinished jobs what never changes.
    pub owned: Owned,
    /// Cancelled once it no longer leads.
    pub ended: CancellationToken,
}

/// Whose a job is, and how large.
#[derive(Clone, Debug)]
pub struct Owner {
    /// The tenant.
    pub tenant: Tenant,
    /// Who may use all of these may see and stop it.
    pub containers: Vec<ContainerId>,
    /// Tasks.
    pub total: u32,
}

/// Owners of the unfinished jobs, so that whether somebody may stop one is known without a read of the store.
#[derive(Clone, Debug, Default)]
pub struct Owned(Arc<Mutex<HashMap<JobId, Arc<Owner>>>>);

impl Owned {
    /// Before the job is on the board.
    pub fn add(&self, job: JobId, owner: Owner) {
        self.jobs().insert(job, Arc::new(owner));
    }

    /// The job has finished.
    fn remove(&self, job: JobId) {
        self.jobs().remove(&job);
    }

    /// `None` when the job has finished, or is nobody's.
    pub fn owner(&self, job: JobId) -> Option<Arc<Owner>> {
        self.jobs().get(&job).cloned()
    }

    fn jobs(&self) -> MutexGuard<'_, HashMap<JobId, Arc<Owner>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// This process no longer leads.
#[derive(Debug, thiserror::Error)]
#[error("this scheduler no longer leads")]
pub struct NotLeading;

impl Handle {
    /// Tells the loop; waits while it is behind.
    ///
    /// # Errors
    /// [`NotLeading`].
    pub async fn tell(&self, event: Event) -> Result<(), NotLeading> {
        self.events.send(event).await.map_err(|_| NotLeading)
    }
}

/// Who leads in this process: the rpc services look here first.
#[derive(Clone, Debug)]
pub struct Current(Arc<watch::Sender<Option<Handle>>>);

impl Default for Current {
    fn default() -> Self {
        Self(Arc::new(watch::Sender::new(None)))
    }
}

impl Current {
    /// The leader, if it is this process.
    ///
    /// # Errors
    /// [`NotLeading`].
    pub fn leader(&self) -> Result<Handle, NotLeading> {
        self.0.borrow().clone().filter(|handle| !handle.ended.is_cancelled()).ok_or(NotLeading)
    }

    fn set(&self, handle: Option<Handle>) {
        self.0.send_replace(handle);
    }

    /// Follows the changes.
    pub fn changes(&self) -> watch::Receiver<Option<Handle>> {
        self.0.subscribe()
    }
}

/// A leadership as it was won.
#[derive(Clone, Debug)]
struct Term {
    epoch: u32,
    /// Nothing is given past it; moves on with each renewal.
    end: watch::Receiver<Moment>,
    /// Leases and requests of earlier leaders' workers may last until then.
    inherited_until: Moment,
    /// Cancelled once it is lost.
    ended: CancellationToken,
}
