//! `GET /api/v1/cckm/aws/templates`: the tenant's policy templates.

use axum::{
    Json,
    extract::State,
    response::{IntoResponse, Response},
};
use keyfleet_proto::jobs::v1 as proto;

use super::TemplateForm;
use crate::{
    app::App,
    auth::Caller,
    error::ApiError,
    listing::Listing,
    page::{Params, no_sort, sort_names},
};

/// The policy templates of the caller's tenant.
///
/// A parameter that does not exist is ignored.
#[utoipa::path(get, path = "/api/v1/cckm/aws/templates", operation_id = "list_templates", tag = "Policy templates",
    params(("skip" = Option<u32>, Query, description = "Templates to leave out; 0"),
        ("limit" = Option<i32>, Query, description = "Templates to give, 0 to 2,000, or -1 for 2,000; 10"),
        ("sort" = Option<String>, Query, description = "name, createdAt or updatedAt; - before it descends. By name when absent"),
        ("id" = Option<String>, Query, description = "Only the template of this id"),
        ("name" = Option<String>, Query, description = "Only the template of this name"),
        ("kms_name" = Option<String>, Query, description = "Only templates for a container of this name; may be repeated"),
        ("account_id" = Option<String>, Query, description = "Only templates for this AWS account"),
        ("is_verified" = Option<bool>, Query, description = "Only templates that some key has, or that none has"),
        ("policy_type" = Option<String>, Query, description = "There is only template"),
        ("cloud" = Option<String>, Query, description = "There is only aws")),
    responses((status = 200, description = "The templates", body = Listing<TemplateForm>)))]
pub(crate) async fn list(State(app): State<App>, caller: Caller, params: Params) -> Result<Response, ApiError> {
    let page = params.page()?;
    params.no_nul()?;
    let text = |name| params.first(name).unwrap_or_default().to_owned();
    let request = proto::ListTemplatesRequest {
        rights: Some(caller.rights()),
        tenant: caller.tenant.to_string(),
        skip: page.skip,
        limit: page.limit,
        id: text("id"),
        name: text("name"),
        account_id: text("account_id"),
        kms_names: params.all("kms_name"),
        verified: params.choice("is_verified")?,
        sort: sort(params.first("sort").unwrap_or_default())?,
    };
    let other = |name, only| {
        let words = params.all(name);
        !words.is_empty() && words.iter().all(|word| word != only)
    };
    let strange = !request.id.is_empty() && request.id.parse::<uuid::Uuid>().is_err();
    // Nothing is like that; still the scheduler judges whether the caller may list at all.
    let nothing = strange || other("policy_type", "template") || other("cloud", "aws");
    let request = match nothing {
        true => proto::ListTemplatesRequest { id: String::new(), limit: 0, ..request },
        false => request,
    };
    let found = app
        .scheduler
        .read_by(
            || app.scheduler.templates(),
            |mut client| {
                let request = request.clone();
                async move { client.list_templates(request).await }
            },
        )
        .await?;
    if nothing {
        return Ok(Json(Listing::<TemplateForm>::new(page, 0, Vec::new())).into_response());
    }
    let rows = found.templates.into_iter().map(TemplateForm::of).collect::<Result<_, _>>()?;
    Ok(Json(Listing::new(page, found.total, rows)).into_response())
}

/// `sort`: one of the API's names, of a comma list the first.
fn sort(text: &str) -> Result<String, ApiError> {
    let Some((name, descends)) = sort_names(text).next() else { return Ok(String::new()) };
    let column = match name {
        "name" => "name",
        "createdAt" => "created_at",
        "updatedAt" => "updated_at",
        other => return Err(no_sort(other)),
    };
    Ok(format!("{}{column}", if descends { "-" } else { "" }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sort_takes_the_api_s_names() {
        for (given, asked) in
            [("", ""), ("name", "name"), ("-createdAt,name", "-created_at"), ("-updatedAt", "-updated_at")]
        {
            assert_eq!(sort(given).unwrap(), asked);
        }
        for bad in ["policy", "-", "created_at"] {
            assert!(sort(bad).is_err(), "{bad}");
        }
    }
}
