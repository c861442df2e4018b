//! `POST /api/v1/cckm/aws/kms/{id}/update-acls`: permit users and groups what they may do with a container's keys.
//!
//! Each entry adds to what its user or group may do already, or takes away from it. Which actions there are, the
//! scheduler knows; clients of CCKM send many that have no meaning here, and these are kept as they were sent.

use axum::{
    Json,
    extract::State,
    response::{IntoResponse, Response},
};
use keyfleet_proto::estate::v1 as proto;
use serde::Deserialize;

use super::{ContainerForm, ContainerPath};
use crate::{app::App, auth::Caller, content::JsonBody, error::ApiError};

/// The most entries of one call.
const MOST_CHANGES: usize = 1_000;
/// The most actions of one entry: CCKM has some forty.
const MOST_ACTIONS: usize = 100;
/// The longest name of a user or group, in characters.
const LONGEST_NAME: usize = 512;
/// The longest action, in characters.
const LONGEST_ACTION: usize = 64;

/// What is to change
#[derive(Deserialize, utoipa::ToSchema)]
pub(crate) struct AclChanges {
    /// 1 to 1,000 changes, made one after the other
    #[schema(value_type = Vec<AclChange>, required, min_items = 1, max_items = 1000)]
    acls: Option<Vec<AclChange>>,
}

/// What one user or group may do, or may not do any more
#[derive(Deserialize, utoipa::ToSchema)]
pub(crate) struct AclChange {
    /// A user: local|<uuid>, as in tokens, with or without user:: before it, or the bare UUID. Either this or a group
    #[schema(example = "local|5b0d1a52-0c6f-4b39-9e0c-6a8e6c2e8a11")]
    user_id: Option<String>,
    /// A group, as in tokens
    group: Option<String>,
    /// true: these actions are permitted from now on; false: not any more
    #[schema(value_type = bool, required)]
    permit: Option<bool>,
    /// Of view, keybulkoperation, keysynchronize, keysynchronizecancel, policytemplatecreate, policytemplateupdate, policytemplatedelete; others are kept and permit nothing
    #[schema(value_type = Vec<String>, required, min_items = 1, max_items = 100, example = json!(["keybulkoperation"]))]
    actions: Option<Vec<String>>,
}

/// Permit users and groups what they may do with a container.
///
/// What is not named stays permitted as it was. It takes effect with the next call of whom it is about, also on a token that was given before. For admins only.
#[utoipa::path(post, path = "/api/v1/cckm/aws/kms/{id}/update-acls", operation_id = "update_container_acls", tag = "Containers", request_body = AclChanges,
    params(("id" = String, Path, description = "Its id or name")),
    responses((status = 200, description = "The container", body = ContainerForm)))]
pub(crate) async fn update_acls(
    State(app): State<App>,
    caller: Caller,
    ContainerPath(container): ContainerPath,
    JsonBody(changes): JsonBody<AclChanges>,
) -> Result<Response, ApiError> {
    let request = proto::UpdateAclsRequest {
        rights: Some(caller.rights()),
        tenant: caller.tenant.to_string(),
        container,
        changes: read(changes)?,
    };
    let mut client = app.scheduler.containers().await?;
    let changed = app.scheduler.once(client.update_acls(request)).await?;
    Ok(Json(ContainerForm::of(changed)).into_response())
}

fn read(changes: AclChanges) -> Result<Vec<proto::update_acls_request::Change>, ApiError> {
    let bad = |why: &str| Err(ApiError::BadRequest(format!("acls: {why}")));
    match changes.acls {
        None => bad("is missing"),
        Some(changes) if changes.is_empty() => bad("is empty"),
        Some(changes) if changes.len() > MOST_CHANGES => bad("are more than 1000"),
        Some(changes) => changes.into_iter().enumerate().map(|(place, change)| read_one(place, change)).collect(),
    }
}

fn read_one(place: usize, change: AclChange) -> Result<proto::update_acls_request::Change, ApiError> {
    let bad = |field: &str, why: &str| Err(ApiError::BadRequest(format!("acls[{place}].{field}: {why}")));
    let some = |name: Option<String>| name.filter(|name| !name.is_empty());
    let (user, group) = (some(change.user_id), some(change.group));
    let (field, name) = match (&user, &group) {
        (Some(user), None) => ("user_id", user),
        (None, Some(group)) => ("group", group),
        (None, None) => return bad("user_id", "is missing, and group too: one of the two is needed"),
        (Some(_), Some(_)) => return bad("user_id", "stands beside group: only one of the two may"),
    };
    if name.chars().count() > LONGEST_NAME || name.contains(char::is_control) {
        return bad(field, "must be at most 512 characters without control characters");
    }
    let Some(permit) = change.permit else { return bad("permit", "is missing: true or false is needed") };
    let actions = change.actions.unwrap_or_default();
    if actions.is_empty() {
        return bad("actions", "is missing or empty");
    }
    if actions.len() > MOST_ACTIONS {
        return bad("actions", "are more than 100");
    }
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
    let is_action = |text: &String| (1..=LONGEST_ACTION).contains(&text.len()) && text.bytes().all(fits);
    if let Some(wrong) = actions.iter().position(|text| !is_action(text)) {
        return bad(&format!("actions[{wrong}]"), "must be 1 to 64 letters, digits, underscores and dashes");
    }
    Ok(proto::update_acls_request::Change {
        user_id: user.unwrap_or_default(),
        group: group.unwrap_or_default(),
        permit,
        actions,
    })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn of(json: Value) -> Result<Vec<proto::update_acls_request::Change>, ApiError> {
        read(serde_json::from_value(json).unwrap())
    }

    #[test]
    fn entries_are_read_as_clients_write_them() {
        let read = of(json!({"acls": [
            {"user_id": "local|u", "group": null, "permit": true, "actions": ["keybulkoperation", "viewnative"]},
            {"user_id": "", "group": "ops team", "permit": false, "actions": ["view"], "other": 1}]}))
        .unwrap();
        assert_eq!((read[0].user_id.as_str(), read[0].group.as_str(), read[0].permit), ("local|u", "", true));
        assert_eq!(read[0].actions, ["keybulkoperation", "viewnative"]);
        assert_eq!((read[1].user_id.as_str(), read[1].group.as_str(), read[1].permit), ("", "ops team", false));
    }

    #[test]
    fn what_is_wrong_is_named_with_its_place() {
        let good = json!({"group": "g", "permit": true, "actions": ["view"]});
        let with = |changes: Value| {
            let mut entry = good.clone();
            for (name, value) in changes.as_object().unwrap() {
                entry[name] = value.clone();
            }
            json!({"acls": [good, entry]})
        };
        for (body, field) in [
            (json!({}), "acls: "),
            (json!({"acls": []}), "acls: "),
            (json!({"acls": vec![good.clone(); 1_001]}), "acls: "),
            (with(json!({"group": null})), "acls[1].user_id: "),
            (with(json!({"user_id": "u"})), "acls[1].user_id: "),
            (with(json!({"group": "a\u{0}"})), "acls[1].group: "),
            (with(json!({"group": "", "user_id": "u".repeat(513)})), "acls[1].user_id: "),
            (with(json!({"permit": null})), "acls[1].permit: "),
            (with(json!({"actions": null})), "acls[1].actions: "),
            (with(json!({"actions": []})), "acls[1].actions: "),
            (with(json!({"actions": vec!["view"; 101]})), "acls[1].actions: "),
            (with(json!({"actions": ["view", "a b"]})), "acls[1].actions[1]: "),
            (with(json!({"actions": ["a".repeat(65)]})), "acls[1].actions[0]: "),
        ] {
            let Err(ApiError::BadRequest(message)) = of(body) else { panic!("{field} was taken") };
            assert!(message.starts_with(field), "{message}");
        }
    }
}
