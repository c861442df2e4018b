//! HTTP: which request is whose, and how answers look.
//!
//! hyper ends a connection without a word when its service fails, and that is how a dropped connection is made here:
//! the client sees it closed before any answer, as with a load balancer that dies.

use std::{
    convert::Infallible,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper::{
    Method, Request, Response, StatusCode,
    body::{Body, Frame, Incoming, SizeHint},
    header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue},
};

use crate::{
    admin::{self, LogBody},
    core::Core,
    error::{ErrorCode, KmsError},
    outcome::Cut,
    request::{Reply, arrive},
    sts,
};

const TARGET: HeaderName = HeaderName::from_static("x-amz-target");
const REQUEST_ID: HeaderName = HeaderName::from_static("x-amzn-requestid");
const ERROR_TYPE: HeaderName = HeaderName::from_static("x-amzn-errortype");
const JSON_1_1: HeaderValue = HeaderValue::from_static("application/x-amz-json-1.1");

/// Larger bodies are refused: a KMS request is small, a list of ids for a million keys is not.
const LONGEST_BODY: usize = 128 << 20;

/// How long an unanswered request's connection is kept: longer than any client of ours waits.
const SILENCE: Duration = Duration::from_secs(120);

/// The connection is to be dropped without an answer.
#[derive(Debug, thiserror::Error)]
#[error("the connection is dropped on purpose")]
pub(crate) struct Dropped;

/// The body of an answer.
pub(crate) enum AnswerBody {
    Whole(Full<Bytes>),
    Log(LogBody),
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match self.get_mut() {
            Self::Whole(body) => Pin::new(body).poll_frame(cx),
            Self::Log(body) => Poll::Ready(body.next_chunk().map(|chunk| Ok(Frame::data(chunk)))),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Whole(body) => body.is_end_stream(),
            Self::Log(_) => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(body) => body.size_hint(),
            Self::Log(_) => SizeHint::default(),
        }
    }
}

/// Answers a request, or says that nobody shall.
pub(crate) async fn serve(core: Arc<Core>, request: Request<Incoming>) -> Result<Response<AnswerBody>, Dropped> {
    let (head, body) = request.into_parts();
    let body = match Limited::new(body, LONGEST_BODY).collect().await {
        Ok(body) => body.to_bytes(),
        Err(error) if error.is::<LengthLimitError>() => {
            return Ok(plain(StatusCode::PAYLOAD_TOO_LARGE, "The body is too large.\n"));
        }
        // The client went away while it was sending: there was no request.
        Err(_) => return Err(Dropped),
    };
    if let Some(route) = head.uri.path().strip_prefix("/_sim/") {
        return Ok(admin::route(&core, &head.method, route, head.uri.query().unwrap_or_default(), &body).await);
    }
    if head.method != Method::POST {
        return Ok(plain(StatusCode::NOT_FOUND, "kms-sim answers KMS and STS requests by POST, and /_sim/.\n"));
    }
    if let Some(target) = text(&head.headers, &TARGET) {
        let arrived = arrive(&core, target, text(&head.headers, &AUTHORIZATION), &body);
        return answer(arrived.answer().await).await;
    }
    let is_form =
        text(&head.headers, &CONTENT_TYPE).is_some_and(|kind| kind.starts_with("application/x-www-form-urlencoded"));
    if is_form {
        return Ok(sts::answer(&core, &body));
    }
    answer(Reply::Refused(KmsError::new(ErrorCode::UnknownOperation, "The request has no X-Amz-Target header."))).await
}

async fn answer(reply: Reply) -> Result<Response<AnswerBody>, Dropped> {
    match reply {
        Reply::Granted(body) => Ok(kms(StatusCode::OK, body)),
        Reply::Refused(error) if error.code == ErrorCode::ServiceUnavailable => {
            let html = "<html><body><b>Http/1.1 Service Unavailable</b></body> </html>";
            Ok(whole(StatusCode::SERVICE_UNAVAILABLE, HeaderValue::from_static("text/html"), html))
        }
        Reply::Refused(error) => Ok(refusal(&error)),
        Reply::Silence(Cut::TimeoutBefore | Cut::TimeoutAfter) => {
            // Dropped earlier when the client closes the connection.
            tokio::time::sleep(SILENCE).await;
            Err(Dropped)
        }
        Reply::Silence(Cut::DisconnectBefore | Cut::DisconnectAfter) => Err(Dropped),
        // Half of KMS's own form, as from a proxy that lost the rest, or a page of the proxy's.
        Reply::Silence(Cut::JunkBefore | Cut::JunkAfter) if rand::random() => {
            Ok(whole(StatusCode::OK, JSON_1_1, r#"{"KeyMetadata": {"KeyId"#))
        }
        Reply::Silence(Cut::JunkBefore | Cut::JunkAfter) => {
            let html = "<html><body>Please log in to the network.</body></html>";
            Ok(whole(StatusCode::OK, HeaderValue::from_static("text/html"), html))
        }
    }
}

fn refusal(error: &KmsError) -> Response<AnswerBody> {
    #[derive(serde::Serialize)]
    struct Form<'a> {
        #[serde(rename = "__type")]
        code: &'static str,
        message: &'a str,
    }
    let form = Form { code: error.code.name(), message: &error.message };
    let body = serde_json::to_vec(&form).expect("two texts can be written as JSON");
    let mut response = kms(StatusCode::from_u16(error.code.status()).unwrap_or(StatusCode::BAD_REQUEST), body);
    response.headers_mut().insert(ERROR_TYPE, HeaderValue::from_static(error.code.name()));
    response
}

fn kms(status: StatusCode, body: Vec<u8>) -> Response<AnswerBody> {
    let mut response = whole(status, JSON_1_1, body);
    let id = request_id();
    let id = HeaderValue::from_str(&id).expect("a UUID can stand in a header");
    response.headers_mut().insert(REQUEST_ID, id);
    response
}

/// A new request's id. It need not be hard to guess, so it costs no system call.
pub(crate) fn request_id() -> String {
    uuid::Builder::from_random_bytes(rand::random()).into_uuid().to_string()
}

/// An answer that is no KMS answer.
pub(crate) fn whole(status: StatusCode, kind: HeaderValue, body: impl Into<Bytes>) -> Response<AnswerBody> {
    let mut response = Response::new(AnswerBody::Whole(Full::new(body.into())));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, kind);
    response
}

fn plain(status: StatusCode, sentence: &'static str) -> Response<AnswerBody> {
    whole(status, HeaderValue::from_static("text/plain"), sentence)
}

fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}
