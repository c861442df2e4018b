//! The audit trail: who called what, from where, and how it was answered.
//!
//! Every call of the API is told in one log line of the target `audit`, before its answer leaves. What is to change
//! something, logs in or is refused for want of rights is also kept in the scheduler's append-only table. Mere reads are
//! not: clients poll, and a table of polls would bury what matters.
//!
//! The table is written behind the answer's back, in batches: a cancel must not wait for it, nor fail because of it. An
//! entry waits here until some replica of the scheduler has kept it. What does not fit any more, or is still here when the
//! process is killed, is in the log alone.

use std::{
    net::SocketAddr,
    sync::{Arc, OnceLock},
    time::Duration,
};

use axum::{
    extract::{ConnectInfo, FromRequestParts, Request, State},
    middleware::Next,
    response::Response,
};
use http::{Method, StatusCode, request::Parts};
use job_model::Tenant;
use keyfleet_proto::audit::v1::{self as proto, audit_client::AuditClient};
use scheduler_client::Leader;
use service_kit::retry::Backoff;
use tokio::{
    sync::{mpsc, oneshot},
    time::timeout,
};
use tonic::transport::Channel;
use uuid::Uuid;

use crate::{answers::REQUEST_ID, auth::Caller};

/// Entries of one batch: what the scheduler takes at once.
const BATCH: usize = 1_000;
/// Entries that wait for a scheduler at the most: some megabytes.
const WAITING: usize = 10_000;
/// How long one replica may take to answer before the next is asked.
const ANSWER: Duration = Duration::from_secs(2);

/// What is written of calls. Clones share it.
#[derive(Clone)]
pub(crate) struct Trail(mpsc::Sender<Note>);

enum Note {
    Entry(Box<proto::Entry>),
    /// Answered once all before it are kept.
    Flush(oneshot::Sender<()>),
}

/// Who a request turned out to be from. Empty in the request's extensions, filled in by whoever finds out.
#[derive(Clone, Default)]
pub(crate) struct Who(Arc<OnceLock<Named>>);

struct Named {
    tenant: String,
    subject: String,
    username: String,
}

impl Who {
    /// The token's bearer.
    pub(crate) fn is(&self, caller: &Caller) {
        self.is_user(&caller.tenant, caller.subject.clone(), &caller.username);
    }

    /// A local user who has logged in.
    pub(crate) fn is_user(&self, tenant: &Tenant, subject: String, username: &str) {
        let _first_wins = self.0.set(Named { tenant: tenant.to_string(), subject, username: username.to_owned() });
    }

    /// Somebody who tries to log in by this name.
    pub(crate) fn claims(&self, username: &str) {
        let named = Named { tenant: String::new(), subject: String::new(), username: username.to_owned() };
        let _first_wins = self.0.set(named);
    }
}

impl<S: Sync> FromRequestParts<S> for Who {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Self::Rejection> {
        Ok(parts.extensions.get::<Self>().cloned().unwrap_or_default())
    }
}

impl Trail {
    /// Writes to the schedulers. Call it within the async runtime.
    pub(crate) fn to(leader: Leader) -> Self {
        metrics::describe_counter!(
            "keyfleet_audit_lost_total",
            "Audit entries that are in the log alone: too many waited for a scheduler."
        );
        let (entries, waiting) = mpsc::channel(WAITING);
        tokio::spawn(keep_in_batches(leader, waiting));
        Self(entries)
    }

    /// Waits until all entries so far are kept.
    pub(crate) async fn flush(&self) {
        let (done, kept) = oneshot::channel();
        let _ended = self.0.send(Note::Flush(done)).await;
        let _ended = kept.await;
    }

    fn keep(&self, entry: proto::Entry) {
        if self.0.try_send(Note::Entry(Box::new(entry))).is_err() {
            metrics::counter!("keyfleet_audit_lost_total").increment(1);
        }
    }
}

/// The layer. Outside of the one that finishes answers, so that it sees what leaves.
pub(crate) async fn record(State(trail): State<Trail>, mut request: Request, next: Next) -> Response {
    let path = request.uri().path().to_owned();
    if !path.starts_with("/api/v1/") {
        return next.run(request).await;
    }
    let who = Who::default();
    request.extensions_mut().insert(who.clone());
    let method = request.method().clone();
    let address = request.extensions().get::<ConnectInfo<SocketAddr>>().map(|info| info.0.ip().to_string());

    let response = next.run(request).await;

    let (tenant, subject, username) =
        who.0.get().map_or(("", "", ""), |who| (&*who.tenant, &*who.subject, &*who.username));
    let request_id = response.headers().get(REQUEST_ID).and_then(|id| id.to_str().ok()).unwrap_or_default();
    let status = response.status();
    let address = address.unwrap_or_default();
    tracing::info!(
        target: "audit", %method, path, status = status.as_u16(), tenant, subject, username, address,
        request.id = request_id, "A call was answered."
    );
    if matters(&method, status) {
        trail.keep(proto::Entry {
            id: Uuid::now_v7().as_bytes().to_vec().into(),
            at_us: i64::try_from(service_kit::clock::wall().unix_timestamp_nanos() / 1_000).unwrap_or_default(),
            request_id: request_id.to_owned(),
            tenant: tenant.to_owned(),
            subject: subject.to_owned(),
            username: username.to_owned(),
            address,
            method: method.to_string(),
            path,
            status: status.as_u16().into(),
        });
    }
    response
}

/// Whether a call belongs in the table: it was to change something, logs in, or was refused for want of rights.
fn matters(method: &Method, status: StatusCode) -> bool {
    !matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS)
        || matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN)
}

async fn keep_in_batches(leader: Leader, mut notes: mpsc::Receiver<Note>) {
    let mut batch = Vec::new();
    while notes.recv_many(&mut batch, BATCH).await > 0 {
        let (mut entries, mut flushes) = (Vec::new(), Vec::new());
        for note in batch.drain(..) {
            match note {
                Note::Entry(entry) => entries.push(*entry),
                Note::Flush(done) => flushes.push(done),
            }
        }
        if !entries.is_empty() {
            keep(&leader, entries).await;
        }
        for done in flushes {
            let _waits_no_more = done.send(());
        }
    }
}

/// Tells one replica after the other until one has kept them.
async fn keep(leader: &Leader, entries: Vec<proto::Entry>) {
    let request = proto::AppendEntriesRequest { entries };
    let mut backoff = Backoff::reconnect();
    loop {
        for mut client in leader.audit() {
            let client: &mut AuditClient<Channel> = &mut client;
            match timeout(ANSWER, client.append_entries(request.clone())).await {
                Ok(Ok(_)) => return,
                Ok(Err(status)) if status.code() == tonic::Code::InvalidArgument => {
                    tracing::error!(%status, "The scheduler takes no such audit entries; they are in the log alone.");
                    metrics::counter!("keyfleet_audit_lost_total").increment(request.entries.len() as u64);
                    return;
                }
                Ok(Err(status)) => tracing::debug!(%status, "A scheduler could not keep audit entries."),
                Err(_) => tracing::debug!("A scheduler did not keep audit entries in time."),
            }
        }
        backoff.wait().await;
    }
}
