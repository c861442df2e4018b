//! What every answer gets on its way out: the request's id, the body of an error, headers, a metric and a log line.
//!
//! The outermost layer, so that nothing leaves the gateway in another form: refusals of handlers, of axum itself and
//! panics alike.

use axum::{
    body::Body,
    extract::{MatchedPath, Request},
    middleware::Next,
    response::{IntoResponse, Response},
};
use http::{HeaderMap, HeaderName, HeaderValue, header};
use serde::Serialize;
use tracing::Instrument;
use uuid::Uuid;

use crate::{
    drain,
    error::{ApiError, ErrorForm},
};

/// The header that carries the request's id in and out.
pub(crate) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The body of every error.
#[derive(Serialize, utoipa::ToSchema)]
pub(crate) struct ErrorBody<'a> {
    /// CCKM's number of the kind of error
    #[schema(example = 2)]
    code: u32,
    /// CCKM's name of the kind of error
    #[serde(rename = "codeDesc")]
    #[schema(example = "NCERRBadRequest: Bad HTTP request")]
    code_desc: &'a str,
    /// What exactly, with the field's name
    #[schema(example = "days: must be a whole number from 7 to 30, not 31")]
    message: &'a str,
    /// The same as in the header `X-Request-Id`
    #[serde(rename = "requestID")]
    request_id: &'a str,
}

/// The layer itself.
pub(crate) async fn finish(mut request: Request, next: Next) -> Response {
    let begun = service_kit::clock::boottime();
    let id = request_id(request.headers());
    let method = request.method().clone();
    let route = request.extensions().get::<MatchedPath>().map_or("unknown", MatchedPath::as_str).to_owned();
    let loan = drain::Loan::lend(&mut request);
    let span = tracing::info_span!("request", request.id = id, %method, route);

    let response = next.run(request).instrument(span.clone()).await;
    let mut response = write_error(response, &id);
    let status = response.status();
    if status.is_client_error() || status.is_server_error() {
        // A client that is still sending would not see the answer.
        loan.drain().await;
    }
    if let Ok(id) = HeaderValue::from_str(&id) {
        response.headers_mut().insert(REQUEST_ID, id);
    }
    set_headers(response.headers_mut());

    let took = service_kit::clock::boottime().since(begun);
    let labels = [("method", method.as_str().to_owned()), ("route", route), ("status", status.as_str().to_owned())];
    metrics::counter!("keyfleet_http_requests_total", &labels).increment(1);
    metrics::histogram!("keyfleet_http_request_seconds", &labels[..2]).record(took.as_secs_f64());
    let duration_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
    let _entered = span.enter();
    if status.is_server_error() {
        tracing::warn!(status = status.as_u16(), duration_ms, "A request failed.");
    } else {
        tracing::debug!(status = status.as_u16(), duration_ms, "A request was answered.");
    }
    response
}

/// The answer to a panic, for the catching layer. What panicked is in the log; the caller learns nothing of it.
#[expect(clippy::needless_pass_by_value, reason = "the layer's signature")]
pub(crate) fn panicked(panic: Box<dyn std::any::Any + Send + 'static>) -> Response {
    let text = panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("no text");
    tracing::error!(panic = text, "A handler panicked.");
    ApiError::Internal.into_response()
}

/// The client's own id where it is harmless in a log, so that it can follow a request through; else a new one.
fn request_id(headers: &HeaderMap) -> String {
    let harmless = |text: &&str| {
        (1..=128).contains(&text.len())
            && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
    };
    match headers.get(REQUEST_ID).and_then(|value| value.to_str().ok()).filter(harmless) {
        Some(id) => id.to_owned(),
        None => Uuid::now_v7().to_string(),
    }
}

/// Gives a refusal its body, whoever made it.
fn write_error(mut response: Response, request_id: &str) -> Response {
    if response.extensions().get::<Whole>().is_some() {
        return response;
    }
    let form = match response.extensions_mut().remove::<ErrorForm>() {
        Some(form) => form,
        None => match ApiError::of_status(response.status()) {
            Some(error) => error.form(),
            None => return response,
        },
    };
    let body = ErrorBody { code: form.code, code_desc: form.desc, message: &form.message, request_id };
    let text = serde_json::to_vec(&body).expect("strings and a number have a JSON form");
    response.headers_mut().remove(header::CONTENT_LENGTH);
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    *response.body_mut() = Body::from(text);
    response
}

/// Beside a response whose body is to stay whatever its status: the 503 of `/readyz` names what is missing.
#[derive(Clone, Copy)]
pub(crate) struct Whole;

/// Headers that keep browsers from doing more with an answer than showing it. The page under `/api/docs` sets its own
/// policy.
fn set_headers(headers: &mut HeaderMap) {
    for (name, value) in [
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::STRICT_TRANSPORT_SECURITY, "max-age=31536000"),
        (header::CACHE_CONTROL, "no-store"),
        (header::CONTENT_SECURITY_POLICY, "default-src 'none'; frame-ancestors 'none'"),
    ] {
        headers.entry(name).or_insert(HeaderValue::from_static(value));
    }
}

#[cfg(test)]
mod tests {
    use axum::{Router, middleware, routing::get};
    use http_body_util::BodyExt as _;
    use tower::ServiceExt as _;
    use tower_http::catch_panic::CatchPanicLayer;

    use super::*;

    #[tokio::test]
    async fn a_panic_is_an_internal_error_that_tells_nothing() {
        let router = Router::new()
            .route("/", get(async || -> () { panic!("secret") }))
            .layer(CatchPanicLayer::custom(panicked))
            .layer(middleware::from_fn(finish));
        let response = router.oneshot(Request::new(Body::empty())).await.unwrap();
        assert_eq!(response.status().as_u16(), 500);
        let id = response.headers()[REQUEST_ID].to_str().unwrap().to_owned();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
        assert_eq!((body["code"].as_u64(), body["requestID"].as_str()), (Some(1), Some(id.as_str())));
        assert!(!body.to_string().contains("secret"));
    }

    #[test]
    fn a_client_s_request_id_is_kept_when_it_is_harmless() {
        let of = |text: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(REQUEST_ID, HeaderValue::from_str(text).unwrap());
            request_id(&headers)
        };
        assert_eq!(of("build-17.a_b"), "build-17.a_b");
        for bad in ["", "a b", "\"x", "a,b", &"x".repeat(129)] {
            assert_ne!(of(bad), bad);
            assert!(of(bad).parse::<Uuid>().is_ok());
        }
    }
}
