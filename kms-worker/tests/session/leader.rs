//! A leading scheduler as the test plays it: it says what the test says, and tells what the worker says.

use std::{future::Future, pin::Pin, time::Duration};

use job_model::{GoId, JobId, KeyAddress, Request, TaskRef};
use keyfleet_proto::{
    convert,
    workers::v1::{
        FromLeader, FromWorker, Go, JobSpec, Lease, Report, ReportAck, StopAck,
        workers_server::{Workers, WorkersServer},
    },
};
use tokio::{net::TcpListener, sync::mpsc};
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tokio_util::sync::{CancellationToken, DropGuard};
use tonic::{Response, Status, Streaming};

/// Longer than anything here takes; a test that waits so long fails.
const PATIENCE: Duration = Duration::from_secs(20);

/// A lease that outlives every test.
const LONG: u64 = 3_600_000;

/// Fails the test when what is waited for does not come.
pub(crate) async fn within<T>(what: &str, waited: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, waited).await.unwrap_or_else(|_| panic!("waited in vain: {what}"))
}

/// The server.
pub(crate) struct Leader {
    url: String,
    sessions: mpsc::Receiver<Session>,
    _stop: DropGuard,
}

impl Leader {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (opened, sessions) = mpsc::channel(8);
        let (health, health_service) = tonic_health::server::health_reporter();
        health.set_service_status(scheduler_client::HEALTH_SERVICE, tonic_health::ServingStatus::Serving).await;
        let stop = CancellationToken::new();
        let server = tonic::transport::Server::builder()
            .add_service(health_service)
            .add_service(WorkersServer::new(Service { opened }))
            .serve_with_incoming_shutdown(TcpListenerStream::new(listener), stop.clone().cancelled_owned());
        tokio::spawn(server);
        Self { url, sessions, _stop: stop.drop_guard() }
    }

    pub(crate) fn url(&self) -> String {
        self.url.clone()
    }

    /// The next session, and its Hello.
    pub(crate) async fn session(&mut self) -> (Session, keyfleet_proto::workers::v1::Hello) {
        let mut session = within("a session", self.sessions.recv()).await.unwrap();
        let frame = session.frame().await;
        (session, frame.hello.expect("the first frame carries Hello"))
    }

    /// The next session, with a long lease.
    pub(crate) async fn leased(&mut self) -> Session {
        let (mut session, _) = self.session().await;
        session.grant(LONG, &[]).await;
        session
    }
}

struct Service {
    opened: mpsc::Sender<Session>,
}

#[tonic::async_trait]
impl Workers for Service {
    type SessionStream = Pin<Box<dyn tokio_stream::Stream<Item = Result<FromLeader, Status>> + Send>>;

    async fn session(
        &self,
        request: tonic::Request<Streaming<FromWorker>>,
    ) -> Result<Response<Self::SessionStream>, Status> {
        let (frames, outgoing) = mpsc::channel(64);
        let session = Session { frames, incoming: request.into_inner(), heartbeats: Vec::new(), said: Said::default() };
        self.opened.send(session).await.map_err(|_| Status::unavailable("the test has ended"))?;
        Ok(Response::new(Box::pin(ReceiverStream::new(outgoing))))
    }
}

/// One session. Dropping it ends it.
pub(crate) struct Session {
    frames: mpsc::Sender<Result<FromLeader, Status>>,
    incoming: Streaming<FromWorker>,
    heartbeats: Vec<u64>,
    said: Said,
}

/// What the worker said and nobody has waited for yet.
#[derive(Default)]
struct Said {
    starts: Vec<TaskRef>,
    reports: Vec<Report>,
    stop_acks: Vec<StopAck>,
    looks: Vec<keyfleet_proto::workers::v1::LookResult>,
}

impl Session {
    pub(crate) async fn say(&self, frame: FromLeader) {
        self.frames.send(Ok(frame)).await.expect("the worker listens");
    }

    /// The next frame, noted.
    async fn frame(&mut self) -> FromWorker {
        let frame = within("a frame", self.incoming.message()).await.unwrap().expect("the session goes on");
        if let Some(heartbeat) = &frame.heartbeat {
            self.heartbeats.push(heartbeat.number);
            self.said.stop_acks.extend(heartbeat.stops.iter().cloned());
        }
        self.said.starts.extend(frame.starts.iter().map(|task| TaskRef::try_from(task).unwrap()));
        self.said.reports.extend(frame.reports.iter().cloned());
        self.said.stop_acks.extend(frame.stop_acks.iter().cloned());
        self.said.looks.extend(frame.look_results.iter().cloned());
        frame
    }

    /// Answers the next heartbeat with a lease of so many milliseconds.
    pub(crate) async fn grant(&mut self, lease_ms: u64, aborted: &[JobId]) {
        while self.heartbeats.is_empty() {
            self.frame().await;
        }
        let number = self.heartbeats.pop().unwrap();
        self.heartbeats.clear();
        let aborted = aborted.iter().map(|job| job.to_vec().into()).collect();
        self.say(FromLeader { lease: Some(Lease { number, lease_ms, aborted }), ..FromLeader::default() }).await;
    }

    /// The next Start.
    pub(crate) async fn start(&mut self) -> TaskRef {
        while self.said.starts.is_empty() {
            self.frame().await;
        }
        self.said.starts.remove(0)
    }

    /// The next report.
    pub(crate) async fn report(&mut self) -> Report {
        while self.said.reports.is_empty() {
            self.frame().await;
        }
        self.said.reports.remove(0)
    }

    /// The next StopAck of the job with so many in flight.
    pub(crate) async fn stop_ack(&mut self, job: JobId, in_flight: u32) {
        let wanted = StopAck { job_id: job.to_vec().into(), in_flight };
        while !self.said.stop_acks.contains(&wanted) {
            self.said.stop_acks.clear();
            self.frame().await;
        }
        self.said.stop_acks.clear();
    }

    /// The next result of a look.
    pub(crate) async fn looked(&mut self) -> keyfleet_proto::workers::v1::LookResult {
        while self.said.looks.is_empty() {
            self.frame().await;
        }
        self.said.looks.remove(0)
    }

    /// Gives a Go for the task on `key`, which may act, with its job's spec.
    pub(crate) async fn go(&self, number: u64, task: TaskRef, key: &str, request: &Request) {
        self.go_of(number, task, key, convert::spec(task.job, request, false, false)).await;
    }

    /// The same of a job with this spec.
    pub(crate) async fn go_of(&self, number: u64, task: TaskRef, key: &str, spec: JobSpec) {
        self.say(with_go(number, task, &crate::setup::address(key), spec)).await;
    }

    /// Acknowledges a report.
    pub(crate) async fn acknowledge(&self, report: &Report, is_final: bool) {
        let ack = ReportAck { go: report.go, task: report.task.clone(), r#final: is_final };
        self.say(FromLeader { report_acks: vec![ack], ..FromLeader::default() }).await;
    }

    /// Waits until the worker has handled all that was said: it acknowledges the abort of a job that nobody has.
    pub(crate) async fn heard(&mut self) {
        let nobodys = crate::setup::task(u128::MAX, 0).job;
        self.abort(nobodys).await;
        self.stop_ack(nobodys, 0).await;
    }

    /// Aborts the job.
    pub(crate) async fn abort(&self, job: JobId) {
        self.say(FromLeader { aborts: vec![job.to_vec().into()], ..FromLeader::default() }).await;
    }

    /// Whether the worker has ended the session.
    pub(crate) async fn ended(mut self) {
        within("the session's end", async { while let Ok(Some(_)) = self.incoming.message().await {} }).await;
    }
}

/// A frame with a Go that may act, and its job's spec.
pub(crate) fn with_go(number: u64, task: TaskRef, key: &KeyAddress, spec: JobSpec) -> FromLeader {
    let go = Go {
        go: go(number).as_u64(),
        task: Some(task.into()),
        key: Some(key.into()),
        acting: true,
        doubted: false,
        trust_reading: true,
    };
    FromLeader { specs: vec![spec], gos: vec![go], ..FromLeader::default() }
}

/// The `number`th Go of epoch 1.
pub(crate) fn go(number: u64) -> GoId {
    GoId::new(1, number)
}
