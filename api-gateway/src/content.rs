//! Request bodies of bounded size: type, length, patience, and JSON that names the field it stumbles over.

use std::time::Duration;

use axum::{
    body::Body,
    extract::{FromRequest, Request},
};
use bytes::{Bytes, BytesMut};
use futures_util::StreamExt as _;
use http::{HeaderMap, header};
use serde::de::DeserializeOwned;

use crate::{app::App, error::ApiError};

/// The most bytes a body other than a create's may have. The largest useful one is a template's policy: 32 KB, twice
/// escaped.
const MOST_BYTES: u64 = 256 << 10;

/// A body read as JSON.
pub(crate) struct JsonBody<T>(pub(crate) T);

impl<T: DeserializeOwned> FromRequest<App> for JsonBody<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, app: &App) -> Result<Self, ApiError> {
        expect_json(request.headers())?;
        let body = whole(request, MOST_BYTES, app.body_pause).await?;
        if body.is_empty() {
            return Err(ApiError::BadRequest("the body is empty; a JSON object is expected".to_owned()));
        }
        let mut json = serde_json::Deserializer::from_slice(&body);
        let value = serde_path_to_error::deserialize(&mut json).map_err(|error| {
            let path = error.path().to_string();
            let inner = error.into_inner();
            ApiError::BadRequest(match path.as_str() {
                "." => format!("the body: {inner}"),
                path => format!("{path}: {inner}"),
            })
        })?;
        json.end().map_err(|error| ApiError::BadRequest(format!("the body has more after its JSON: {error}")))?;
        Ok(Self(value))
    }
}

/// Refuses a body that says it is something else than JSON. One that says nothing is taken for JSON.
pub(crate) fn expect_json(headers: &HeaderMap) -> Result<(), ApiError> {
    let Some(value) = headers.get(header::CONTENT_TYPE) else { return Ok(()) };
    let text = value.to_str().unwrap_or("unreadable");
    let essence = text.split(';').next().unwrap_or("").trim().to_ascii_lowercase();
    let json = essence == "application/json" || (essence.starts_with("application/") && essence.ends_with("+json"));
    if json { Ok(()) } else { Err(ApiError::UnsupportedType(text.to_owned())) }
}

/// The length a request announces.
pub(crate) fn announced_length(headers: &HeaderMap) -> Option<u64> {
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// Reads the whole body.
pub(crate) async fn whole(request: Request, most: u64, pause: Duration) -> Result<Bytes, ApiError> {
    if announced_length(request.headers()).is_some_and(|length| length > most) {
        return Err(ApiError::TooLarge(most));
    }
    let mut pieces = Pieces::new(request.into_body(), most, pause);
    let mut all = BytesMut::new();
    let mut first = Bytes::new();
    while let Some(piece) = pieces.next().await? {
        if first.is_empty() && all.is_empty() {
            first = piece;
        } else {
            if all.is_empty() {
                all.extend_from_slice(&first);
            }
            all.extend_from_slice(&piece);
        }
    }
    Ok(if all.is_empty() { first } else { all.freeze() })
}

/// A body piece by piece, watched for its size and for pauses.
pub(crate) struct Pieces {
    stream: axum::body::BodyDataStream,
    left: u64,
    most: u64,
    pause: Duration,
}

impl Pieces {
    pub(crate) fn new(body: Body, most: u64, pause: Duration) -> Self {
        Self { stream: body.into_data_stream(), left: most, most, pause }
    }

    /// The next piece; `None` at the body's end.
    pub(crate) async fn next(&mut self) -> Result<Option<Bytes>, ApiError> {
        match tokio::time::timeout(self.pause, self.stream.next()).await {
            Err(_) => Err(ApiError::BodyTooSlow),
            Ok(None) => Ok(None),
            Ok(Some(Err(error))) => Err(ApiError::BadRequest(format!("the body broke off: {error}"))),
            Ok(Some(Ok(piece))) => match self.left.checked_sub(piece.len() as u64) {
                Some(left) => {
                    self.left = left;
                    Ok(Some(piece))
                }
                None => Err(ApiError::TooLarge(self.most)),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::stream;
    use http::HeaderValue;

    use super::*;

    fn headers(content_type: &str) -> HeaderMap {
        HeaderMap::from_iter([(header::CONTENT_TYPE, HeaderValue::from_str(content_type).unwrap())])
    }

    #[test]
    fn json_is_known_by_its_type() {
        for good in ["application/json", "application/json; charset=utf-8", "Application/JSON", "application/x+json"] {
            expect_json(&headers(good)).unwrap();
        }
        expect_json(&HeaderMap::new()).unwrap();
        for bad in ["text/plain", "application/x-www-form-urlencoded", "application/jsonx", "json", ""] {
            assert!(matches!(expect_json(&headers(bad)), Err(ApiError::UnsupportedType(_))), "{bad}");
        }
    }

    #[tokio::test]
    async fn a_body_over_its_limit_is_refused_whether_announced_or_not() {
        let pieces = || stream::iter((0..4).map(|_| Ok::<_, axum::Error>(Bytes::from_static(b"abc"))));
        let read = |most| whole(Request::new(Body::from_stream(pieces())), most, Duration::from_secs(5));
        assert_eq!(read(12).await.unwrap(), "abcabcabcabc");
        assert_eq!(read(11).await.unwrap_err(), ApiError::TooLarge(11));
        let mut announced = Request::new(Body::from("abc"));
        announced.headers_mut().insert(header::CONTENT_LENGTH, HeaderValue::from(3));
        assert_eq!(whole(announced, 2, Duration::from_secs(5)).await.unwrap_err(), ApiError::TooLarge(2));
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_pauses_too_long_is_told_so() {
        let body = Body::from_stream(stream::pending::<Result<Bytes, axum::Error>>());
        let read = whole(Request::new(body), 10, Duration::from_secs(5)).await;
        assert_eq!(read.unwrap_err(), ApiError::BodyTooSlow);
    }
}
