//! GetJob.

use job_model::SMALL_JOB;
use keyfleet_proto::jobs::v1 as wire;
use tonic::Status;

use super::{Service, access::Access, convert, job_id, no_such_job, refused};
use crate::store::jobs::Job;

pub(super) async fn get_job(service: &Service, request: wire::GetJobRequest) -> Result<wire::GetJobResponse, Status> {
    service.leader()?;
    let (access, id) = (Access::of(service, &request.tenant, request.rights)?, job_id(&request.id)?);
    if !request.with_tasks {
        let job = service.job(&access, id).await?;
        return Ok(wire::GetJobResponse { job: Some(convert::job(&job)), tasks: Vec::new() });
    }
    let (store, tenant) = (service.context.store.clone(), access.tenant.clone());
    let most = u32::try_from(SMALL_JOB).unwrap_or(u32::MAX);
    let found = tokio::spawn(async move { store.job_get_with_tasks(&tenant, id, most).await })
        .await
        .map_err(|_| Status::internal("reading the job failed"))?
        .map_err(refused)?;
    let (job, tasks) = found.ok_or_else(no_such_job)?;
    access.need_job(&job)?;
    Ok(wire::GetJobResponse { job: Some(convert::job(&job)), tasks: tasks.into_iter().map(convert::task).collect() })
}

/// The job with its tasks, if it is asked for and small. The job is read before them, so a finished job's tasks are all
/// final.
pub(super) async fn with_tasks(service: &Service, job: Job, wanted: bool) -> Result<wire::GetJobResponse, Status> {
    let mut tasks = Vec::new();
    if wanted && usize::try_from(job.total).is_ok_and(|total| total <= SMALL_JOB) {
        tasks = service.context.store.task_page(job.id, 0, job.total).await.map_err(refused)?;
    }
    Ok(wire::GetJobResponse { job: Some(convert::job(&job)), tasks: tasks.into_iter().map(convert::task).collect() })
}
