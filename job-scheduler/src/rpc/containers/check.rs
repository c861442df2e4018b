//! What a container's fields may be. The gateway looks at them too; here they are looked at once more because accounts
//! and Regions become parts of host names and ARNs.

use job_model::key::{is_account, is_region};
use tonic::Status;

use crate::containers::DEFAULT_NAME;

/// Characters of names and of who is named in an ACL at the most.
const LONGEST_NAME: usize = 256;
/// Characters of a connection's name at the most.
const LONGEST_CONNECTION: usize = 128;
/// Characters of an action at the most.
const LONGEST_ACTION: usize = 64;
/// Regions of one container at the most; AWS has about half as many.
const MOST_REGIONS: usize = 64;
/// IAM: the path and name of a role have 512 and 64 characters at the most, and what is before them is shorter than 48.
const LONGEST_ROLE: usize = 624;
/// STS: `ExternalId` has 2 to 1,224 characters.
const EXTERNAL_ID: std::ops::RangeInclusive<usize> = 2..=1224;

fn bad<T>(why: impl Into<String>) -> Result<T, Status> {
    Err(Status::invalid_argument(why))
}

fn is_name(text: &str) -> bool {
    !text.trim().is_empty() && text.chars().count() <= LONGEST_NAME && !text.chars().any(char::is_control)
}

pub(super) fn name(name: String) -> Result<String, Status> {
    if !is_name(&name) {
        return bad(format!("name: give 1 to {LONGEST_NAME} characters, none of them a control character"));
    }
    if name == DEFAULT_NAME { Err(super::name_taken(&name)) } else { Ok(name) }
}

pub(super) fn account(account: String) -> Result<String, Status> {
    if is_account(&account) {
        Ok(account)
    } else {
        bad(format!("account_id: {account:?} is no AWS account of 12 digits"))
    }
}

pub(super) fn regions(regions: Vec<String>) -> Result<Vec<String>, Status> {
    if regions.is_empty() || regions.len() > MOST_REGIONS {
        return bad(format!("regions: give 1 to {MOST_REGIONS}"));
    }
    for (at, region) in regions.iter().enumerate() {
        if !is_region(region) {
            return bad(format!("regions: {region:?} is no Region's name"));
        }
        if regions[..at].contains(region) {
            return bad(format!("regions: {region} is named twice"));
        }
    }
    Ok(regions)
}

pub(super) fn connection(connection: String) -> Result<String, Status> {
    let known = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    if connection.len() <= LONGEST_CONNECTION && connection.chars().all(known) {
        Ok(connection)
    } else {
        bad(format!("connection: give a name of at most {LONGEST_CONNECTION} letters, digits, '.', '_' and '-'"))
    }
}

/// `arn:<partition>:iam::<account>:role/<path and name>`, or nothing.
pub(super) fn role_arn(arn: String) -> Result<String, Status> {
    let parts: Vec<&str> = arn.splitn(6, ':').collect();
    let good = match parts.as_slice() {
        [""] => true,
        ["arn", "aws" | "aws-cn" | "aws-us-gov", "iam", "", account, role] => {
            let name = role.strip_prefix("role/").unwrap_or_default();
            let known = |c: char| c.is_ascii_alphanumeric() || "+=,.@-_/".contains(c);
            is_account(account) && !name.is_empty() && arn.len() <= LONGEST_ROLE && name.chars().all(known)
        }
        _ => false,
    };
    if good { Ok(arn) } else { bad("assume_role_arn: it is not of the form arn:aws:iam::<12 digits>:role/<name>") }
}

pub(super) fn external_id(id: String) -> Result<String, Status> {
    let known = |c: char| c.is_ascii_alphanumeric() || "_+=,.@:/-".contains(c);
    if id.is_empty() || EXTERNAL_ID.contains(&id.len()) && id.chars().all(known) {
        Ok(id)
    } else {
        bad("assume_role_external_id: give 2 to 1224 letters, digits and characters of _+=,.@:/-")
    }
}

/// An external id alone would never be sent, and whoever gave it believes that it is.
pub(super) fn role_of(role_arn: &str, external_id: &str) -> Result<(), Status> {
    if role_arn.is_empty() && !external_id.is_empty() {
        return bad("assume_role_external_id: it needs assume_role_arn");
    }
    Ok(())
}

pub(super) fn who<'a>(field: &str, text: &'a str) -> Result<&'a str, Status> {
    if is_name(text) { Ok(text) } else { bad(format!("acls: {field} is too long or no name")) }
}

/// Words that mean nothing here are kept: CCKM has more than we.
pub(super) fn action(word: String) -> Result<String, Status> {
    let known = |c: char| c.is_ascii_alphanumeric() || "_-".contains(c);
    if !word.is_empty() && word.len() <= LONGEST_ACTION && word.chars().all(known) {
        Ok(word)
    } else {
        bad(format!("acls: the action {word:?} is no word of letters, digits, '_' and '-'"))
    }
}

#[cfg(test)]
mod tests {
    use tonic::Code;

    use super::*;

    #[test]
    fn what_is_wrong_is_refused_by_its_fields_name() {
        let texts = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
        let long = "x".repeat(257);
        let said = |result: Result<String, Status>| result.map_err(|status| status.message().to_owned());
        for name in ["", " ", "a\nb", "a\0b", &long] {
            assert!(said(super::name(name.to_owned())).unwrap_err().starts_with("name: "), "{name:?}");
        }
        assert_eq!(name("default".to_owned()).unwrap_err().code(), Code::AlreadyExists);
        assert_eq!(said(name("Default of Zürich".to_owned())), Ok("Default of Zürich".to_owned()));
        for account in ["", "12345678901", "1234567890123", "12345678901a"] {
            assert!(said(super::account(account.to_owned())).unwrap_err().starts_with("account_id: "));
        }
        for list in [&[][..], &["evil.example#"], &["eu-west-1", "eu-west-1"], &["us east"]] {
            assert!(regions(texts(list)).unwrap_err().message().starts_with("regions: "), "{list:?}");
        }
        assert!(regions(texts(&["eu-west-1", "us-gov-east-1"])).is_ok());
        for connection in ["a b", "a/b", &"x".repeat(129)] {
            assert!(said(super::connection(connection.to_owned())).unwrap_err().starts_with("connection: "));
        }
        for arn in [
            "role",
            "arn:aws:iam::222233334444:user/x",
            "arn:aws:iam::22223333444:role/x",
            "arn:aws:iam::222233334444:role/",
            "arn:aws:iam:eu-west-1:222233334444:role/x",
            "arn:evil:iam::222233334444:role/x",
            "arn:aws:iam::222233334444:role/x y",
        ] {
            assert!(said(role_arn(arn.to_owned())).unwrap_err().starts_with("assume_role_arn: "), "{arn}");
        }
        for arn in ["", "arn:aws:iam::222233334444:role/path/keyfleet", "arn:aws-us-gov:iam::222233334444:role/k"] {
            assert!(role_arn(arn.to_owned()).is_ok(), "{arn}");
        }
        for id in ["x", "a b", &"x".repeat(1225)] {
            assert!(said(external_id(id.to_owned())).unwrap_err().starts_with("assume_role_external_id: "));
        }
        assert!(role_of("", "secret").is_err() && role_of("", "").is_ok() && role_of("arn", "secret").is_ok());
    }
}
