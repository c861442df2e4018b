//! How callers name keys, and where a key lives.

use std::sync::Arc;

/// What a caller's text names. Texts are never refused for their form: what is no ARN of a key is an id, and KMS
/// answers whether it knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyName<'a> {
    /// An id in the default container.
    Id(&'a str),
    /// `arn:<partition>:kms:<region>:<account>:key/<id>`
    Arn {
        /// The AWS account, 12 digits.
        account: &'a str,
        /// The Region.
        region: &'a str,
        /// The id within it.
        id: &'a str,
    },
    /// An ARN or alias that can name no key of a bulk job.
    Nothing,
}

impl<'a> KeyName<'a> {
    /// Reads a caller's text.
    pub fn parse(text: &'a str) -> Self {
        if text.starts_with("alias/") {
            return Self::Nothing;
        }
        let Some(rest) = text.strip_prefix("arn:") else {
            return Self::Id(text);
        };
        let parts: Vec<&str> = rest.splitn(5, ':').collect();
        let &[partition, "kms", region, account, resource] = parts.as_slice() else {
            return Self::Nothing;
        };
        let Some(id) = resource.strip_prefix("key/") else {
            return Self::Nothing;
        };
        let known_partition = matches!(partition, "aws" | "aws-cn" | "aws-us-gov");
        if known_partition && is_region(region) && is_account(account) && !id.is_empty() {
            Self::Arn { account, region, id }
        } else {
            Self::Nothing
        }
    }
}

/// Whether the text has the form of an AWS Region's name. It becomes part of a host name, so nothing else may pass.
pub fn is_region(text: &str) -> bool {
    text.len() <= 32
        && text.contains('-')
        && text
            .split('-')
            .all(|part| !part.is_empty() && part.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit()))
}

/// Whether the text is an AWS account id: 12 digits.
pub fn is_account(text: &str) -> bool {
    text.len() == 12 && text.bytes().all(|b| b.is_ascii_digit())
}

/// A key's place in AWS: the same key by id and by ARN has the same address.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct KeyAddress {
    /// The AWS account.
    pub account: Arc<str>,
    /// The Region.
    pub region: Arc<str>,
    /// The id within them.
    pub id: Arc<str>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_taken_as_they_are() {
        for text in ["0d1f…", "1234abcd-12ab-34cd-56ef-1234567890ab", "mrk-1234", "a key", "key/x"] {
            assert_eq!(KeyName::parse(text), KeyName::Id(text));
        }
    }

    #[test]
    fn an_arn_chooses_account_and_region() {
        let arn = "arn:aws:kms:eu-west-1:222233334444:key/1234abcd";
        assert_eq!(KeyName::parse(arn), KeyName::Arn { account: "222233334444", region: "eu-west-1", id: "1234abcd" });
    }

    #[test]
    fn what_cannot_be_a_key_names_nothing() {
        for text in [
            "alias/prod",
            "arn:aws:kms:eu-west-1:222233334444:alias/prod",
            "arn:aws:s3:eu-west-1:222233334444:key/x",
            "arn:aws:kms:evil.example#:222233334444:key/x",
            "arn:aws:kms:eu-west-1:22223333444:key/x",
            "arn:aws:kms:eu-west-1:222233334444:key/",
            "arn:evil:kms:eu-west-1:222233334444:key/x",
            "arn:",
        ] {
            assert_eq!(KeyName::parse(text), KeyName::Nothing, "{text}");
        }
    }
}
