//! A policy as callers write it. Whether KMS would take it is decided where it is kept.

use serde_json::{Value, value::RawValue};

use crate::error::ApiError;

/// The longest policy, in bytes: KMS's own limit (PutKeyPolicy, 32 KB).
const LONGEST: usize = 32 << 10;

/// The policy's text, as given: KMS counts its bytes. An object, or a string that holds one.
pub(super) fn text(given: &RawValue) -> Result<String, ApiError> {
    let bad = |why: &str| ApiError::BadRequest(format!("policy: {why}"));
    let raw = given.get();
    let text = if raw.starts_with('"') {
        serde_json::from_str::<String>(raw).map_err(|error| bad(&error.to_string()))?
    } else {
        raw.to_owned()
    };
    match serde_json::from_str::<Value>(&text) {
        Ok(Value::Object(_)) if text.len() > LONGEST => Err(bad("is longer than 32 KB")),
        Ok(Value::Object(_)) if text.contains("\\u0000") => Err(bad("has a NUL character")),
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

    fn of(json: &str) -> Result<String, ApiError> {
        text(&RawValue::from_string(json.to_owned()).unwrap())
    }

    #[test]
    fn a_policy_is_an_object_or_a_string_that_holds_one() {
        assert_eq!(of(r#"{"Version": "2012-10-17"}"#).unwrap(), r#"{"Version": "2012-10-17"}"#);
        assert_eq!(of(r#""{\"b\":1,\"a\":2}""#).unwrap(), r#"{"b":1,"a":2}"#);
        for bad in ["7", "null", "[]", "\"x\"", "\"[]\"", "\"\"", r#""\"{}\"""#, r#"{"a":"\u0000"}"#] {
            assert!(matches!(of(bad), Err(ApiError::BadRequest(text)) if text.starts_with("policy: ")), "{bad}");
        }
        assert!(of(&format!(r#"{{"a":"{}"}}"#, "x".repeat(LONGEST))).is_err());
    }
}
