//! `GET /api/v1/cckm/aws/bulkjob`: the tenant's jobs.
//!
//! Two thousand jobs of a thousand keys each would be hundreds of megabytes, so only short pages are built whole; of
//! longer ones the keys are fetched job by job while the answer is written.

use axum::{extract::State, response::Response};
use futures_util::{StreamExt as _, stream};
use job_model::OverallStatus;
use keyfleet_proto::jobs::v1 as proto;

use super::{
    form::{CLOUD, JobForm},
    schema,
    stream::{AsyncWrite, BrokenOff, Out},
};
use crate::{
    app::App,
    auth::Caller,
    error::{ApiError, Success},
    listing::Listing,
    page::{Page, Params, no_sort, sort_names},
    scheduler::Scheduler,
};

/// Pages up to this many jobs are built whole, with some 5 MB at most in the usual case.
const SHORT_PAGE: u32 = 50;
/// Jobs of a long page that are fetched ahead.
const AHEAD: usize = 4;

/// The jobs of the caller's tenant.
///
/// A parameter that does not exist is ignored.
#[utoipa::path(get, path = "/api/v1/cckm/aws/bulkjob", operation_id = "list_jobs", tag = "Bulk jobs",
    params(("skip" = Option<u32>, Query, description = "Jobs to leave out; 0"),
        ("limit" = Option<i32>, Query, description = "Jobs to give, 0 to 2,000, or -1 for 2,000; 10"),
        ("sort" = Option<String>, Query, description = "Comma-separated names of id, uri, account, createdAt, updatedAt, completed_at, overall_status, abort, cloud, operation; - before a name descends. Newest first when absent"),
        ("id" = Option<String>, Query, description = "Only the job of this id"),
        ("overall_status" = Option<String>, Query, description = "Only jobs that are in_progress, completed, error or canceled"),
        ("cloud" = Option<String>, Query, description = "There is only aws")),
    responses((status = 200, description = "The jobs; those with over 1,000 keys without keys and detailed_status", body = Listing<schema::Job>)))]
pub(crate) async fn list(State(app): State<App>, caller: Caller, params: Params) -> Result<Response, ApiError> {
    let page = params.page()?;
    let request = proto::ListJobsRequest {
        rights: Some(caller.rights()),
        tenant: caller.tenant.to_string(),
        skip: page.skip,
        limit: page.limit,
        sort: sort(params.first("sort").unwrap_or_default())?,
        id: params.first("id").unwrap_or_default().to_owned(),
        overall_status: status(params.first("overall_status"))?.into(),
        with_tasks: page.limit <= SHORT_PAGE,
    };
    let strange_cloud = params.first("cloud").is_some_and(|cloud| cloud != CLOUD);
    let strange_id = !request.id.is_empty() && super::job_id(&request.id).is_none();
    // Nothing is like that; still the scheduler judges whether the caller may list at all.
    let nothing = strange_cloud || strange_id;
    let asked = match nothing {
        true => proto::ListJobsRequest { id: String::new(), limit: 0, ..request.clone() },
        false => request.clone(),
    };
    let found = app
        .scheduler
        .read(|mut client| {
            let asked = asked.clone();
            async move { client.list_jobs(asked).await }
        })
        .await?;
    let found = if nothing { proto::ListJobsResponse::default() } else { found };
    let mut rows = Vec::with_capacity(found.jobs.len());
    for row in found.jobs {
        let id = row.job.as_ref().map(|job| job.id.clone()).unwrap_or_default();
        rows.push(Row { form: JobForm::of(row.job.as_ref())?, id, tasks: row.tasks });
    }
    let head = head(page, found.total);
    if request.with_tasks {
        let mut body = head;
        for (number, row) in rows.iter().enumerate() {
            if number > 0 {
                body.push(b',');
            }
            row.form.write_usual(&mut body, &row.tasks)?;
        }
        body.extend_from_slice(b"]}");
        return Ok(Success::Ok.of(super::json(body)));
    }
    let one =
        proto::GetJobRequest { rights: request.rights, tenant: request.tenant, id: String::new(), with_tasks: true };
    let long = LongPage { scheduler: app.scheduler.clone(), one, head, rows };
    Ok(Success::Ok.of(super::json(app.streams.body(long).await?)))
}

struct Row {
    id: String,
    form: JobForm,
    tasks: Vec<proto::Task>,
}

struct LongPage {
    scheduler: Scheduler,
    /// Asks for one job with its keys, but for the id.
    one: proto::GetJobRequest,
    head: Vec<u8>,
    rows: Vec<Row>,
}

impl AsyncWrite for LongPage {
    async fn write(self, out: &mut Out) -> Result<(), BrokenOff> {
        let Self { scheduler, one, head, rows } = self;
        out.buffer().extend_from_slice(&head);
        let fetched = stream::iter(rows).map(|row| fetch(&scheduler, &one, row)).buffered(AHEAD);
        let mut fetched = std::pin::pin!(fetched);
        let mut first = true;
        while let Some(row) = fetched.next().await {
            let (form, tasks) = row?;
            if !first {
                out.buffer().push(b',');
            }
            first = false;
            match tasks {
                Some(tasks) => form.write_usual(out.buffer(), &tasks)?,
                None => form.write_bare(out.buffer()),
            }
            out.flow().await?;
        }
        out.buffer().extend_from_slice(b"]}");
        Ok(())
    }
}

/// A job's keys; none for a large job, or one that was removed, or taken from the caller, in between.
async fn fetch(
    scheduler: &Scheduler,
    one: &proto::GetJobRequest,
    row: Row,
) -> Result<(JobForm, Option<Vec<proto::Task>>), ApiError> {
    if !row.form.is_small() {
        return Ok((row.form, None));
    }
    let request = proto::GetJobRequest { id: row.id, ..one.clone() };
    let found = scheduler
        .read(|mut client| {
            let request = request.clone();
            async move { client.get_job(request).await }
        })
        .await;
    match found {
        Ok(found) => Ok((row.form, Some(found.tasks))),
        Err(ApiError::NotFound(_) | ApiError::Forbidden(_)) => Ok((row.form, None)),
        Err(error) => Err(error),
    }
}

/// The envelope up to the first job.
fn head(page: Page, total: u64) -> Vec<u8> {
    let empty = Listing::<()>::new(page, total, Vec::new());
    let mut text = serde_json::to_vec(&empty).expect("numbers have a JSON form");
    text.truncate(text.len() - "]}".len());
    text
}

fn status(word: Option<&str>) -> Result<proto::OverallStatus, ApiError> {
    let Some(word) = word else { return Ok(proto::OverallStatus::Unspecified) };
    word.parse::<OverallStatus>().map(proto::OverallStatus::from).map_err(|_| {
        ApiError::BadRequest(format!("overall_status: must be in_progress, completed, error or canceled, not {word:?}"))
    })
}

/// `sort`: the API's names of top-level fields. What is the same for all jobs of a tenant orders nothing.
fn sort(text: &str) -> Result<Vec<proto::SortKey>, ApiError> {
    let mut keys = Vec::new();
    for (name, descending) in sort_names(text) {
        let field = match name {
            // The URI ends with the id and is else the same.
            "id" | "uri" => proto::JobField::Id,
            "createdAt" => proto::JobField::CreatedAt,
            "updatedAt" => proto::JobField::UpdatedAt,
            "completed_at" => proto::JobField::CompletedAt,
            "overall_status" => proto::JobField::OverallStatus,
            "operation" => proto::JobField::Operation,
            "abort" => proto::JobField::Abort,
            "account" | "cloud" => continue,
            other => return Err(no_sort(other)),
        };
        keys.push(proto::SortKey { field: field.into(), descending });
    }
    Ok(keys)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sort_takes_the_api_s_names() {
        let keys = sort("-createdAt,operation, cloud ,,-uri").unwrap();
        let of = |field: proto::JobField, descending| proto::SortKey { field: field.into(), descending };
        use proto::JobField::{CreatedAt, Id, Operation};
        assert_eq!(keys, [of(CreatedAt, true), of(Operation, false), of(Id, true)]);
        assert!(sort("").unwrap().is_empty());
        for bad in ["keys", "created_at", "-", "--id", "counts"] {
            assert!(matches!(sort(bad), Err(ApiError::BadRequest(text)) if text.starts_with("sort: ")), "{bad}");
        }
    }

    #[test]
    fn a_status_is_one_of_the_words() {
        assert_eq!(status(Some("error")).unwrap(), proto::OverallStatus::Error);
        assert!(status(Some("done")).is_err());
    }

    #[test]
    fn the_envelope_closes_to_valid_json() {
        let mut text = head(Page { skip: 1, limit: 2 }, 3);
        text.extend_from_slice(b"]}");
        assert_eq!(String::from_utf8(text).unwrap(), r#"{"skip":1,"limit":2,"total":3,"resources":[]}"#);
    }
}
