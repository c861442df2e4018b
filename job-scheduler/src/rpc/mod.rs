//! What gateways and workers call. Only the leader answers; a standby refuses with UNAVAILABLE and says NOT_SERVING.
//! Sessions are the exception: any replica answers for them.

mod access;
mod audit;
mod containers;
mod convert;
mod create;
mod get;
mod keys;
mod list;
mod named;
mod needs;
mod session;
mod sessions;
mod sorting;
mod stop;
mod stream;
mod syncs;
mod templates;

use job_model::{JobId, Tenant};
use keyfleet_proto::{
    MAX_MESSAGE,
    audit::v1::audit_server::AuditServer,
    auth::v1::sessions_server::SessionsServer,
    estate::v1::{
        containers_server::ContainersServer, keys_server::KeysServer, synchronizations_server::SynchronizationsServer,
    },
    jobs::v1::{
        self as wire,
        jobs_server::{Jobs, JobsServer},
        templates_server::TemplatesServer,
    },
    workers::v1::workers_server::WorkersServer,
};
use tokio::net::TcpListener;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::{
    Request, Response, Status, Streaming,
    transport::{Server, server::TcpIncoming},
};

use self::access::Access;
use crate::{
    Context,
    leader::{Current, Handle},
    store,
};

/// The name of the health check that says who leads.
const HEALTH_SERVICE: &str = "keyfleet";

/// Serves until `stop`.
///
/// # Errors
/// When the transport fails.
pub async fn serve(
    context: Context,
    current: Current,
    server: Server,
    listener: TcpListener,
    stop: CancellationToken,
) -> Result<(), tonic::transport::Error> {
    let (health, health_service) = tonic_health::server::health_reporter();
    health.set_service_status(HEALTH_SERVICE, tonic_health::ServingStatus::NotServing).await;
    let mut changes = current.changes();
    let reporting = tokio::spawn(async move {
        while changes.changed().await.is_ok() {
            let leads = changes.borrow_and_update().is_some();
            let status =
                if leads { tonic_health::ServingStatus::Serving } else { tonic_health::ServingStatus::NotServing };
            health.set_service_status(HEALTH_SERVICE, status).await;
        }
    });
    let service = Service { context, current };
    let served = server
        .http2_keepalive_interval(Some(std::time::Duration::from_secs(5)))
        .http2_keepalive_timeout(Some(std::time::Duration::from_secs(5)))
        .add_service(health_service)
        .add_service(JobsServer::new(service.clone()).max_decoding_message_size(MAX_MESSAGE))
        .add_service(TemplatesServer::new(service.clone()))
        .add_service(SessionsServer::new(service.clone()))
        .add_service(ContainersServer::new(service.clone()))
        .add_service(AuditServer::new(service.clone()))
        .add_service(KeysServer::new(service.clone()))
        .add_service(SynchronizationsServer::new(service.clone()))
        .add_service(WorkersServer::new(service).max_decoding_message_size(MAX_MESSAGE))
        .serve_with_incoming_shutdown(TcpIncoming::from(listener).with_nodelay(Some(true)), stop.cancelled_owned())
        .await;
    reporting.abort();
    served
}

/// All rpc services of a scheduler.
#[derive(Clone, Debug)]
struct Service {
    context: Context,
    current: Current,
}

impl Service {
    fn leader(&self) -> Result<Handle, Status> {
        self.current.leader().map_err(|error| Status::unavailable(error.to_string()))
    }

    /// The tenant's job, if the caller may use all containers of its keys.
    async fn job(&self, access: &Access, id: JobId) -> Result<store::jobs::Job, Status> {
        let found = self.context.store.job_get(&access.tenant, id).await.map_err(refused)?;
        let job = found.ok_or_else(no_such_job)?;
        access.need_job(&job.containers)?;
        Ok(job)
    }
}

fn no_such_job() -> Status {
    Status::not_found("no such job")
}

/// The caller's tenant.
fn tenant(text: &str) -> Result<Tenant, Status> {
    text.parse().map_err(|error| Status::invalid_argument(format!("tenant: {error}")))
}

/// A job's id; one that is no UUID is nobody's.
fn job_id(text: &str) -> Result<JobId, Status> {
    text.parse().map_err(|_| no_such_job())
}

/// What the store's errors mean to a caller.
fn refused(error: store::Error) -> Status {
    match error {
        store::Error::LostLeadership => Status::unavailable("this scheduler no longer leads"),
        store::Error::Database(error) => {
            tracing::warn!(%error, "The database failed a caller.");
            Status::unavailable("the database cannot be reached or is too slow")
        }
        error @ store::Error::Inconsistent { .. } => {
            tracing::error!(%error, "The database contradicts this program.");
            Status::internal("the stored data is inconsistent")
        }
    }
}

#[tonic::async_trait]
impl Jobs for Service {
    async fn create_job(
        &self,
        request: Request<Streaming<wire::CreateJobRequest>>,
    ) -> Result<Response<wire::CreateJobResponse>, Status> {
        create::create_job(self, request.into_inner()).await.map(Response::new)
    }

    async fn get_job(&self, request: Request<wire::GetJobRequest>) -> Result<Response<wire::GetJobResponse>, Status> {
        get::get_job(self, request.into_inner()).await.map(Response::new)
    }

    async fn list_jobs(
        &self,
        request: Request<wire::ListJobsRequest>,
    ) -> Result<Response<wire::ListJobsResponse>, Status> {
        list::list_jobs(self, request.into_inner()).await.map(Response::new)
    }

    async fn list_tasks(
        &self,
        request: Request<wire::ListTasksRequest>,
    ) -> Result<Response<wire::ListTasksResponse>, Status> {
        list::list_tasks(self, request.into_inner()).await.map(Response::new)
    }

    type StreamTasksStream = ReceiverStream<Result<wire::StreamTasksResponse, Status>>;

    async fn stream_tasks(
        &self,
        request: Request<wire::StreamTasksRequest>,
    ) -> Result<Response<Self::StreamTasksStream>, Status> {
        stream::stream_tasks(self, request.into_inner()).await.map(Response::new)
    }

    async fn await_stopped(
        &self,
        request: Request<wire::AwaitStoppedRequest>,
    ) -> Result<Response<wire::AwaitStoppedResponse>, Status> {
        stop::await_stopped(self, request.into_inner()).await.map(Response::new)
    }
}
