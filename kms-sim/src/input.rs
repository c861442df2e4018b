//! The parameters of a request.
//!
//! All operations share one struct: their parameters have the same names and types wherever they appear (API model
//! `kms/2014-11-01`), and reading them is then one pass over the body without a tree of JSON values. Parameters that
//! are not listed are ignored, as AWS does.

use serde::Deserialize;

use crate::error::{ErrorCode, KmsError};

/// What a request says.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Input {
    pub(crate) key_id: Option<String>,
    pub(crate) target_key_id: Option<String>,
    pub(crate) alias_name: Option<String>,
    pub(crate) pending_window_in_days: Option<i64>,
    pub(crate) policy: Option<String>,
    pub(crate) policy_name: Option<String>,
    pub(crate) bypass_policy_lockout_safety_check: Option<bool>,
    pub(crate) limit: Option<i64>,
    pub(crate) marker: Option<String>,
    pub(crate) description: Option<String>,
    pub(crate) tags: Option<Vec<Tag>>,
    pub(crate) tag_keys: Option<Vec<String>>,
    pub(crate) key_spec: Option<String>,
    pub(crate) customer_master_key_spec: Option<String>,
    pub(crate) key_usage: Option<String>,
    pub(crate) origin: Option<String>,
    pub(crate) multi_region: Option<bool>,
}

/// One tag of a key.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Tag {
    pub(crate) tag_key: String,
    pub(crate) tag_value: String,
}

impl Input {
    pub(crate) fn parse(body: &[u8]) -> Result<Self, KmsError> {
        if body.is_empty() {
            return Ok(Self::default());
        }
        serde_json::from_slice(body).map_err(|error| KmsError::new(ErrorCode::Serialization, error.to_string()))
    }

    /// The name of the key, which the operation cannot do without.
    pub(crate) fn key_id(&self) -> Result<&str, KmsError> {
        self.key_id.as_deref().ok_or_else(|| KmsError::missing("keyId"))
    }

    /// The key as the log tells it: the bare id where one is named by ARN.
    pub(crate) fn logged_key(&self) -> Option<&str> {
        let text = self.key_id.as_deref().or(self.target_key_id.as_deref())?;
        Some(match text.split_once(":key/") {
            Some((head, id)) if head.starts_with("arn:") => id,
            Some(_) | None => text,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(json: &str) -> Option<String> {
        Input::parse(json.as_bytes()).unwrap().logged_key().map(str::to_owned)
    }

    #[test]
    fn the_logged_key_is_the_bare_id() {
        assert_eq!(key(r#"{"KeyId": "arn:aws:kms:us-east-1:111122223333:key/ab"}"#).as_deref(), Some("ab"));
        assert_eq!(key(r#"{"KeyId": "ab", "Unknown": [1]}"#).as_deref(), Some("ab"));
        assert_eq!(key(r#"{"KeyId": "alias/ab"}"#).as_deref(), Some("alias/ab"));
        assert_eq!(key(r#"{"AliasName": "alias/x", "TargetKeyId": "ab"}"#).as_deref(), Some("ab"));
        assert_eq!(key(""), None);
    }

    #[test]
    fn wrong_types_are_a_serialization_error() {
        for json in [r#"{"KeyId": 1}"#, "{", r#"{"Limit": "10"}"#] {
            assert_eq!(Input::parse(json.as_bytes()).unwrap_err().code, ErrorCode::Serialization, "{json}");
        }
    }
}
