//! Tags as callers write them: an object, AWS's list of pairs, or `key=value`.

use std::collections::HashMap;

use keyfleet_proto::estate::v1 as proto;
use serde_json::Value;

use crate::error::ApiError;

/// Reads one value of a `tags` field or parameter.
pub(crate) fn tags(text: &str) -> Result<proto::Tags, ApiError> {
    let read = match serde_json::from_str::<Value>(text) {
        Ok(value @ (Value::Object(_) | Value::Array(_))) => of_json(&value),
        Ok(Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_)) | Err(_) => {
            text.split_once('=').map(|(key, value)| HashMap::from([(key.to_owned(), value.to_owned())]))
        }
    };
    read.filter(|tags| !tags.is_empty() && tags.iter().all(|(key, value)| !key.contains('\0') && !value.contains('\0')))
        .map(|tags| proto::Tags { tags })
        .ok_or_else(|| {
            ApiError::BadRequest(
                r#"tags: must be an object like {"environment": "production"}, or key=value"#.to_owned(),
            )
        })
}

/// An object of strings, or AWS's list of `TagKey` and `TagValue`.
pub(crate) fn of_json(value: &Value) -> Option<HashMap<String, String>> {
    match value {
        Value::Object(pairs) => {
            pairs.iter().map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned()))).collect()
        }
        Value::Array(pairs) => pairs
            .iter()
            .map(|pair| Some((pair.get("TagKey")?.as_str()?.to_owned(), pair.get("TagValue")?.as_str()?.to_owned())))
            .collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_are_read_in_each_form() {
        for text in [r#"{"a": "b"}"#, r#"[{"TagKey": "a", "TagValue": "b"}]"#, "a=b"] {
            assert_eq!(tags(text).unwrap().tags, HashMap::from([("a".to_owned(), "b".to_owned())]), "{text}");
        }
        for bad in ["", "a", "{}", "[]", "7", r#"{"a": 7}"#, r#"[{"TagKey": "a"}]"#] {
            assert!(matches!(tags(bad), Err(ApiError::BadRequest(text)) if text.starts_with("tags: ")), "{bad}");
        }
    }
}
