//! What every handler is given.

use std::{ops::Deref, sync::Arc, time::Duration};

use scheduler_client::Leader;
use service_kit::Service;
use task_queue::Publisher;

use crate::{
    audit::Trail,
    auth::{Access, Sessions},
    jobs::{Streams, Uploads},
    limits::Crowd,
    scheduler::Scheduler,
    settings::Settings,
};

/// The gateway's parts and settings. Clones share them.
#[derive(Clone)]
pub struct App(Arc<Parts>);

/// The parts themselves.
pub struct Parts {
    pub(crate) scheduler: Scheduler,
    pub(crate) aborts: Publisher,
    pub(crate) access: Arc<Access>,
    pub(crate) sessions: Sessions,
    pub(crate) trail: Trail,
    pub(crate) service: Service,
    pub(crate) uploads: Uploads,
    pub(crate) streams: Streams,
    pub(crate) crowd: Crowd,
    pub(crate) max_keys: usize,
    pub(crate) max_body: u64,
    pub(crate) cancel_wait: Duration,
    pub(crate) request_timeout: Duration,
    pub(crate) create_timeout: Duration,
    pub(crate) body_pause: Duration,
}

impl App {
    /// Puts the parts together. Call it within the async runtime.
    pub fn new(settings: &Settings, leader: Leader, aborts: Publisher, access: Arc<Access>, service: Service) -> Self {
        let sessions = Sessions::new(leader.clone());
        Self(Arc::new(Parts {
            sessions,
            trail: Trail::to(leader.clone()),
            scheduler: Scheduler::new(leader),
            aborts,
            access,
            service,
            uploads: Uploads::default(),
            streams: Streams::default(),
            crowd: Crowd::of(settings.max_requests),
            max_keys: usize::try_from(settings.max_keys.get()).unwrap_or(usize::MAX),
            max_body: settings.max_body,
            cancel_wait: settings.cancel_wait.get(),
            request_timeout: settings.request_timeout.get(),
            create_timeout: settings.create_timeout.get(),
            body_pause: settings.body_pause.get(),
        }))
    }

    /// Waits until the audit entries so far are kept: for ever while no scheduler answers. To be called once nothing is answered any more.
    pub async fn flush_audit(&self) {
        self.trail.flush().await;
    }

    /// Keeps what was revoked current, for as long as it is polled.
    pub async fn follow_revocations(self) {
        self.access.follow_revocations(&self.sessions).await;
    }
}

impl Deref for App {
    type Target = Parts;
    fn deref(&self) -> &Parts {
        &self.0
    }
}
