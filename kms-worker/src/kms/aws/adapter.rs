//! Hands the SDK's requests to the [`Transport`].
//!
//! The SDK's HTTP trait has no place for a permit, so the request's [`Flight`] travels beside it as a task-local value.
//! A request without one is not sent.

use std::sync::Arc;

use aws_smithy_runtime_api::client::{
    http::{HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpConnector},
    orchestrator::{HttpRequest, HttpResponse},
    result::ConnectorError,
    runtime_components::RuntimeComponents,
};
use aws_smithy_types::body::SdkBody;
use bytes::Bytes;
use serde::de::IgnoredAny;

use crate::kms::{flight::Flight, transport::Transport};

tokio::task_local! {
    /// The flight of the request that this task makes.
    pub(super) static FLIGHT: Arc<Flight>;
}

/// The SDK's HTTP client.
#[derive(Clone, Debug)]
pub(super) struct Adapter(pub(super) Transport);

impl HttpClient for Adapter {
    fn http_connector(&self, _: &HttpConnectorSettings, _: &RuntimeComponents) -> SharedHttpConnector {
        SharedHttpConnector::new(self.clone())
    }
}

impl HttpConnector for Adapter {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let flight = FLIGHT.try_with(Clone::clone);
        let transport = self.0.clone();
        HttpConnectorFuture::new(async move {
            let flight = flight.map_err(|_| ConnectorError::user("a request without a permit".into()))?;
            send(&transport, flight, request).await
        })
    }
}

/// What came back is no answer of KMS's.
#[derive(Debug, thiserror::Error)]
#[error("the answer is not one of KMS's")]
struct Junk;

/// The mutating calls without output, as their requests name them. Their success says nothing at all.
const WITHOUT_OUTPUT: [&str; 3] = ["TrentService.EnableKey", "TrentService.DisableKey", "TrentService.PutKeyPolicy"];

async fn send(
    transport: &Transport,
    flight: Arc<Flight>,
    request: HttpRequest,
) -> Result<HttpResponse, ConnectorError> {
    let request = request.try_into_http1x().map_err(|error| ConnectorError::user(error.into()))?;
    let (head, body) = request.into_parts();
    let target = head.headers.get("x-amz-target");
    let says_nothing = target.is_some_and(|target| WITHOUT_OUTPUT.iter().any(|name| target == name));
    let body =
        body.bytes().map(Bytes::copy_from_slice).ok_or_else(|| ConnectorError::user("a streamed body".into()))?;
    let answer = transport.send(flight, http::Request::from_parts(head, body)).await;
    let answer = answer.map_err(|error| ConnectorError::io(error.into()))?;
    // The SDK does not read the body of an operation without output, and would take anybody's 200 for KMS's.
    if answer.status().is_success() && !answer.body().is_empty() && !is_kmss(answer.body(), says_nothing) {
        return Err(ConnectorError::other(Junk.into(), None));
    }
    HttpResponse::try_from(answer.map(SdkBody::from)).map_err(|error| ConnectorError::other(error.into(), None))
}

/// Whether KMS may have written this: JSON, and nothing said in it where there is nothing to say.
fn is_kmss(body: &[u8], says_nothing: bool) -> bool {
    if serde_json::from_slice::<IgnoredAny>(body).is_err() {
        return false;
    }
    match body.trim_ascii() {
        b"null" => true,
        [b'{', members @ ..] => !says_nothing || members.trim_ascii_start() == b"}",
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_success_that_says_nothing_is_not_anybody_s_json() {
        for body in ["{}", "null", " {} ", " { \n} "] {
            assert!(is_kmss(body.as_bytes(), true) && is_kmss(body.as_bytes(), false), "{body}");
        }
        for body in [r#"{"status":"log in first"}"#, r#"{"KeyId":"a"}"#] {
            assert!(!is_kmss(body.as_bytes(), true) && is_kmss(body.as_bytes(), false), "{body}");
        }
        for body in ["[]", "7", "\"\"", "true", "<html>", "{"] {
            assert!(!is_kmss(body.as_bytes(), true) && !is_kmss(body.as_bytes(), false), "{body}");
        }
    }
}
