//! What KMS's answers mean, in the words of `job-model`.
//!
//! Two facts decide: how far the request got (recorded where it was written) and whether KMS answered it. An answer is a
//! refusal in KMS's words; none after sending is doubtful; none before changed nothing. A success that makes no sense is
//! somebody else's (a proxy, a captive portal), and leaves open what happened.

use bytes::Bytes;
use http::{HeaderMap, Response, StatusCode};
use job_model::{KeyState, Observed, Refusal, outcome::Failure, plan::UnknownKeyState};
use serde::{
    Deserialize, Deserializer, Serialize,
    de::{DeserializeOwned, Error, MapAccess, Visitor, value::MapAccessDeserializer},
};
use serde_json::Value;
use time::OffsetDateTime;

use crate::kms::flight::Progress;

/// What KMS says when it does what it is asked.
pub(super) trait Output: Sized {
    /// `None`: KMS did not write this.
    fn read(body: &[u8]) -> Option<Self>;
}

/// The output of operations that have none.
#[derive(Debug)]
pub(super) struct Nothing;

impl Output for Nothing {
    fn read(body: &[u8]) -> Option<Self> {
        let is_nothing = match body.trim_ascii() {
            b"" | b"null" => true,
            [b'{', members @ .., b'}'] => members.trim_ascii().is_empty(),
            _ => false,
        };
        is_nothing.then_some(Self)
    }
}

/// A JSON object. Serde alone takes a list for one, too, its values in the order of the fields.
#[derive(Debug, Serialize)]
pub(super) struct Object<T>(pub(super) T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members<T>(std::marker::PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for Members<T> {
            type Value = T;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, members: A) -> Result<T, A::Error> {
                T::deserialize(MapAccessDeserializer::new(members))
            }
        }

        deserializer.deserialize_map(Members(std::marker::PhantomData)).map(Self)
    }
}

impl<T: DeserializeOwned> Output for Object<T> {
    fn read(body: &[u8]) -> Option<Self> {
        serde_json::from_slice(body).ok()
    }
}

/// A moment as KMS tells it: seconds since 1970 with a fraction. As a binary number that is not exact, so it is taken to
/// the microsecond.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seconds(f64);

impl<'de> Deserialize<'de> for Seconds {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let seconds = f64::deserialize(deserializer)?;
        if seconds.is_finite() { Ok(Self(seconds)) } else { Err(D::Error::custom("no moment")) }
    }
}

impl Seconds {
    /// In microseconds since 1970; the nearest end of the range for what lies outside.
    #[expect(clippy::cast_possible_truncation, reason = "it ends at the ends of the range")]
    pub(super) fn micros(self) -> i64 {
        (self.0 * 1e6).round() as i64
    }

    /// `None` for a year of more than four digits.
    pub(super) fn moment(self) -> Option<OffsetDateTime> {
        OffsetDateTime::from_unix_timestamp_nanos(i128::from(self.micros()) * 1_000).ok()
    }
}

/// What of DescribeKey's answer a try needs.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Described {
    key_metadata: Option<Object<State>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct State {
    key_state: Option<String>,
    deletion_date: Option<Seconds>,
}

impl Described {
    /// The key's state and date.
    pub(super) fn observed(self) -> Result<Observed, Failure> {
        let Object(metadata) = self.key_metadata.ok_or_else(|| without("KeyMetadata"))?;
        let state = metadata.key_state.ok_or_else(|| without("KeyState"))?;
        // One that AWS adds later: not to be decided on, so the call is made and its answer told.
        let state: KeyState = state.parse().map_err(|error: UnknownKeyState| {
            Failure::Refused(Refusal { code: "UnknownKeyState".to_owned(), text: error.to_string(), status: 0 })
        })?;
        Ok(Observed::State { state, deletion_date: metadata.deletion_date.and_then(Seconds::moment) })
    }
}

/// GetKeyPolicy's answer.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Policy {
    policy: Option<String>,
}

impl Policy {
    pub(super) fn observed(self) -> Result<Observed, Failure> {
        self.policy.map(Observed::Policy).ok_or_else(|| without("Policy"))
    }
}

/// The success of a call that names the key.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Named {
    key_id: Option<String>,
}

impl Named {
    pub(super) fn checked(self) -> Result<(), Failure> {
        self.key_id.filter(|id| !id.is_empty()).map(drop).ok_or_else(|| without("KeyId"))
    }
}

/// What was answered.
pub(super) fn read<T: Output>(answer: &Response<Bytes>) -> Result<T, Failure> {
    let status = answer.status();
    if !status.is_success() {
        return Err(Failure::Refused(refusal(status, answer.headers(), answer.body())));
    }
    T::read(answer.body())
        .ok_or_else(|| Failure::Unanswered(format!("HTTP {status} with an answer that makes no sense")))
}

/// A refusal in KMS's words, as far as there are any. Its code may stand in a namespace and before an address
/// (AWS JSON 1.1 protocol, "Operation error serialization").
fn refusal(status: StatusCode, headers: &HeaderMap, body: &[u8]) -> Refusal {
    let body: Value = serde_json::from_slice(body).unwrap_or_default();
    let member = |name: &str| body.get(name).and_then(Value::as_str);
    let code = headers.get("x-amzn-errortype").and_then(|code| code.to_str().ok());
    let code = code.or_else(|| member("code")).or_else(|| member("__type")).unwrap_or_default();
    let code = code.split(':').next().unwrap_or_default();
    let code = code.split_once('#').map_or(code, |(_namespace, code)| code);
    let text = ["message", "Message", "errorMessage"].into_iter().find_map(member).unwrap_or_default();
    let status = status.as_u16();
    let or = |text: &str, or: String| if text.trim().is_empty() { or } else { text.to_owned() };
    Refusal {
        code: or(code, format!("Http{status}")),
        text: or(text, format!("HTTP status {status} without an explanation")),
        status,
    }
}

/// What it means that there is no answer to a request that got so far.
pub(super) fn no_answer(progress: Progress, why: String) -> Failure {
    match progress {
        Progress::Waiting => Failure::Unsent(why),
        Progress::Void => Failure::Void,
        Progress::Sent => Failure::Unanswered(why),
    }
}

/// KMS's success, without what it always carries.
pub(super) fn without(field: &str) -> Failure {
    Failure::Unanswered(format!("an answer without {field}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_missing_answer_means_depends_on_how_far_the_request_got() {
        let why = || "why".to_owned();
        assert_eq!(no_answer(Progress::Waiting, why()), Failure::Unsent(why()));
        assert_eq!(no_answer(Progress::Sent, why()), Failure::Unanswered(why()));
        assert_eq!(no_answer(Progress::Void, why()), Failure::Void);
    }

    #[test]
    fn a_success_that_says_nothing_is_not_anybody_s_json() {
        for body in ["", "{}", "null", " {} ", " { \n} "] {
            assert!(Nothing::read(body.as_bytes()).is_some(), "{body}");
        }
        for body in [r#"{"status":"log in first"}"#, r#"{"KeyId":"a"}"#, "[]", "7", "\"\"", "true", "<html>", "{"] {
            assert!(Nothing::read(body.as_bytes()).is_none(), "{body}");
        }
    }

    #[test]
    fn a_list_is_no_object() {
        let state = |body: &str| {
            let described = Object::<Described>::read(body.as_bytes())?.0.observed().ok()?;
            Some(described.state_word())
        };
        assert_eq!(state(r#"{"KeyMetadata": {"Arn": "a", "KeyState": "Enabled"}, "Else": [1]}"#), Some("Enabled"));
        assert_eq!(state(r#"[{"KeyState": "Enabled"}]"#), None);
        assert_eq!(state(r#"{"KeyMetadata": ["Enabled", 1.7e9]}"#), None);
    }

    #[test]
    fn a_refusal_is_told_in_kms_s_words_wherever_they_stand() {
        let refused = |header: Option<&'static str>, body: &'static str| {
            let mut answer = Response::builder().status(400);
            if let Some(header) = header {
                answer = answer.header("x-amzn-errortype", header);
            }
            let Err(Failure::Refused(refusal)) =
                read::<Nothing>(&answer.body(Bytes::from_static(body.as_bytes())).unwrap())
            else {
                panic!("{body} was not refused");
            };
            (refusal.code, refusal.text)
        };
        for (header, body, code, text) in [
            (None, r#"{"__type": "NotFoundException", "message": "no key"}"#, "NotFoundException", "no key"),
            (
                None,
                r#"{"__type": "com.amazonaws.kms#LimitExceededException", "Message": "m"}"#,
                "LimitExceededException",
                "m",
            ),
            (Some("A:http://internal/"), r#"{"__type": "B"}"#, "A", "HTTP status 400 without an explanation"),
            (Some(""), "<html>", "Http400", "HTTP status 400 without an explanation"),
        ] {
            assert_eq!(refused(header, body), (code.to_owned(), text.to_owned()), "{header:?} {body}");
        }
    }

    #[test]
    fn a_moment_is_exact_to_the_microsecond() {
        let read = |text: &str| serde_json::from_str::<Seconds>(text).ok();
        assert_eq!(read("1.700000000543E9").unwrap().micros(), 1_700_000_000_543_000);
        assert_eq!(read("1700000000").unwrap().moment().unwrap().unix_timestamp(), 1_700_000_000);
        assert!(read("1e300").unwrap().moment().is_none());
        assert!(read("1e999").is_none() && read("\"2023-11-14\"").is_none());
    }
}
