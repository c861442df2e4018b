//! ListJobs and ListTasks.

use std::collections::HashMap;

use job_model::{JobId, TaskState};
use keyfleet_proto::{convert as edge, jobs::v1 as wire};
use tonic::Status;

use super::{
    Service,
    access::{Access, Action},
    convert, get, job_id, refused,
};
use crate::store::jobs::{Descending, Job, ListQuery, SortBy};

/// Rows of a page at the most.
const PAGE: u32 = 2_000;

pub(super) async fn list_jobs(
    service: &Service,
    request: wire::ListJobsRequest,
) -> Result<wire::ListJobsResponse, Status> {
    service.leader()?;
    let access = Access::of(service, &request.tenant, request.rights)?;
    access.need_somewhere(Action::Bulk)?;
    let id = if request.id.is_empty() {
        None
    } else {
        // An id that is no UUID is nobody's: an empty list.
        match request.id.parse::<JobId>() {
            Ok(id) => Some(id),
            Err(_) => return Ok(wire::ListJobsResponse { total: 0, jobs: Vec::new() }),
        }
    };
    let query = ListQuery {
        permitted: access.bulk_containers(),
        tenant: access.tenant,
        id,
        status: edge::overall_status(request.overall_status)
            .map_err(|error| Status::invalid_argument(error.to_string()))?,
        sort: request.sort.iter().map(sort_key).collect::<Result<_, _>>()?,
        skip: request.skip,
        limit: request.limit.min(PAGE),
    };
    let store = &service.context.store;
    let (total, found) = store.job_list(&query).await.map_err(refused)?;
    // The tasks of all jobs at once, read after them, so that a finished job's are all final.
    let small = found.iter().filter(|job| request.with_tasks && job.total <= get::MOST_TASKS);
    let small: Vec<_> = small.map(|job| job.id).collect();
    let mut tasks = match small.is_empty() {
        true => HashMap::new(),
        false => store.tasks_of(&small, get::MOST_TASKS).await.map_err(refused)?,
    };
    let jobs = found.iter().map(|job| get::answer(job, tasks.remove(&job.id).unwrap_or_default())).collect();
    Ok(wire::ListJobsResponse { total, jobs })
}

fn sort_key(key: &wire::SortKey) -> Result<(SortBy, Descending), Status> {
    let by = match key.field() {
        wire::JobField::Unspecified => return Err(Status::invalid_argument("sort: unknown field")),
        wire::JobField::Id => SortBy::Id,
        wire::JobField::CreatedAt => SortBy::CreatedAt,
        wire::JobField::UpdatedAt => SortBy::UpdatedAt,
        wire::JobField::CompletedAt => SortBy::CompletedAt,
        wire::JobField::OverallStatus => SortBy::OverallStatus,
        wire::JobField::Operation => SortBy::Operation,
        wire::JobField::Abort => SortBy::Abort,
    };
    Ok((by, Descending(key.descending)))
}

pub(super) async fn list_tasks(
    service: &Service,
    request: wire::ListTasksRequest,
) -> Result<wire::ListTasksResponse, Status> {
    service.leader()?;
    let access = Access::of(service, &request.tenant, request.rights)?;
    let job = service.job(&access, job_id(&request.id)?).await?;
    let state = edge::task_state(request.state).map_err(|error| Status::invalid_argument(error.to_string()))?;
    let limit = request.limit.min(PAGE);
    let store = &service.context.store;
    let tasks = match state {
        None => store.task_page(job.id, request.skip, limit).await,
        Some(state) => store.task_page_in(job.id, state, request.skip, limit).await,
    }
    .map_err(refused)?;
    Ok(wire::ListTasksResponse {
        total: matching(&job, state).into(),
        tasks: tasks.into_iter().map(convert::task).collect(),
    })
}

/// How many of the job's tasks are in the state: the job counts them.
fn matching(job: &Job, state: Option<TaskState>) -> u32 {
    match state {
        None => job.total,
        Some(TaskState::Pending) => job.total.saturating_sub(job.succeeded + job.failed + job.canceled),
        Some(TaskState::Succeeded) => job.succeeded,
        Some(TaskState::Failed) => job.failed,
        Some(TaskState::Canceled) => job.canceled,
    }
}
