//! GetJob.

use job_model::SMALL_JOB;
use keyfleet_proto::jobs::v1 as wire;
use tonic::Status;

use super::{Service, access::Access, convert, job_id, no_such_job, refused};
use crate::store::{jobs::Job, tasks::Task};

/// Tasks of a job that comes with them, at the most.
pub(super) const MOST_TASKS: u32 = SMALL_JOB as u32;

pub(super) async fn get_job(service: &Service, request: wire::GetJobRequest) -> Result<wire::GetJobResponse, Status> {
    service.leader()?;
    let (access, id) = (Access::of(service, &request.tenant, request.rights)?, job_id(&request.id)?);
    if !request.with_tasks {
        let job = service.job(&access, id).await?;
        return Ok(answer(&job, Vec::new()));
    }
    let (store, tenant) = (service.context.store.clone(), access.tenant.clone());
    let found = tokio::spawn(async move { store.job_get_with_tasks(&tenant, id, MOST_TASKS).await })
        .await
        .map_err(|_| Status::internal("reading the job failed"))?
        .map_err(refused)?;
    let (job, tasks) = found.ok_or_else(no_such_job)?;
    access.need_job(&job.containers)?;
    Ok(answer(&job, tasks))
}

/// The job with its tasks, if it is small. It is read before them, so a finished job's tasks are all final.
pub(super) async fn with_tasks(service: &Service, job: &Job) -> Result<wire::GetJobResponse, Status> {
    let mut tasks = Vec::new();
    if job.total <= MOST_TASKS {
        tasks = service.context.store.task_page(job.id, 0, job.total).await.map_err(refused)?;
    }
    Ok(answer(job, tasks))
}

/// The job and its tasks as they are told.
pub(super) fn answer(job: &Job, tasks: Vec<Task>) -> wire::GetJobResponse {
    wire::GetJobResponse { job: Some(convert::job(job)), tasks: tasks.into_iter().map(convert::task).collect() }
}
