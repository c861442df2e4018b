//! The fields of a container as callers write them, and what is refused of each. CCKM's clients write an empty text for
//! a field that is not set, and null for one they do not mean; both are as good as leaving it out.

use crate::error::ApiError;

/// The longest name, in characters.
const LONGEST_NAME: usize = 255;
/// The longest name of a connection, in characters.
const LONGEST_CONNECTION: usize = 128;
/// The most Regions of a container: twice as many as AWS has.
const MOST_REGIONS: usize = 64;
/// The longest ARN of a role, in characters: AssumeRole's own limit.
const LONGEST_ROLE: usize = 2_048;
/// The lengths of an external id, in characters: AssumeRole's own limits.
const EXTERNAL_ID: std::ops::RangeInclusive<usize> = 2..=1_224;

fn bad<T>(field: &str, why: &str) -> Result<T, ApiError> {
    Err(ApiError::BadRequest(format!("{field}: {why}")))
}

/// A field that must be there.
pub(super) fn needed(field: &str, text: Option<String>) -> Result<String, ApiError> {
    match text {
        None => bad(field, "is missing"),
        Some(text) if text.trim().is_empty() => bad(field, "is empty"),
        Some(text) => Ok(text),
    }
}

/// One of a kind in the tenant. A container is also found by its id, so no name looks like one.
pub(super) fn name(name: String) -> Result<String, ApiError> {
    if name.chars().count() > LONGEST_NAME {
        return bad("name", "is longer than 255 characters");
    }
    if name.contains(char::is_control) {
        return bad("name", "has a control character");
    }
    if name.parse::<uuid::Uuid>().is_ok() {
        return bad("name", "must not have the form of an id");
    }
    Ok(name)
}

pub(super) fn account_id(account: String) -> Result<String, ApiError> {
    if is_account(&account) { Ok(account) } else { bad("account_id", "must be 12 digits") }
}

fn is_account(text: &str) -> bool {
    text.len() == 12 && text.bytes().all(|byte| byte.is_ascii_digit())
}

pub(super) fn regions(regions: Vec<String>) -> Result<Vec<String>, ApiError> {
    if regions.is_empty() {
        return bad("regions", "is empty");
    }
    if regions.len() > MOST_REGIONS {
        return bad("regions", "are more than 64");
    }
    for (place, region) in regions.iter().enumerate() {
        if !is_region(region) {
            return bad(&format!("regions[{place}]"), "must be an AWS Region, like eu-west-1");
        }
        if regions.iter().take(place).any(|earlier| earlier == region) {
            return bad(&format!("regions[{place}]"), &format!("{region} stands there already"));
        }
    }
    Ok(regions)
}

/// Two letters, one or more words, and a digit: `us-gov-west-1`.
fn is_region(text: &str) -> bool {
    let Some((words, number)) = text.rsplit_once('-') else { return false };
    let mut words = words.split('-');
    let letters = |word: &str| !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_lowercase());
    let area = words.next().is_some_and(|word| word.len() == 2 && letters(word));
    let mut named = 0;
    let all_letters = words.all(|word| {
        named += 1;
        letters(word)
    });
    let digit = number.len() == 1 && number.bytes().all(|byte| byte.is_ascii_digit());
    text.len() <= 32 && area && named > 0 && all_letters && digit
}

/// The name of an entry of the workers' configuration. A caller who takes the field for a place to put keys in is told
/// before anything is stored, and what was sent is not repeated.
pub(super) fn connection(connection: String) -> Result<String, ApiError> {
    if looks_like_a_key(&connection) {
        return bad("connection", "looks like a key: a name is expected here, and no secret belongs into this API");
    }
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    if connection.len() > LONGEST_CONNECTION || !connection.bytes().all(fits) {
        return bad("connection", "must be a name of at most 128 letters, digits, dots, underscores and dashes");
    }
    Ok(connection)
}

/// Whether some part of a text has the form of an access key id (20 capitals and digits, as IAM writes them) or of a
/// secret access key (40 characters of base64, with all kinds of them).
fn looks_like_a_key(text: &str) -> bool {
    let base64 = |c: char| c.is_ascii_alphanumeric() || matches!(c, '/' | '+');
    text.split(|c| !base64(c)).any(|word| {
        let id = word.len() == 20
            && ["AKIA", "ASIA"].iter().any(|prefix| word.starts_with(prefix))
            && word.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit());
        let has = |kind: fn(&u8) -> bool| word.as_bytes().iter().any(kind);
        let secret =
            word.len() == 40 && has(u8::is_ascii_uppercase) && has(u8::is_ascii_lowercase) && has(u8::is_ascii_digit);
        id || secret
    })
}

pub(super) fn role_arn(arn: String) -> Result<String, ApiError> {
    if is_role(&arn) {
        Ok(arn)
    } else {
        bad("assume_role_arn", "must be the ARN of a role, like arn:aws:iam::111122223333:role/keyfleet")
    }
}

/// `arn:aws…:iam::<account>:role/<path and name>`
fn is_role(arn: &str) -> bool {
    let parts: Vec<&str> = arn.splitn(6, ':').collect();
    let ["arn", partition, "iam", "", account, role] = parts.as_slice() else { return false };
    let partition = partition.strip_prefix("aws").is_some_and(|rest| {
        rest.is_empty() || (rest.starts_with('-') && rest.bytes().all(|byte| byte == b'-' || byte.is_ascii_lowercase()))
    });
    let of_name = |byte: u8| byte.is_ascii_alphanumeric() || b"_+=,.@-/".contains(&byte);
    let named = role
        .strip_prefix("role/")
        .is_some_and(|name| !name.is_empty() && !name.ends_with('/') && name.bytes().all(of_name));
    arn.len() <= LONGEST_ROLE && partition && is_account(account) && named
}

pub(super) fn external_id(id: String) -> Result<String, ApiError> {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"_+=,.@:/-".contains(&byte);
    if EXTERNAL_ID.contains(&id.len()) && id.bytes().all(fits) {
        Ok(id)
    } else {
        bad("assume_role_external_id", "must be 2 to 1,224 letters, digits and any of _+=,.@:/-")
    }
}

/// Nothing, if the text is empty; else what `check` makes of it.
pub(super) fn unless_empty(
    text: String,
    check: impl FnOnce(String) -> Result<String, ApiError>,
) -> Result<String, ApiError> {
    if text.is_empty() { Ok(text) } else { check(text) }
}

#[cfg(test)]
#[path = "fields_tests.rs"]
mod tests;
