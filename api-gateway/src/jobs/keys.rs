//! `GET /api/v1/cckm/aws/bulkjob/{id}/keys`: what became of each key, page by page.

use axum::{
    Json,
    extract::State,
    response::{IntoResponse, Response},
};
use job_model::TaskState;
use keyfleet_proto::jobs::v1 as proto;
use serde::Serialize;

use super::{JobPath, form::task_state};
use crate::{app::App, auth::Caller, error::ApiError, listing::Listing, page::Params, times::rfc3339};

/// One key of a job
#[derive(Serialize, utoipa::ToSchema)]
pub(crate) struct KeyRow {
    /// As the caller wrote it
    key: String,
    /// Its place in the job, from 0
    seq: u32,
    /// `pending`, `succeeded`, `failed` or `canceled`
    state: &'static str,
    /// Of a failed one: `<KMS error code>: <text>`; of a dry run: what would come of the key
    detail: Option<String>,
    /// How often it was tried
    attempts: u32,
    /// It was in the asked state before, without a call
    already: bool,
    /// KMS's KeyState seen before, null when none was seen
    state_before: Option<String>,
    /// When the first try began: RFC 3339, UTC, microseconds
    started_at: Option<String>,
    /// When the state became final
    finished_at: Option<String>,
}

/// What became of each key of a job.
#[utoipa::path(get, path = "/api/v1/cckm/aws/bulkjob/{id}/keys", operation_id = "list_job_keys", tag = "Bulk jobs",
    params(("id" = String, Path, description = "The job's id"),
        ("status" = Option<String>, Query, description = "Only keys that are pending, succeeded, failed or canceled"),
        ("skip" = Option<u32>, Query, description = "Rows to leave out; 0"),
        ("limit" = Option<i32>, Query, description = "Rows to give, 0 to 2,000, or -1 for 2,000; 10")),
    responses((status = 200, description = "The keys in the caller's order", body = Listing<KeyRow>)))]
pub(crate) async fn keys(
    State(app): State<App>,
    caller: Caller,
    JobPath(id): JobPath,
    params: Params,
) -> Result<Response, ApiError> {
    let page = params.page()?;
    let request = proto::ListTasksRequest {
        rights: Some(caller.rights()),
        tenant: caller.tenant.to_string(),
        id: id.to_string(),
        state: state(params.first("status"))?.into(),
        skip: page.skip,
        limit: page.limit,
    };
    let found = app
        .scheduler
        .read(|mut client| {
            let request = request.clone();
            async move { client.list_tasks(request).await }
        })
        .await?;
    let rows = found.tasks.into_iter().map(row).collect::<Result<_, _>>()?;
    Ok(Json(Listing::new(page, found.total, rows)).into_response())
}

fn state(word: Option<&str>) -> Result<proto::TaskState, ApiError> {
    let Some(word) = word else { return Ok(proto::TaskState::Unspecified) };
    word.parse::<TaskState>().map(proto::TaskState::from).map_err(|_| {
        ApiError::BadRequest(format!("status: must be pending, succeeded, failed or canceled, not {word:?}"))
    })
}

fn row(task: proto::Task) -> Result<KeyRow, ApiError> {
    let some = |text: String| (!text.is_empty()).then_some(text);
    Ok(KeyRow {
        state: task_state(&task)?.as_str(),
        key: task.key,
        seq: task.seq,
        detail: some(task.detail),
        attempts: task.attempts,
        already: task.already,
        state_before: some(task.state_before),
        started_at: task.started_at_us.map(rfc3339),
        finished_at: task.finished_at_us.map(rfc3339),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_is_one_of_the_states_words() {
        assert_eq!(state(None).unwrap(), proto::TaskState::Unspecified);
        assert_eq!(state(Some("failed")).unwrap(), proto::TaskState::Failed);
        for bad in ["Failed", "in_progress", "x"] {
            assert!(matches!(state(Some(bad)), Err(ApiError::BadRequest(text)) if text.starts_with("status: ")));
        }
    }
}
