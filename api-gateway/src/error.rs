//! Every refusal of the API, with its HTTP status and CCKM's code: the only place that knows statuses.
//!
//! The body names the request's id, which an error does not know where it is made. So an error becomes a response with
//! an [`ErrorForm`] beside it, and [`crate::answers`] writes the body on the way out. The same form is put on refusals
//! that axum makes itself (unknown path, wrong method).

use std::time::Duration;

use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use tonic::{Code, Status};

/// Why a call is refused. The texts are for the caller; what only the operator may know is logged where it is found.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ApiError {
    /// Malformed or invalid; the text names the field.
    #[error("{0}")]
    BadRequest(String),
    /// No token, a bad or expired one, or a wrong password.
    #[error("{0}")]
    Unauthorized(String),
    /// The permission is missing.
    #[error("{0}")]
    Forbidden(String),
    /// There is no such thing, or it is another tenant's.
    #[error("{0}")]
    NotFound(String),
    /// The path exists, the method does not; axum has set `Allow`.
    #[error("the method is not allowed here; the Allow header names those that are")]
    MethodNotAllowed,
    /// The client did not send its body in time.
    #[error("the body did not arrive in time")]
    BodyTooSlow,
    /// It contradicts what is there: a taken name, another body under the same `Idempotency-Key`, a container in use.
    #[error("{0}")]
    Conflict(String),
    /// The body is larger than this many bytes.
    #[error("the body is larger than {0} bytes")]
    TooLarge(u64),
    /// The body's type is none that is understood.
    #[error("the Content-Type {0:?} is not understood; send application/json")]
    UnsupportedType(String),
    /// Too fast; may be tried again after this long.
    #[error("{message}")]
    TooFast {
        /// What there was too much of.
        message: String,
        /// When trying again may help.
        retry_after: Duration,
    },
    /// A part is down, or there is no leader yet.
    #[error("{0}")]
    Unavailable(String),
    /// A fault of Keyfleet's own.
    #[error("an internal error; the log has more under the request's id")]
    Internal,
}

/// How a call succeeded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Success {
    /// Here it is.
    Ok,
    /// It was made.
    Created,
    /// It is under way.
    Accepted,
    /// It is done, and there is nothing to tell.
    NoContent,
}

impl Success {
    /// The answer with this status.
    pub(crate) fn of(self, answer: impl IntoResponse) -> Response {
        let mut response = answer.into_response();
        *response.status_mut() = match self {
            Self::Ok => StatusCode::OK,
            Self::Created => StatusCode::CREATED,
            Self::Accepted => StatusCode::ACCEPTED,
            Self::NoContent => StatusCode::NO_CONTENT,
        };
        response
    }
}

/// What the body of an error says, but for the request's id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ErrorForm {
    pub(crate) code: u32,
    pub(crate) desc: &'static str,
    pub(crate) message: String,
}

/// What a message of the client's making is cut to, in characters: it may hold the client's own text.
const LONGEST_MESSAGE: usize = 1_000;

impl ApiError {
    /// The status, and CCKM's code with its description.
    pub(crate) fn kind(&self) -> (StatusCode, u32, &'static str) {
        const BAD: (u32, &str) = (2, "NCERRBadRequest: Bad HTTP request");
        let (status, (code, desc)) = match self {
            Self::BadRequest(_) => (StatusCode::BAD_REQUEST, BAD),
            Self::Unauthorized(_) => (StatusCode::UNAUTHORIZED, (5, "NCERRUnauthorizedAccess: Unauthorized")),
            Self::Forbidden(_) => {
                (StatusCode::FORBIDDEN, (6, "NCERRInsufficientPermissions: Insufficient permissions"))
            }
            Self::NotFound(_) => (StatusCode::NOT_FOUND, (16, "NCERRResourceNotFound: Resource not found")),
            Self::MethodNotAllowed => (StatusCode::METHOD_NOT_ALLOWED, BAD),
            Self::BodyTooSlow => (StatusCode::REQUEST_TIMEOUT, BAD),
            Self::Conflict(_) => (StatusCode::CONFLICT, (9, "NCERRConflict: Conflict")),
            Self::TooLarge(_) => (StatusCode::PAYLOAD_TOO_LARGE, BAD),
            Self::UnsupportedType(_) => (StatusCode::UNSUPPORTED_MEDIA_TYPE, BAD),
            Self::TooFast { .. } => (StatusCode::TOO_MANY_REQUESTS, (7, "NCERRTooManyRequests: Too many requests")),
            Self::Unavailable(_) => {
                (StatusCode::SERVICE_UNAVAILABLE, (8, "NCERRServiceUnavailable: Service unavailable"))
            }
            Self::Internal => (StatusCode::INTERNAL_SERVER_ERROR, (1, "NCERRInternalServerError: Internal error")),
        };
        (status, code, desc)
    }

    /// When trying again may help.
    const fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::TooFast { retry_after, .. } => Some(*retry_after),
            Self::Unavailable(_) => Some(Duration::from_secs(1)),
            Self::BadRequest(_)
            | Self::Unauthorized(_)
            | Self::Forbidden(_)
            | Self::NotFound(_)
            | Self::MethodNotAllowed
            | Self::BodyTooSlow
            | Self::Conflict(_)
            | Self::TooLarge(_)
            | Self::UnsupportedType(_)
            | Self::Internal => None,
        }
    }

    /// The refusal that a bare status of axum's stands for; `None` for a success.
    pub(crate) fn of_status(status: StatusCode) -> Option<Self> {
        if !status.is_client_error() && !status.is_server_error() {
            return None;
        }
        Some(match status {
            StatusCode::NOT_FOUND => Self::NotFound("there is nothing under this path".to_owned()),
            StatusCode::METHOD_NOT_ALLOWED => Self::MethodNotAllowed,
            StatusCode::REQUEST_TIMEOUT => Self::BodyTooSlow,
            StatusCode::SERVICE_UNAVAILABLE => Self::Unavailable("not ready yet".to_owned()),
            status if status.is_client_error() => Self::BadRequest("the request is malformed".to_owned()),
            _ => Self::Internal,
        })
    }

    /// What the scheduler's refusal means to the caller. Its texts for bad requests, conflicts and limits are written
    /// for callers and passed on; those of faults are logged.
    pub(crate) fn of_scheduler(status: &Status) -> Self {
        let message = status.message().to_owned();
        match status.code() {
            Code::InvalidArgument | Code::OutOfRange => Self::BadRequest(message),
            Code::NotFound => Self::NotFound(message),
            Code::AlreadyExists | Code::FailedPrecondition => Self::Conflict(message),
            Code::PermissionDenied => Self::Forbidden(message),
            Code::ResourceExhausted => Self::TooFast { message, retry_after: Duration::from_secs(1) },
            // A status with a source was made by the client: a connection that breaks under an open call reads Unknown.
            Code::Unknown | Code::Internal if std::error::Error::source(status).is_some() => {
                tracing::warn!(code = ?status.code(), message, "The connection to the scheduler broke.");
                Self::Unavailable("the scheduler cannot answer now; try again".to_owned())
            }
            Code::Unavailable | Code::DeadlineExceeded | Code::Cancelled | Code::Aborted => {
                tracing::warn!(code = ?status.code(), message, "The scheduler could not answer.");
                Self::Unavailable("the scheduler cannot answer now; try again".to_owned())
            }
            // This gateway is newer than the scheduler, which will be replaced, or another leads.
            Code::Unimplemented => {
                tracing::warn!(message, "The scheduler is older than this gateway and does not know the call.");
                Self::Unavailable("the scheduler does not know this call yet; it is being upgraded".to_owned())
            }
            Code::Ok | Code::Unknown | Code::Internal | Code::DataLoss | Code::Unauthenticated => {
                tracing::error!(code = ?status.code(), message, "The scheduler failed.");
                Self::Internal
            }
        }
    }

    /// What the body will say.
    pub(crate) fn form(&self) -> ErrorForm {
        let (_, code, desc) = self.kind();
        let mut message = self.to_string();
        if let Some((cut, _)) = message.char_indices().nth(LONGEST_MESSAGE) {
            message.truncate(cut);
            message.push('…');
        }
        ErrorForm { code, desc, message }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let (status, ..) = self.kind();
        let mut response = status.into_response();
        if let Some(wait) = self.retry_after() {
            let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds.max(1)));
        }
        if matches!(self, Self::Unauthorized(_)) {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response.extensions_mut().insert(self.form());
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_scheduler_s_codes_become_those_of_the_api() {
        for (code, status) in [
            (Code::InvalidArgument, 400),
            (Code::NotFound, 404),
            (Code::AlreadyExists, 409),
            (Code::FailedPrecondition, 409),
            (Code::PermissionDenied, 403),
            (Code::ResourceExhausted, 429),
            (Code::Unavailable, 503),
            (Code::DeadlineExceeded, 503),
            (Code::Unimplemented, 503),
            (Code::Internal, 500),
            (Code::Unknown, 500),
        ] {
            let error = ApiError::of_scheduler(&Status::new(code, "text"));
            assert_eq!(error.kind().0.as_u16(), status, "{code:?}");
        }
    }

    #[test]
    fn a_fault_s_text_stays_inside() {
        let error = ApiError::of_scheduler(&Status::internal("SELECT secret"));
        assert!(!error.form().message.contains("SELECT"));
    }

    #[test]
    fn retry_after_is_in_whole_seconds_rounded_up() {
        let error = ApiError::TooFast { message: String::new(), retry_after: Duration::from_millis(1_001) };
        assert_eq!(error.into_response().headers()[header::RETRY_AFTER], "2");
        let error = ApiError::TooFast { message: String::new(), retry_after: Duration::ZERO };
        assert_eq!(error.into_response().headers()[header::RETRY_AFTER], "1");
    }

    #[test]
    fn a_long_message_is_cut() {
        let error = ApiError::BadRequest("ä".repeat(5_000));
        assert_eq!(error.form().message.chars().count(), LONGEST_MESSAGE + 1);
    }
}
