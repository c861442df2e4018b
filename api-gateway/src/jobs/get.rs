//! `GET /api/v1/cckm/aws/bulkjob/{id}`: one job, whole.

use axum::{extract::State, response::Response};
use keyfleet_proto::jobs::v1 as proto;

use super::{
    JobPath,
    form::JobForm,
    schema,
    stream::{WholeJob, tasks},
};
use crate::{
    app::App,
    auth::Caller,
    error::{ApiError, Success},
    page::Params,
};

/// One job with its keys and their statuses.
///
/// The answer of a large job is streamed, and may differ by one commit from its counts while the job runs.
#[utoipa::path(get, path = "/api/v1/cckm/aws/bulkjob/{id}", operation_id = "get_job", tag = "Bulk jobs",
    params(("id" = String, Path, description = "The job's id"),
        ("detail" = Option<bool>, Query, description = "false leaves keys and detailed_status out")),
    responses((status = 200, description = "The job", body = schema::Job)))]
pub(crate) async fn get(
    State(app): State<App>,
    caller: Caller,
    JobPath(id): JobPath,
    params: Params,
) -> Result<Response, ApiError> {
    let detail = params.flag("detail", true)?;
    let request = proto::GetJobRequest {
        rights: Some(caller.rights()),
        tenant: caller.tenant.to_string(),
        id: id.to_string(),
        with_tasks: detail,
    };
    let all = proto::StreamTasksRequest {
        tenant: request.tenant.clone(),
        id: request.id.clone(),
        keys_only: false,
        rights: request.rights.clone(),
    };
    let found = app
        .scheduler
        .read(|mut client| {
            let request = request.clone();
            async move { client.get_job(request).await }
        })
        .await?;
    let form = JobForm::of(found.job.as_ref())?;
    if detail && !form.is_small() {
        let statuses = tasks(&app.scheduler, &all).await?;
        let job = WholeJob { scheduler: app.scheduler.clone(), form, all, statuses };
        return Ok(Success::Ok.of(super::json(app.streams.body(job).await?)));
    }
    let mut body = Vec::new();
    if detail {
        form.write_whole(&mut body, &found.tasks)?;
    } else {
        form.write_bare(&mut body);
    }
    Ok(Success::Ok.of(super::json(body)))
}
