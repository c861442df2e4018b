//! GetJob.

use job_model::SMALL_JOB;
use keyfleet_proto::jobs::v1 as wire;
use tonic::Status;

use super::{Service, convert, job_id, refused, tenant};
use crate::store::jobs::Job;

pub(super) async fn get_job(service: &Service, request: wire::GetJobRequest) -> Result<wire::GetJobResponse, Status> {
    service.leader()?;
    let job = service.job(&tenant(&request.tenant)?, job_id(&request.id)?).await?;
    with_tasks(service, job, request.with_tasks).await
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
