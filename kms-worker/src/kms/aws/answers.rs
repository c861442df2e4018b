//! What the SDK's answers and errors mean, in the words of `job-model`.
//!
//! Two facts decide: how far the request got (recorded where it was written) and whether KMS answered it. An answer is a
//! refusal in KMS's words; none after sending is doubtful; none before changed nothing.

use aws_sdk_kms::{
    error::{ProvideErrorMetadata, SdkError},
    types::KeyMetadata,
};
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use job_model::{KeyState, Observed, Refusal, outcome::Failure, plan::UnknownKeyState};
use time::OffsetDateTime;

use super::origin::Lack;
use crate::kms::{connection::chain, flight::Progress};

/// KMS's refusal if it gave one, else what the missing answer means.
pub(super) fn failure<E>(error: &SdkError<E, HttpResponse>, progress: Progress) -> Failure
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
{
    let (status, said) = match error {
        SdkError::ServiceError(service) => (service.raw().status().as_u16(), Some(service.err())),
        SdkError::ResponseError(response) => (response.raw().status().as_u16(), None),
        // Not KMS's answer, whatever the SDK adds to these: how far the request got decides.
        SdkError::ConstructionFailure(_) | SdkError::TimeoutError(_) | SdkError::DispatchFailure(_) | _ => {
            return credentials_failure(error).unwrap_or_else(|| no_answer(progress, chain(error)));
        }
    };
    if (200..300).contains(&status) {
        return Failure::Unanswered(format!("HTTP {status} with an answer that makes no sense"));
    }
    Failure::Refused(Refusal {
        code: said
            .and_then(ProvideErrorMetadata::code)
            .filter(|code| !code.trim().is_empty())
            .map_or_else(|| format!("Http{status}"), str::to_owned),
        text: said
            .and_then(ProvideErrorMetadata::message)
            .filter(|text| !text.is_empty())
            .map_or_else(|| format!("HTTP status {status} without an explanation"), str::to_owned),
        status,
    })
}

/// What it means that there is no answer to a request that got so far.
pub(super) fn no_answer(progress: Progress, why: String) -> Failure {
    match progress {
        Progress::Waiting => Failure::Unsent(why),
        Progress::Void => Failure::Void,
        Progress::Sent => Failure::Unanswered(why),
    }
}

/// Whether it could not be signed, and why. Seldom: credentials were there a moment ago.
fn credentials_failure(error: &(dyn std::error::Error + 'static)) -> Option<Failure> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(lack) = error.downcast_ref::<Lack>() {
            return Some(lack.failure());
        }
        next = error.source();
    }
    None
}

/// KMS's success, without what it always carries.
pub(super) fn without(field: &str) -> Failure {
    Failure::Unanswered(format!("an answer without {field}"))
}

/// The key's state and date.
pub(super) fn read_state(metadata: Option<&KeyMetadata>) -> Result<Observed, Failure> {
    let metadata = metadata.ok_or_else(|| without("KeyMetadata"))?;
    let state = metadata.key_state().ok_or_else(|| without("KeyState"))?;
    // One that AWS adds later: not to be decided on, so the call is made and its answer told.
    let state: KeyState = state.as_str().parse().map_err(|error: UnknownKeyState| {
        Failure::Refused(Refusal { code: "UnknownKeyState".to_owned(), text: error.to_string(), status: 0 })
    })?;
    let deletion_date =
        metadata.deletion_date().and_then(|date| OffsetDateTime::from_unix_timestamp_nanos(date.as_nanos()).ok());
    Ok(Observed::State { state, deletion_date })
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
}
