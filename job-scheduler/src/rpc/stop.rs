//! AwaitStopped: names the abort, and answers from a committed finish only.

use std::time::Duration;

use job_model::JobState;
use keyfleet_proto::jobs::v1 as wire;
use tokio::{sync::oneshot, time::timeout};
use tonic::Status;

use super::{Service, access::Access, get, job_id};
use crate::leader::{Event, NotLeading, abort};

/// The longest a caller may wait.
const LONGEST: Duration = Duration::from_secs(60);

pub(super) async fn await_stopped(
    service: &Service,
    request: wire::AwaitStoppedRequest,
) -> Result<wire::AwaitStoppedResponse, Status> {
    let leader = service.leader()?;
    let access = Access::of(service, &request.tenant, request.rights)?;
    // A stranger's job is not found, and nothing is aborted of who may not use it.
    let job = service.job(&access, job_id(&request.id)?).await?;
    let wait = Duration::from_millis(request.wait_ms).min(LONGEST);

    // A task of its own: the abort is committed even when the caller leaves.
    let (context, own) = (service.context.clone(), leader.clone());
    let aborting = tokio::spawn(async move { abort(&context, &own, job.id, &request.canceled_by).await });
    let stopped = async {
        aborting.await.map_err(|_| NotLeading)??;
        let (tell, told) = oneshot::channel();
        leader.tell(Event::AwaitFinish(job.id, tell)).await?;
        tokio::select! {
            told = told => told.map_err(|_| NotLeading),
            () = leader.ended.cancelled() => Err(NotLeading),
        }
    };
    if let Ok(Err(error)) = timeout(wait, stopped).await {
        return Err(Status::unavailable(error.to_string()));
    }
    let job = service.job(&access, job.id).await?;
    let stopped = job.state == JobState::Finished;
    let wire::GetJobResponse { job, tasks } = get::with_tasks(service, &job).await?;
    Ok(wire::AwaitStoppedResponse { job, stopped, tasks })
}
