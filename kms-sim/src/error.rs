//! What KMS says when it refuses.
//!
//! Over the wire the JSON 1.1 protocol knows two statuses for modelled errors, 400 for the caller's and 500 for its
//! own: ThrottlingException is a 400, and NotFoundException is no 404. Clients go by `__type`.

use std::{fmt, str::FromStr};

/// Defines the enum with names and statuses in one table.
macro_rules! codes {
    ($($variant:ident = $name:literal, $status:literal;)+) => {
        /// An error code, as it stands in `__type`.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[expect(missing_docs, reason = "the names are AWS's, and are their own description")]
        pub enum ErrorCode { $($variant),+ }

        impl ErrorCode {
            /// All of them.
            pub const ALL: [Self; Self::COUNT] = [$(Self::$variant),+];
            /// How many there are.
            pub const COUNT: usize = [$($status),+].len();

            /// AWS's name.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name),+ }
            }

            /// The HTTP status it comes with.
            pub const fn status(self) -> u16 {
                match self { $(Self::$variant => $status),+ }
            }
        }

        impl FromStr for ErrorCode {
            type Err = UnknownCode;
            fn from_str(text: &str) -> Result<Self, Self::Err> {
                match text {
                    $($name => Ok(Self::$variant),)+
                    unknown => Err(UnknownCode(unknown.to_owned())),
                }
            }
        }
    };
}

codes! {
    AccessDenied = "AccessDeniedException", 400;
    AlreadyExists = "AlreadyExistsException", 400;
    DependencyTimeout = "DependencyTimeoutException", 500;
    Disabled = "DisabledException", 400;
    ExpiredToken = "ExpiredTokenException", 400;
    IncompleteSignature = "IncompleteSignatureException", 400;
    InvalidAliasName = "InvalidAliasNameException", 400;
    InvalidArn = "InvalidArnException", 400;
    InvalidMarker = "InvalidMarkerException", 400;
    KeyUnavailable = "KeyUnavailableException", 500;
    KmsInternal = "KMSInternalException", 500;
    KmsInvalidState = "KMSInvalidStateException", 400;
    LimitExceeded = "LimitExceededException", 400;
    MalformedPolicyDocument = "MalformedPolicyDocumentException", 400;
    MissingAuthenticationToken = "MissingAuthenticationTokenException", 400;
    NotFound = "NotFoundException", 400;
    Serialization = "SerializationException", 400;
    // No KMS code: what a load balancer in between says, 503 with HTML. Clients must cope with an answer without code.
    ServiceUnavailable = "ServiceUnavailable", 503;
    Tag = "TagException", 400;
    Throttling = "ThrottlingException", 400;
    UnknownOperation = "UnknownOperationException", 400;
    UnrecognizedClient = "UnrecognizedClientException", 400;
    UnsupportedOperation = "UnsupportedOperationException", 400;
    Validation = "ValidationException", 400;
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// No error code that the simulator can answer with.
#[derive(Debug, thiserror::Error)]
#[error("kms-sim knows no error code {0:?}")]
pub struct UnknownCode(pub String);

/// A refusal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct KmsError {
    pub(crate) code: ErrorCode,
    pub(crate) message: String,
}

impl KmsError {
    pub(crate) fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }

    /// A parameter out of its range, in the words AWS's validation layer uses. `value` is `null` or quoted by the
    /// caller.
    pub(crate) fn validation(value: &str, field: &str, constraint: &str) -> Self {
        Self::new(
            ErrorCode::Validation,
            format!(
                "1 validation error detected: Value {value} at '{field}' failed to satisfy constraint: Member must {constraint}"
            ),
        )
    }

    /// A required parameter that is missing.
    pub(crate) fn missing(field: &str) -> Self {
        Self::validation("null", field, "not be null")
    }

    /// What is said when the code was asked for by the configuration.
    pub(crate) fn injected(code: ErrorCode) -> Self {
        let message = match code {
            ErrorCode::Throttling => "Rate exceeded",
            ErrorCode::DependencyTimeout => "The system timed out while trying to fulfill the request.",
            ErrorCode::KmsInternal => "An internal error occurred. The request can be retried.",
            ErrorCode::KeyUnavailable => "The specified KMS key was not available. The request can be retried.",
            ErrorCode::AccessDenied => "User is not authorized to perform this operation.",
            ErrorCode::ExpiredToken => "The security token included in the request is expired",
            ErrorCode::UnrecognizedClient => "The security token included in the request is invalid.",
            ErrorCode::AlreadyExists
            | ErrorCode::Disabled
            | ErrorCode::IncompleteSignature
            | ErrorCode::InvalidAliasName
            | ErrorCode::InvalidArn
            | ErrorCode::InvalidMarker
            | ErrorCode::KmsInvalidState
            | ErrorCode::LimitExceeded
            | ErrorCode::MalformedPolicyDocument
            | ErrorCode::MissingAuthenticationToken
            | ErrorCode::NotFound
            | ErrorCode::Serialization
            | ErrorCode::ServiceUnavailable
            | ErrorCode::Tag
            | ErrorCode::UnknownOperation
            | ErrorCode::UnsupportedOperation
            | ErrorCode::Validation => "An injected fault.",
        };
        Self::new(code, message)
    }
}
