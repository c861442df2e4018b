//! AwaitStopped: names the abort, and answers from a committed finish only.

use std::time::Duration;

use job_model::JobState;
use keyfleet_proto::jobs::v1 as wire;
use tokio::{sync::oneshot, time::timeout};
use tonic::Status;

use super::{
    Service,
    access::Access,
    convert,
    get::{self, MOST_TASKS},
    job_id, refused,
};
use crate::{
    leader::{Event, NotLeading, abort},
    store::jobs::Job,
};

/// The longest a caller may wait.
const LONGEST: Duration = Duration::from_secs(60);

pub(super) async fn await_stopped(
    service: &Service,
    request: wire::AwaitStoppedRequest,
) -> Result<wire::AwaitStoppedResponse, Status> {
    let leader = service.leader()?;
    let access = Access::of(service, &request.tenant, request.rights)?;
    let id = job_id(&request.id)?;
    // A stranger's job is not found, and nothing is aborted of who may not use it.
    let small = match leader.owned.owner(id).filter(|owner| owner.tenant == access.tenant) {
        Some(owner) => {
            access.need_job(&owner.containers)?;
            owner.total <= MOST_TASKS
        }
        None => service.job(&access, id).await?.total <= MOST_TASKS,
    };
    let wait = Duration::from_millis(request.wait_ms).min(LONGEST);

    // A task of its own: the abort is committed even when the caller leaves.
    let (context, own) = (service.context.clone(), leader.clone());
    let aborting = tokio::spawn(async move { abort(&context, &own, id, &request.canceled_by).await });
    let stopped = async {
        aborting.await.map_err(|_| NotLeading)??;
        let (tell, told) = oneshot::channel();
        leader.tell(Event::AwaitFinish(id, tell)).await?;
        tokio::select! {
            told = told => told.map_err(|_| NotLeading),
            () = leader.ended.cancelled() => Err(NotLeading),
        }
    };
    let finished = match timeout(wait, stopped).await {
        Ok(Ok(())) => true,
        Ok(Err(error)) => return Err(Status::unavailable(error.to_string())),
        Err(_elapsed) => false,
    };
    if finished && small {
        // Nothing of it changes any more, so that both are read at once.
        let tasks = async { service.context.store.tasks_ended(id, MOST_TASKS).await.map_err(refused) };
        let (job, tasks) = tokio::try_join!(service.job(&access, id), tasks)?;
        if job.state == JobState::Finished {
            return Ok(answer(&job, tasks.into_iter().map(convert::ended).collect()));
        }
    }
    let job = service.job(&access, id).await?;
    let tasks = get::with_tasks(service, &job).await?.tasks;
    Ok(answer(&job, tasks))
}

fn answer(job: &Job, tasks: Vec<wire::Task>) -> wire::AwaitStoppedResponse {
    wire::AwaitStoppedResponse { job: Some(convert::job(job)), stopped: job.state == JobState::Finished, tasks }
}
