//! `POST /api/v1/cckm/aws/templates`: keep a key policy under a name.

use axum::{Json, extract::State, response::Response};
use keyfleet_proto::jobs::v1 as proto;
use serde::Deserialize;
use serde_json::{Value, value::RawValue};

use super::TemplateForm;
use crate::{
    app::App,
    auth::BulkCaller,
    content::JsonBody,
    error::{ApiError, Success},
};

/// The longest name, in characters.
const LONGEST_NAME: usize = 255;
/// The longest policy, in bytes: KMS's own limit (PutKeyPolicy, 32 KB).
const LONGEST_POLICY: usize = 32 << 10;

/// What a client sends
#[derive(Deserialize, utoipa::ToSchema)]
pub(crate) struct NewTemplate {
    /// 1 to 255 characters
    #[schema(value_type = String)]
    name: Option<String>,
    /// The key policy: an object, or a string that holds one; at most 32 KB
    #[schema(value_type = Object)]
    policy: Option<Box<RawValue>>,
}

/// Create a policy template.
#[utoipa::path(post, path = "/api/v1/cckm/aws/templates", operation_id = "create_template", tag = "Policy templates", request_body = NewTemplate,
    responses((status = 201, description = "The template", body = TemplateForm)))]
pub(crate) async fn create(
    State(app): State<App>,
    BulkCaller(caller): BulkCaller,
    JsonBody(new): JsonBody<NewTemplate>,
) -> Result<Response, ApiError> {
    let request = proto::CreateTemplateRequest {
        tenant: caller.tenant.to_string(),
        name: name(new.name)?,
        policy: policy(new.policy.as_deref())?,
        created_by: caller.subject,
    };
    let mut client = app.scheduler.templates().await?;
    let template = app.scheduler.once(client.create_template(request)).await?;
    Ok(Success::Created.of(Json(TemplateForm::of(template)?)))
}

fn name(name: Option<String>) -> Result<String, ApiError> {
    let bad = |why: &str| Err(ApiError::BadRequest(format!("name: {why}")));
    match name {
        None => bad("is missing"),
        Some(name) if name.trim().is_empty() => bad("is empty"),
        Some(name) if name.chars().count() > LONGEST_NAME => bad("is longer than 255 characters"),
        Some(name) if name.contains('\0') => bad("has a NUL character"),
        Some(name) => Ok(name),
    }
}

/// The policy's text, as given: KMS counts its bytes.
fn policy(given: Option<&RawValue>) -> Result<String, ApiError> {
    let bad = |why: &str| ApiError::BadRequest(format!("policy: {why}"));
    let raw = given.ok_or_else(|| bad("is missing"))?.get();
    let text = if raw.starts_with('"') {
        serde_json::from_str::<String>(raw).map_err(|error| bad(&error.to_string()))?
    } else {
        raw.to_owned()
    };
    match serde_json::from_str::<Value>(&text) {
        Ok(Value::Object(_)) if text.len() > LONGEST_POLICY => Err(bad("is longer than 32 KB")),
        Ok(Value::Object(_)) => Ok(text),
        Ok(Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_)) => {
            Err(bad("must be a JSON object, or a string that holds one"))
        }
        Err(error) => Err(bad(&format!("the string holds no JSON object: {error}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Result<String, ApiError> {
        let raw = RawValue::from_string(text.to_owned()).unwrap();
        policy(Some(&raw))
    }

    #[test]
    fn a_policy_is_an_object_or_a_string_that_holds_one() {
        assert_eq!(of(r#"{"Version": "2012-10-17"}"#).unwrap(), r#"{"Version": "2012-10-17"}"#);
        assert_eq!(of(r#""{\"b\":1,\"a\":2}""#).unwrap(), r#"{"b":1,"a":2}"#);
        for bad in ["7", "null", "[]", "\"x\"", "\"[]\"", "\"\"", r#""\"{}\"""#] {
            assert!(matches!(of(bad), Err(ApiError::BadRequest(text)) if text.starts_with("policy: ")), "{bad}");
        }
        assert!(of(&format!(r#"{{"a":"{}"}}"#, "x".repeat(LONGEST_POLICY))).is_err());
        assert!(policy(None).is_err());
    }

    #[test]
    fn a_name_is_there_and_not_too_long() {
        assert_eq!(name(Some("ä".repeat(255))).unwrap().chars().count(), 255);
        for bad in [None, Some(String::new()), Some(" ".to_owned()), Some("x".repeat(256)), Some("a\0".to_owned())] {
            assert!(name(bad).is_err());
        }
    }
}
