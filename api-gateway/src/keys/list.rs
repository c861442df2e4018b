//! `GET /api/v1/cckm/aws/keys`: the tenant's registered keys.

use axum::{
    Json,
    extract::State,
    response::{IntoResponse, Response},
};
use keyfleet_proto::estate::v1 as proto;

use super::{KeyForm, alias, tags};
use crate::{
    app::App,
    auth::Caller,
    error::ApiError,
    listing::Listing,
    page::{Params, no_sort, sort_names},
};

/// The registered keys of the caller's tenant.
///
/// Filters may be repeated: a key matches any of the values. A parameter that does not exist is ignored.
#[utoipa::path(get, path = "/api/v1/cckm/aws/keys", operation_id = "list_keys", tag = "Keys",
    params(("skip" = Option<u32>, Query, description = "Keys to leave out; 0"),
        ("limit" = Option<i32>, Query, description = "Keys to give, 0 to 2,000, or -1 for 2,000; 10"),
        ("sort" = Option<String>, Query, description = "Comma-separated names of id, createdAt, updatedAt, key_id, arn, region, keystate, alias, enabled, CreationDate, origin; - before a name descends. Newest first when absent"),
        ("id" = Option<String>, Query, description = "The resource's id"),
        ("keyid" = Option<String>, Query, description = "The key's id in AWS"),
        ("arn" = Option<String>, Query, description = "Its ARN"),
        ("alias" = Option<String>, Query, description = "One of its aliases, with or without alias/"),
        ("kms" = Option<String>, Query, description = "Its container's name"),
        ("kms_id" = Option<String>, Query, description = "Its container's id"),
        ("region" = Option<String>, Query, description = "Its Region"),
        ("keystate" = Option<String>, Query, description = "Its state in AWS's word"),
        ("enabled" = Option<bool>, Query, description = "Whether it is enabled"),
        ("gone" = Option<bool>, Query, description = "Whether the last whole synchronization did not find it"),
        ("origin" = Option<String>, Query, description = "Where its material is from, in AWS's word"),
        ("cloud_name" = Option<String>, Query, description = "Its AWS partition: aws, aws-cn, aws-us-gov"),
        ("keyusage" = Option<String>, Query, description = "What it is for, in AWS's word"),
        ("keymanager" = Option<String>, Query, description = "CUSTOMER or AWS"),
        ("CustomerMasterKeySpec" = Option<String>, Query, description = "Its spec, in AWS's word"),
        ("multi_region" = Option<bool>, Query, description = "Whether it is a multi-Region key"),
        ("multi_region_key_type" = Option<String>, Query, description = "PRIMARY or REPLICA"),
        ("custom_key_store_id" = Option<String>, Query, description = "The id of its custom key store in AWS"),
        ("blocked" = Option<bool>, Query, description = "No key is"),
        ("rotation_job_enabled" = Option<bool>, Query, description = "No key has one"),
        ("cckm_policy_template_id" = Option<String>, Query, description = "The policy template that a job put on it last"),
        ("tags" = Option<String>, Query, description = "A JSON object; all its pairs are tags of the key")),
    responses((status = 200, description = "The keys", body = Listing<KeyForm>)))]
pub(crate) async fn list(State(app): State<App>, caller: Caller, params: Params) -> Result<Response, ApiError> {
    let page = params.page()?;
    let mut kms = params.all("kms");
    kms.extend(params.all("kms_id"));
    let filter = proto::KeyFilter {
        ids: params.all("id"),
        key_ids: params.all("keyid"),
        arns: params.all("arn"),
        aliases: params.all("alias").iter().map(|name| alias(name)).collect(),
        kms,
        regions: params.all("region"),
        states: params.all("keystate"),
        enabled: params.choice("enabled")?,
        gone: params.choice("gone")?,
        tags: params.all("tags").iter().map(|text| tags(text)).collect::<Result<_, _>>()?,
        policy_template_ids: params.all("cckm_policy_template_id"),
        origins: params.all("origin"),
        described: described(&params)?,
        partitions: params.all("cloud_name"),
        ..proto::KeyFilter::default()
    };
    params.no_nul()?;
    let request = proto::ListKeysRequest {
        rights: Some(caller.rights()),
        tenant: caller.tenant.to_string(),
        filter: Some(filter),
        skip: page.skip,
        limit: page.limit,
        sort: sort(params.first("sort").unwrap_or_default())?,
    };
    let found = app
        .scheduler
        .read_by(
            || app.scheduler.keys(),
            |mut client| {
                let request = request.clone();
                async move { client.list_keys(request).await }
            },
        )
        .await?;
    let rows = found.keys.into_iter().map(KeyForm::of).collect::<Result<_, _>>()?;
    Ok(Json(Listing::new(page, found.total, rows)).into_response())
}

/// The filters that ask for what KMS describes, and those of CCKM for what no key has here. None may be ignored: what
/// is found is often what a bulk job is made of.
const DESCRIBED: [(&str, &str); 9] = [
    ("keyusage", "KeyUsage"),
    ("keymanager", "KeyManager"),
    ("CustomerMasterKeySpec", "CustomerMasterKeySpec"),
    ("multi_region_key_type", "MultiRegionConfiguration.MultiRegionKeyType"),
    ("custom_key_store_id", "CustomKeyStoreId"),
    ("custom_key_store_name", "none"),
    ("key_material_origin", "none"),
    ("key_source", "none"),
    ("job_config_id", "none"),
];

fn described(params: &Params) -> Result<Vec<proto::Described>, ApiError> {
    let multi_region = params.flags("multi_region")?.iter().map(bool::to_string).collect();
    let mut described: Vec<_> = DESCRIBED
        .iter()
        .map(|(name, field)| proto::Described { field: (*field).to_owned(), values: params.all(name) })
        .chain([proto::Described { field: "MultiRegion".to_owned(), values: multi_region }])
        .filter(|of| !of.values.is_empty())
        .collect();
    for never in ["blocked", "rotation_job_enabled"] {
        if params.choice(never)? == Some(true) {
            described.push(proto::Described { field: "none".to_owned(), values: vec!["true".to_owned()] });
        }
    }
    Ok(described)
}

/// `sort`: the API's names of fields.
fn sort(text: &str) -> Result<Vec<proto::KeySort>, ApiError> {
    let mut keys = Vec::new();
    for (name, descending) in sort_names(text) {
        let field = match name {
            "id" | "uri" => proto::KeyField::Id,
            "createdAt" => proto::KeyField::CreatedAt,
            "updatedAt" => proto::KeyField::UpdatedAt,
            "keyid" | "key_id" => proto::KeyField::KeyId,
            "arn" => proto::KeyField::Arn,
            "region" => proto::KeyField::Region,
            "keystate" => proto::KeyField::State,
            "alias" => proto::KeyField::Alias,
            "enabled" => proto::KeyField::Enabled,
            "CreationDate" => proto::KeyField::CreationDate,
            "origin" => proto::KeyField::Origin,
            // The same for all keys, or nearly.
            "account" | "cloud_name" => continue,
            other => return Err(no_sort(other)),
        };
        keys.push(proto::KeySort { field: field.into(), descending });
    }
    Ok(keys)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sort_takes_the_api_s_names() {
        let fields: Vec<_> = sort("-updatedAt, region,cloud_name").unwrap().iter().map(proto::KeySort::field).collect();
        assert_eq!(fields, [proto::KeyField::UpdatedAt, proto::KeyField::Region]);
        assert!(sort("-updatedAt").unwrap()[0].descending);
        for bad in ["tags", "-", "updated_at"] {
            assert!(matches!(sort(bad), Err(ApiError::BadRequest(text)) if text.starts_with("sort: ")), "{bad}");
        }
    }
}
