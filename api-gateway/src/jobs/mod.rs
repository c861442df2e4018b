//! Bulk jobs: one file per call, and what the calls share.

pub(crate) mod cancel;
pub(crate) mod create;
mod distinct;
mod form;
pub(crate) mod get;
pub(crate) mod keys;
pub(crate) mod list;
mod order;
mod schema;
mod selector;
mod stream;
mod upload;

use axum::{
    body::Body,
    extract::{FromRequestParts, Path},
    response::{IntoResponse, Response},
};
use http::{HeaderValue, header, request::Parts};
use job_model::JobId;

pub(crate) use self::{create::Uploads, stream::Streams};
use crate::error::ApiError;

/// The job a path names. An id that is no UUID is one that nobody has.
pub(crate) struct JobPath(pub(crate) JobId);

impl<S: Send + Sync> FromRequestParts<S> for JobPath {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let path = Path::<String>::from_request_parts(parts, state).await;
        path.ok()
            .and_then(|Path(text)| job_id(&text))
            .map(Self)
            .ok_or_else(|| ApiError::NotFound("there is no job of this id".to_owned()))
    }
}

/// A job's id in its usual form of 36 characters.
fn job_id(text: &str) -> Option<JobId> {
    (text.len() == 36).then(|| text.parse().ok()).flatten()
}

/// JSON text as a response's body.
fn json(body: impl Into<Body>) -> Response {
    ([(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))], body.into()).into_response()
}
