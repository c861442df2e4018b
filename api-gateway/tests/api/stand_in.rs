//! Plays the scheduler: keeps what it is sent, and answers as it is told.

use std::{
    collections::HashMap,
    pin::Pin,
    sync::{Arc, Mutex, atomic::AtomicBool},
};

use futures_util::{Stream, StreamExt as _, stream};
use keyfleet_proto::{
    audit::v1::{
        self as audit,
        audit_server::{Audit, AuditServer},
    },
    auth::v1::sessions_server::SessionsServer,
    estate::v1::{
        self as estate, containers_server::ContainersServer, keys_server::KeysServer,
        synchronizations_server::SynchronizationsServer,
    },
    jobs::v1::{
        self as proto,
        create_job_request::Part,
        jobs_server::{Jobs, JobsServer},
        templates_server::TemplatesServer,
    },
};
use tokio::net::TcpListener;
use tonic::{
    Request, Response, Status, Streaming,
    transport::{Server, server::TcpIncoming},
};

use crate::stand_in_sessions::Memory;

/// The stand-in.
#[derive(Default)]
pub(crate) struct StandIn {
    address: Mutex<String>,
    pub(crate) jobs: Mutex<HashMap<String, (proto::Job, Vec<proto::Task>)>>,
    /// All create streams that were committed, message by message.
    pub(crate) created: Mutex<Vec<Vec<Part>>>,
    /// How many create streams ended without a Commit.
    pub(crate) abandoned: Mutex<usize>,
    pub(crate) awaited: Mutex<Vec<proto::AwaitStoppedRequest>>,
    pub(crate) listed: Mutex<Vec<proto::ListJobsRequest>>,
    pub(crate) listed_tasks: Mutex<Vec<proto::ListTasksRequest>>,
    /// Refuses the next calls so.
    pub(crate) refusals: Mutex<Vec<Status>>,
    /// What each call said of its caller, in order.
    pub(crate) rights: Mutex<Vec<estate::Rights>>,
    /// Whether jobs stop when told to.
    pub(crate) never_stops: Mutex<bool>,
    pub(crate) containers: Mutex<Vec<estate::Container>>,
    pub(crate) containers_made: Mutex<Vec<estate::CreateContainerRequest>>,
    pub(crate) containers_listed: Mutex<Vec<estate::ListContainersRequest>>,
    pub(crate) containers_changed: Mutex<Vec<estate::UpdateContainerRequest>>,
    pub(crate) acls_changed: Mutex<Vec<estate::UpdateAclsRequest>>,
    pub(crate) keys: Mutex<Vec<estate::Key>>,
    pub(crate) keys_listed: Mutex<Vec<estate::ListKeysRequest>>,
    pub(crate) synchronizations: Mutex<Vec<estate::Synchronization>>,
    pub(crate) synchronizations_listed: Mutex<Vec<estate::ListSynchronizationsRequest>>,
    pub(crate) templates: Mutex<Vec<proto::Template>>,
    pub(crate) templates_made: Mutex<Vec<proto::CreateTemplateRequest>>,
    pub(crate) templates_listed: Mutex<Vec<proto::ListTemplatesRequest>>,
    pub(crate) templates_changed: Mutex<Vec<proto::UpdateTemplateRequest>>,
    pub(crate) sessions: Memory,
    pub(crate) audited: Mutex<Vec<audit::Entry>>,
    /// Whether it cannot answer for sessions.
    pub(crate) no_sessions: AtomicBool,
}

impl StandIn {
    pub(crate) async fn start() -> Arc<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let this = Arc::new(Self::default());
        *this.address.lock().unwrap() = listener.local_addr().unwrap().to_string();
        let (health, health_server) = tonic_health::server::health_reporter();
        health.set_service_status(scheduler_client::HEALTH_SERVICE, tonic_health::ServingStatus::Serving).await;
        let server = Server::builder()
            .add_service(health_server)
            .add_service(JobsServer::from_arc(Arc::clone(&this)).max_decoding_message_size(64 << 20))
            .add_service(TemplatesServer::from_arc(Arc::clone(&this)))
            .add_service(SessionsServer::from_arc(Arc::clone(&this)))
            .add_service(ContainersServer::from_arc(Arc::clone(&this)))
            .add_service(AuditServer::from_arc(Arc::clone(&this)))
            .add_service(KeysServer::from_arc(Arc::clone(&this)))
            .add_service(SynchronizationsServer::from_arc(Arc::clone(&this)))
            .serve_with_incoming(TcpIncoming::from(listener).with_nodelay(Some(true)));
        tokio::spawn(server);
        this
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address.lock().unwrap())
    }

    /// Adds a job of these keys, all pending.
    pub(crate) fn add_job(&self, tenant: &str, keys: impl IntoIterator<Item = String>) -> String {
        let keys: Vec<String> = keys.into_iter().collect();
        let id = uuid::Uuid::now_v7().to_string();
        let tasks: Vec<proto::Task> = (0..)
            .zip(keys)
            .map(|(seq, key)| proto::Task { seq, key, state: proto::TaskState::Pending.into(), ..Default::default() })
            .collect();
        let total = tasks.len() as u64;
        let job = proto::Job {
            id: id.clone(),
            tenant: tenant.to_owned(),
            created_by: "local|x".to_owned(),
            operation: proto::Operation::EnableKey.into(),
            overall_status: proto::OverallStatus::InProgress.into(),
            counts: Some(proto::Counts { total, in_progress: total, ..Default::default() }),
            created_at_us: 1_676_017_188_558_869,
            updated_at_us: 1_676_017_188_558_869,
            ..Default::default()
        };
        self.jobs.lock().unwrap().insert(id.clone(), (job, tasks));
        id
    }

    pub(crate) fn change(&self, id: &str, change: impl FnOnce(&mut proto::Job, &mut Vec<proto::Task>)) {
        let mut jobs = self.jobs.lock().unwrap();
        let (job, tasks) = jobs.get_mut(id).unwrap();
        change(job, tasks);
    }

    pub(crate) fn refuse(&self) -> Result<(), Status> {
        self.refusals.lock().unwrap().pop().map_or(Ok(()), Err)
    }

    /// Judges like a scheduler of one container, on which nobody has got a permission by name.
    pub(crate) fn judge(&self, rights: Option<&estate::Rights>) -> Result<(), Status> {
        let rights = rights.ok_or_else(|| Status::permission_denied("the gateway sent no rights"))?;
        self.rights.lock().unwrap().push(rights.clone());
        if rights.everything || rights.bulk {
            Ok(())
        } else {
            Err(Status::permission_denied("the permission keybulkoperation is missing on the container \"default\""))
        }
    }

    fn find(&self, tenant: &str, id: &str) -> Result<(proto::Job, Vec<proto::Task>), Status> {
        self.refuse()?;
        let jobs = self.jobs.lock().unwrap();
        jobs.get(id).filter(|(job, _)| job.tenant == tenant).cloned().ok_or_else(|| Status::not_found("no such job"))
    }

    fn small(tasks: Vec<proto::Task>) -> Vec<proto::Task> {
        if tasks.len() <= 1_000 { tasks } else { Vec::new() }
    }
}

#[tonic::async_trait]
impl Jobs for StandIn {
    async fn create_job(
        &self,
        request: Request<Streaming<proto::CreateJobRequest>>,
    ) -> Result<Response<proto::CreateJobResponse>, Status> {
        self.refuse()?;
        let mut stream = request.into_inner();
        let mut parts = Vec::new();
        let ended = loop {
            match stream.message().await {
                Ok(Some(message)) => {
                    let part = message.part.unwrap();
                    // Before any key is read, as the scheduler does.
                    if let Part::Begin(begin) = &part {
                        self.judge(begin.rights.as_ref())?;
                    }
                    parts.push(part);
                }
                Ok(None) => break Ok(()),
                Err(status) => break Err(status),
            }
        };
        let [Part::Begin(begin), keys @ .., Part::Commit(commit)] = parts.as_slice() else {
            *self.abandoned.lock().unwrap() += 1;
            return Err(ended.err().unwrap_or_else(|| Status::invalid_argument("the stream ended without a commit")));
        };
        if commit.policy_template_id.as_deref() == Some("unknown") {
            return Err(Status::not_found("there is no template of this id"));
        }
        let keys = keys.iter().flat_map(|part| match part {
            Part::Keys(keys) => keys.keys.clone(),
            Part::Begin(_) | Part::Commit(_) => panic!("{part:?} among the keys"),
        });
        let id = self.add_job(&begin.tenant, keys);
        self.change(&id, |job, _| {
            job.operation = commit.operation.max(commit.dry_run);
            job.dry_run = commit.dry_run != 0;
            job.days = commit.days;
            job.policy_template_id.clone_from(&commit.policy_template_id);
            job.force = commit.force;
            job.max_rate = commit.max_rate;
            job.selector.clone_from(&commit.selector);
        });
        self.created.lock().unwrap().push(parts);
        let (job, tasks) = self.jobs.lock().unwrap()[&id].clone();
        Ok(Response::new(proto::CreateJobResponse { job: Some(job), tasks: Self::small(tasks) }))
    }

    async fn get_job(&self, request: Request<proto::GetJobRequest>) -> Result<Response<proto::GetJobResponse>, Status> {
        let request = request.into_inner();
        let (job, tasks) = self.find(&request.tenant, &request.id)?;
        self.judge(request.rights.as_ref())?;
        let tasks = if request.with_tasks { Self::small(tasks) } else { Vec::new() };
        Ok(Response::new(proto::GetJobResponse { job: Some(job), tasks }))
    }

    async fn list_jobs(
        &self,
        request: Request<proto::ListJobsRequest>,
    ) -> Result<Response<proto::ListJobsResponse>, Status> {
        self.refuse()?;
        let request = request.into_inner();
        self.judge(request.rights.as_ref())?;
        self.listed.lock().unwrap().push(request.clone());
        let jobs = self.jobs.lock().unwrap();
        let mut found: Vec<_> = jobs.values().filter(|(job, _)| job.tenant == request.tenant).cloned().collect();
        found.sort_by(|(one, _), (other, _)| other.id.cmp(&one.id));
        let jobs = found.iter().skip(request.skip as usize).take(request.limit as usize).cloned();
        Ok(Response::new(proto::ListJobsResponse {
            total: found.len() as u64,
            jobs: jobs
                .map(|(job, tasks)| {
                    let tasks = if request.with_tasks { Self::small(tasks) } else { Vec::new() };
                    proto::GetJobResponse { job: Some(job), tasks }
                })
                .collect(),
        }))
    }

    async fn list_tasks(
        &self,
        request: Request<proto::ListTasksRequest>,
    ) -> Result<Response<proto::ListTasksResponse>, Status> {
        let request = request.into_inner();
        self.listed_tasks.lock().unwrap().push(request.clone());
        let (_, tasks) = self.find(&request.tenant, &request.id)?;
        self.judge(request.rights.as_ref())?;
        let total = tasks.len() as u64;
        let tasks = tasks.into_iter().skip(request.skip as usize).take(request.limit as usize).collect();
        Ok(Response::new(proto::ListTasksResponse { total, tasks }))
    }

    type StreamTasksStream = Pin<Box<dyn Stream<Item = Result<proto::StreamTasksResponse, Status>> + Send>>;

    async fn stream_tasks(
        &self,
        request: Request<proto::StreamTasksRequest>,
    ) -> Result<Response<Self::StreamTasksStream>, Status> {
        let request = request.into_inner();
        let (_, tasks) = self.find(&request.tenant, &request.id)?;
        self.judge(request.rights.as_ref())?;
        let batches: Vec<_> = tasks
            .chunks(700)
            .map(|batch| {
                let of = |task: &proto::Task| match request.keys_only {
                    true => proto::Task { seq: task.seq, key: task.key.clone(), ..Default::default() },
                    false => task.clone(),
                };
                Ok(proto::StreamTasksResponse { tasks: batch.iter().map(of).collect() })
            })
            .collect();
        Ok(Response::new(stream::iter(batches).boxed()))
    }

    async fn await_stopped(
        &self,
        request: Request<proto::AwaitStoppedRequest>,
    ) -> Result<Response<proto::AwaitStoppedResponse>, Status> {
        let request = request.into_inner();
        self.find(&request.tenant, &request.id)?;
        self.judge(request.rights.as_ref())?;
        self.awaited.lock().unwrap().push(request.clone());
        let stopped = !*self.never_stops.lock().unwrap();
        self.change(&request.id, |job, _| {
            job.abort = true;
            if stopped {
                job.overall_status = proto::OverallStatus::Canceled.into();
                job.completed_at_us = Some(1_676_017_189_000_000);
            }
        });
        let (job, tasks) = self.jobs.lock().unwrap()[&request.id].clone();
        Ok(Response::new(proto::AwaitStoppedResponse { job: Some(job), stopped, tasks: Self::small(tasks) }))
    }
}

#[tonic::async_trait]
impl Audit for StandIn {
    async fn append_entries(
        &self,
        request: Request<audit::AppendEntriesRequest>,
    ) -> Result<Response<audit::AppendEntriesResponse>, Status> {
        self.audited.lock().unwrap().extend(request.into_inner().entries);
        Ok(Response::new(audit::AppendEntriesResponse {}))
    }
}
