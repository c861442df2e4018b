//! `POST /api/v1/cckm/aws/bulkjob/{id}/cancel`: stop a job.
//!
//! The abort goes two ways at once: published to the broker, where the workers hear it at once, and by gRPC, which
//! also tells when the job has stopped. Either alone suffices, so a slow or broken broker costs nothing. The scheduler decides
//! whether the caller may stop the job, before anyone is told to: for the command it is asked by itself, so that neither
//! way waits for the other. All of it runs in a task of its own: a client that gives up waiting does not undo its cancel.

use std::time::Duration;

use axum::{extract::State, response::Response};
use job_model::JobId;
use keyfleet_proto::jobs::v1 as proto;
use task_queue::AbortCommand;
use tokio::time::{Instant, timeout};
use tonic::Status;
use tracing::Instrument as _;

use super::{JobPath, form::JobForm, schema};
use crate::{
    app::App,
    auth::Caller,
    error::{ApiError, Success},
    limits,
};

/// How long the broker may take; the gRPC way is under way meanwhile.
const PUBLISH: Duration = Duration::from_secs(1);
/// What the answer may take longer than the wait it was asked for.
const GRACE: Duration = Duration::from_secs(2);

/// Stop a job.
///
/// 200: it has stopped; no further mutating KMS request of it will be sent, and the status of every key is final. 202: it goes on
/// stopping. A job that had ended keeps its statuses. A 503 may still take effect. Any body is ignored.
#[utoipa::path(post, path = "/api/v1/cckm/aws/bulkjob/{id}/cancel", operation_id = "cancel_job", tag = "Bulk jobs",
    params(("id" = String, Path, description = "The job's id")),
    responses((status = 200, description = "The job, stopped", body = schema::Job),
        (status = 202, description = "The job, still stopping", body = schema::Job)))]
pub(crate) async fn cancel(State(app): State<App>, caller: Caller, JobPath(id): JobPath) -> Result<Response, ApiError> {
    let stopping = tokio::spawn(stop(app, caller, id).in_current_span());
    let (success, body) = stopping.await.map_err(|panic| {
        tracing::error!(%panic, "A cancel panicked.");
        ApiError::Internal
    })??;
    Ok(success.of(super::json(body)))
}

async fn stop(app: App, caller: Caller, id: JobId) -> Result<(Success, Vec<u8>), ApiError> {
    // Beside, so that the answer never waits for the broker.
    let publishing = tokio::spawn(publish(app.clone(), caller.clone(), id).in_current_span());
    let mut body = Vec::new();
    match await_stopped(&app, &caller, id).await {
        Ok(answer) => {
            JobForm::of(answer.job.as_ref())?.write_usual(&mut body, &answer.tasks)?;
            Ok((if answer.stopped { Success::Ok } else { Success::Accepted }, body))
        }
        Err(error @ ApiError::Unavailable(_)) => {
            let Ok(Some(job)) = publishing.await else { return Err(error) };
            // The broker keeps a confirmed command until a leader takes it: the job will stop.
            tracing::warn!(job.id = %id, %error, "The abort is published, but no leader told of the job in time.");
            JobForm::of(Some(&proto::Job { abort: true, ..job }))?.write_bare(&mut body);
            Ok((Success::Accepted, body))
        }
        Err(error) => Err(error),
    }
}

/// Tells the workers and the leader by the broker, if the caller may stop the job. Gives the job if the broker keeps the
/// command now.
async fn publish(app: App, caller: Caller, id: JobId) -> Option<proto::Job> {
    let request = proto::GetJobRequest {
        rights: Some(caller.rights()),
        tenant: caller.tenant.to_string(),
        id: id.to_string(),
        with_tasks: false,
    };
    let found = app
        .scheduler
        .read(|mut client| {
            let request = request.clone();
            async move { client.get_job(request).await }
        })
        .await;
    // Who is refused here is refused by the other way too, and told there.
    let job = found.ok()?.job?;
    let command = AbortCommand { job: id, tenant: caller.tenant, requested_by: caller.subject };
    match timeout(PUBLISH, app.aborts.publish_abort(command)).await {
        Ok(Ok(())) => Some(job),
        Ok(Err(error)) => {
            tracing::warn!(job.id = %id, %error, "The abort could not be published; it goes by gRPC alone.");
            None
        }
        Err(_) => {
            tracing::warn!(job.id = %id, "The broker did not confirm the abort in time; it goes by gRPC alone.");
            None
        }
    }
}

/// Waits until the job has stopped, over changes of the leader, for as long as a cancel may take.
async fn await_stopped(app: &App, caller: &Caller, id: JobId) -> Result<proto::AwaitStoppedResponse, ApiError> {
    let until = Instant::now() + app.cancel_wait;
    loop {
        let left = until.saturating_duration_since(Instant::now());
        let request = proto::AwaitStoppedRequest {
            rights: Some(caller.rights()),
            tenant: caller.tenant.to_string(),
            id: id.to_string(),
            canceled_by: caller.subject.clone(),
            wait_ms: u64::try_from(left.as_millis()).unwrap_or(u64::MAX),
        };
        let answer = timeout(left + GRACE, async {
            let mut client = app.scheduler.jobs().await.map_err(Unanswered::Leaderless)?;
            client.await_stopped(request).await.map_err(Unanswered::Refused)
        });
        let refusal = match answer.await {
            Err(_) => return Err(limits::too_late()),
            Ok(Ok(answer)) => return Ok(answer.into_inner()),
            Ok(Err(Unanswered::Leaderless(error))) => error,
            Ok(Err(Unanswered::Refused(status))) => app.scheduler.refused(&status),
        };
        // Another leader takes it up where this one left it.
        if !matches!(refusal, ApiError::Unavailable(_)) || Instant::now() >= until {
            return Err(refusal);
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

enum Unanswered {
    Leaderless(ApiError),
    Refused(Status),
}
