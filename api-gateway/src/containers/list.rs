//! `GET /api/v1/cckm/aws/kms`: the containers of the tenant that the caller may see.

use axum::{
    Json,
    extract::State,
    response::{IntoResponse, Response},
};
use keyfleet_proto::estate::v1 as proto;

use super::ContainerForm;
use crate::{
    app::App,
    auth::Caller,
    error::ApiError,
    listing::Listing,
    page::{Page, Params, no_sort, sort_names},
};

/// The most containers the scheduler gives at once.
const AT_ONCE: u32 = 2_000;

/// The containers of the caller's tenant that the caller may see: all, or those with any permission.
///
/// A parameter that does not exist is ignored.
#[utoipa::path(get, path = "/api/v1/cckm/aws/kms", operation_id = "list_containers", tag = "Containers",
    params(("skip" = Option<u32>, Query, description = "Containers to leave out; 0"),
        ("limit" = Option<i32>, Query, description = "Containers to give, 0 to 2,000, or -1 for 2,000; 10"),
        ("sort" = Option<String>, Query, description = "name, account_id, createdAt or updatedAt; - before it descends. Newest first when absent"),
        ("id" = Option<String>, Query, description = "Only the container of this id"),
        ("name" = Option<String>, Query, description = "Only the container of this name"),
        ("account_id" = Option<String>, Query, description = "Only containers of this AWS account"),
        ("connection" = Option<String>, Query, description = "Only containers that are reached by this connection"),
        ("status" = Option<String>, Query, description = "Only those that are active, or archived"),
        ("cloud_name" = Option<String>, Query, description = "Only those of this AWS partition: aws, aws-cn, aws-us-gov; may be repeated")),
    responses((status = 200, description = "The containers", body = Listing<ContainerForm>)))]
pub(crate) async fn list(State(app): State<App>, caller: Caller, params: Params) -> Result<Response, ApiError> {
    let page = params.page()?;
    params.no_nul()?;
    let text = |name| params.first(name).unwrap_or_default().to_owned();
    let request = proto::ListContainersRequest {
        rights: Some(caller.rights()),
        tenant: caller.tenant.to_string(),
        skip: page.skip,
        limit: page.limit,
        id: text("id"),
        name: text("name"),
        account_id: text("account_id"),
        archived: archived(params.first("status"))?,
        connection: text("connection"),
        sort: sort(params.first("sort").unwrap_or_default())?,
    };
    let clouds = params.all("cloud_name");
    if !request.id.is_empty() && request.id.parse::<uuid::Uuid>().is_err() {
        return Ok(Json(Listing::<ContainerForm>::new(page, 0, Vec::new())).into_response());
    }
    let listing = if clouds.is_empty() {
        let found = ask(&app, &request).await?;
        let rows = found.containers.into_iter().map(ContainerForm::of).collect();
        Listing::new(page, found.total, rows)
    } else {
        of_clouds(&app, request, page, &clouds).await?
    };
    Ok(Json(listing).into_response())
}

async fn ask(app: &App, request: &proto::ListContainersRequest) -> Result<proto::ListContainersResponse, ApiError> {
    app.scheduler
        .read_by(
            || app.scheduler.containers(),
            |mut client| {
                let request = request.clone();
                async move { client.list_containers(request).await }
            },
        )
        .await
}

/// The page of those that are of these partitions. The scheduler does not sort by partition, so all are looked
/// through; a tenant has as many containers as accounts.
async fn of_clouds(
    app: &App,
    mut request: proto::ListContainersRequest,
    page: Page,
    clouds: &[String],
) -> Result<Listing<ContainerForm>, ApiError> {
    let mut all: Vec<ContainerForm> = Vec::new();
    (request.skip, request.limit) = (0, AT_ONCE);
    loop {
        let found = ask(app, &request).await?;
        let count = u32::try_from(found.containers.len()).unwrap_or(AT_ONCE);
        let fits = |form: &ContainerForm| clouds.iter().any(|cloud| cloud == form.cloud_name);
        all.extend(found.containers.into_iter().map(ContainerForm::of).filter(fits));
        request.skip = request.skip.saturating_add(count);
        if count < AT_ONCE {
            break;
        }
    }
    let total = all.len() as u64;
    let rows = all.into_iter().skip(page.skip as usize).take(page.limit as usize).collect();
    Ok(Listing::new(page, total, rows))
}

fn archived(status: Option<&str>) -> Result<Option<bool>, ApiError> {
    match status {
        None => Ok(None),
        Some("active") => Ok(Some(false)),
        Some("archived") => Ok(Some(true)),
        Some(other) => Err(ApiError::BadRequest(format!("status: must be active or archived, not {other:?}"))),
    }
}

/// `sort`: one of the API's names, of a comma list the first.
fn sort(text: &str) -> Result<String, ApiError> {
    match sort_names(text).next() {
        None => Ok(String::new()),
        Some((name @ ("name" | "account_id" | "createdAt" | "updatedAt"), descends)) => {
            Ok(format!("{}{name}", if descends { "-" } else { "" }))
        }
        Some((other, _)) => Err(no_sort(other)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sort_takes_the_api_s_names() {
        for (given, asked) in
            [("", ""), ("name", "name"), ("-createdAt,name", "-createdAt"), ("account_id", "account_id")]
        {
            assert_eq!(sort(given).unwrap(), asked);
        }
        for bad in ["regions", "-", "created_at"] {
            assert!(sort(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_status_is_active_or_archived() {
        assert_eq!(archived(None).unwrap(), None);
        assert_eq!(archived(Some("active")).unwrap(), Some(false));
        assert_eq!(archived(Some("archived")).unwrap(), Some(true));
        assert!(matches!(archived(Some("gone")), Err(ApiError::BadRequest(text)) if text.starts_with("status: ")));
    }
}
