//! STS, as far as it takes to work in another account: AssumeRole (API version 2011-06-15, query protocol).

use std::{borrow::Cow, collections::HashMap, sync::Arc};

use hyper::{Response, StatusCode, header::HeaderValue};
use job_model::key::is_account;
use rand::{Rng, distr::Alphanumeric};
use time::{Duration, OffsetDateTime, format_description::well_known::Rfc3339};

use crate::{
    core::Core,
    credentials::role_access_key_id,
    wire::{AnswerBody, request_id, whole},
};

/// How long credentials are valid, in seconds (API reference, `DurationSeconds`).
const VALID: std::ops::RangeInclusive<i64> = 900..=43_200;
const USUALLY_VALID: i64 = 3600;

/// Who asks, in the texts of refusals: signatures are not checked, so it is not known.
const CALLER: &str = "arn:aws:iam::111122223333:user/somebody";

/// Answers a request in the query protocol.
pub(crate) fn answer(core: &Arc<Core>, body: &[u8]) -> Response<AnswerBody> {
    let form = parse_form(body);
    let result = match form.get("Action").map(AsRef::as_ref) {
        Some("AssumeRole") => assume_role(core, &form),
        other => {
            Err((Cow::Borrowed("InvalidAction"), format!("Could not find operation {}", other.unwrap_or_default())))
        }
    };
    let (status, body) = match result {
        Ok(body) => (StatusCode::OK, body),
        Err((code, message)) => (status(&code), refusal(&code, &message)),
    };
    whole(status, HeaderValue::from_static("text/xml"), body)
}

type Form<'a> = HashMap<String, Cow<'a, str>>;

/// Why not: STS's code, and its text.
type Refusal = (Cow<'static, str>, String);

fn assume_role(core: &Core, form: &Form<'_>) -> Result<String, Refusal> {
    let invalid = |message: &str| (Cow::Borrowed("ValidationError"), message.to_owned());
    let internal = |why: &dyn std::fmt::Display| (Cow::Borrowed("InternalFailure"), why.to_string());
    let arn = form.get("RoleArn").map(AsRef::as_ref).unwrap_or_default();
    let (account, role) = parse_role(arn).ok_or_else(|| invalid(&format!("{arn} is invalid")))?;
    let session = form.get("RoleSessionName").map(AsRef::as_ref).unwrap_or_default();
    let in_name = |c: char| c.is_ascii_alphanumeric() || "_=,.@-".contains(c);
    if !(2..=64).contains(&session.len()) || !session.chars().all(in_name) {
        return Err(invalid("RoleSessionName must be 2 to 64 of the characters a-z, A-Z, 0-9, _=,.@-"));
    }
    let seconds = match form.get("DurationSeconds") {
        None => USUALLY_VALID,
        Some(text) => text
            .parse()
            .ok()
            .filter(|seconds| VALID.contains(seconds))
            .ok_or_else(|| invalid("DurationSeconds must be a number from 900 to 43200"))?,
    };
    let rule = core.roles.ask(arn);
    let refused = || format!("User: {CALLER} is not authorized to perform: sts:AssumeRole on resource: {arn}");
    if let Some(code) = rule.refuse {
        return Err((Cow::Owned(code), refused()));
    }
    if rule.external_id.is_some() && rule.external_id.as_deref() != form.get("ExternalId").map(AsRef::as_ref) {
        return Err((Cow::Borrowed("AccessDenied"), refused()));
    }

    let now = OffsetDateTime::from_unix_timestamp_nanos(i128::from(core.clock.wall_ns()));
    let now = now.map_err(|error| internal(&error))?;
    let end = now + Duration::seconds(rule.valid_s.map_or(seconds, i64::from));
    // Whole seconds, as AWS writes them.
    let end = end.replace_nanosecond(0).unwrap_or(end);
    let expiration = end.format(&Rfc3339).map_err(|error| internal(&error))?;
    let mut rng = rand::rng();
    let key_id = role_access_key_id(account, &mut rng);
    if rule.valid_s.is_some() {
        core.roles.ends(key_id.clone(), u64::try_from(end.unix_timestamp_nanos()).unwrap_or(0));
    }
    let secret = random_text(&mut rng, 40);
    let token = random_text(&mut rng, 120);
    let name = role.rsplit('/').next().unwrap_or(role);
    let request = request_id();
    Ok(format!(
        r#"<AssumeRoleResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/">
  <AssumeRoleResult>
    <AssumedRoleUser>
      <AssumedRoleId>AROAKMSSIM:{session}</AssumedRoleId>
      <Arn>arn:aws:sts::{account}:assumed-role/{name}/{session}</Arn>
    </AssumedRoleUser>
    <Credentials>
      <AccessKeyId>{key_id}</AccessKeyId>
      <SecretAccessKey>{secret}</SecretAccessKey>
      <SessionToken>{token}</SessionToken>
      <Expiration>{expiration}</Expiration>
    </Credentials>
  </AssumeRoleResult>
  <ResponseMetadata><RequestId>{request}</RequestId></ResponseMetadata>
</AssumeRoleResponse>
"#
    ))
}

/// The account and the role of `arn:aws:iam::<account>:role/<role>`; none of their characters needs escaping in XML.
fn parse_role(arn: &str) -> Option<(&str, &str)> {
    let parts: Vec<&str> = arn.splitn(6, ':').collect();
    let &["arn", "aws" | "aws-cn" | "aws-us-gov", "iam", "", account, resource] = parts.as_slice() else {
        return None;
    };
    let role = resource.strip_prefix("role/")?;
    let in_role = |c: char| c.is_ascii_alphanumeric() || "_+=,.@-/".contains(c);
    (is_account(account) && !role.is_empty() && role.chars().all(in_role)).then_some((account, role))
}

fn random_text(rng: &mut impl Rng, length: usize) -> String {
    rng.sample_iter(Alphanumeric).take(length).map(char::from).collect()
}

/// The status that a code comes with (API reference, "Common Errors").
fn status(code: &str) -> StatusCode {
    match code {
        "AccessDenied" | "ExpiredToken" | "InvalidClientTokenId" | "SignatureDoesNotMatch" => StatusCode::FORBIDDEN,
        "InternalFailure" => StatusCode::INTERNAL_SERVER_ERROR,
        "ServiceUnavailable" => StatusCode::SERVICE_UNAVAILABLE,
        _ => StatusCode::BAD_REQUEST,
    }
}

fn refusal(code: &str, message: &str) -> String {
    let message = message.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    let request = request_id();
    format!(
        r#"<ErrorResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/">
  <Error><Type>Sender</Type><Code>{code}</Code><Message>{message}</Message></Error>
  <RequestId>{request}</RequestId>
</ErrorResponse>
"#
    )
}

/// Reads `application/x-www-form-urlencoded`; of repeated names the last counts.
fn parse_form(body: &[u8]) -> Form<'_> {
    let text = std::str::from_utf8(body).unwrap_or_default();
    let pairs = text.split('&').filter_map(|pair| pair.split_once('='));
    pairs.map(|(name, value)| (decode(name).into_owned(), decode(value))).collect()
}

fn decode(text: &str) -> Cow<'_, str> {
    if !text.contains(['%', '+']) {
        return Cow::Borrowed(text);
    }
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        let hex = |at: usize| tail.get(at).and_then(|b| char::from(*b).to_digit(16));
        match (first, hex(0), hex(1)) {
            (b'%', Some(high), Some(low)) => {
                bytes.push(u8::try_from(high * 16 + low).unwrap_or(b'?'));
                rest = &tail[2..];
            }
            _ => {
                bytes.push(if first == b'+' { b' ' } else { first });
                rest = tail;
            }
        }
    }
    Cow::Owned(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_are_decoded() {
        let form = parse_form(b"Action=AssumeRole&RoleArn=arn%3Aaws%3Aiam%3A%3A1%3Arole%2Fx&a=b+c%&d=%C3%BC");
        assert_eq!(form["RoleArn"], "arn:aws:iam::1:role/x");
        assert_eq!(form["a"], "b c%");
        assert_eq!(form["d"], "ü");
    }

    #[test]
    fn only_arns_of_roles_are_taken() {
        assert_eq!(parse_role("arn:aws:iam::222233334444:role/a/b"), Some(("222233334444", "a/b")));
        for arn in
            ["arn:aws:iam::22:role/a", "arn:aws:iam::222233334444:user/a", "arn:aws:iam::222233334444:role/<", ""]
        {
            assert_eq!(parse_role(arn), None, "{arn}");
        }
    }
}
