//! What KMS answered, and what an answer means for the task.
//!
//! Retried are only answers that may be different next time; a request whose effect is unknown is told apart from one
//! that surely changed nothing, because a stopped job must look at the former's key before it says `Canceled`.

use crate::Forecast;

/// KMS's refusal, in its own words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The error code, e.g. `NotFoundException`; `Http<status>` when the answer carried none.
    pub code: String,
    /// The text beside it.
    pub text: String,
    /// The HTTP status.
    pub status: u16,
}

/// Why a KMS request did not succeed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// KMS answered, and refused.
    Refused(Refusal),
    /// It never left: no connection could be made in time.
    Unsent(String),
    /// It left, and no answer came in time.
    Unanswered(String),
    /// The abort flag, the lease or the Go forbade it at the last moment; it never left.
    Void,
}

/// How one try of a task ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Final: the key is in the asked state.
    Succeeded {
        /// It was so before, without a call of ours.
        already: bool,
    },
    /// Final: KMS refused.
    Refused(Refusal),
    /// Not final: try again later.
    Again {
        /// Why.
        reason: AgainReason,
        /// What KMS or the connection said.
        said: Refusal,
    },
    /// Final, of a dry run: what a run would come to.
    Foretold(Forecast),
    /// Nothing that changes a key was begun: the flag, the lease or a new session voided the Go.
    Unstarted,
}

/// Why a task must try again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AgainReason {
    /// An observe-only Go found that the call is needed.
    NeedsActing,
    /// KMS refused for pace: nothing was changed.
    Throttled,
    /// A refusal or fault that passes; nothing can have been changed.
    Unavailable,
    /// A mutating request went out and its effect is not known.
    Unanswered,
}

impl AgainReason {
    /// Whether the key may have been changed by the try.
    pub const fn doubtful(self) -> bool {
        match self {
            Self::Unanswered => true,
            Self::NeedsActing | Self::Throttled | Self::Unavailable => false,
        }
    }
}

/// What a refusal means.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Meaning {
    /// It will be refused again: tell it.
    Final,
    /// Too fast: nothing was changed.
    Throttled,
    /// It passes; nothing was changed.
    Passing,
    /// A fault inside KMS: the change may have happened all the same.
    Unclear,
    /// The key's state did not allow it.
    InvalidState,
}

impl Refusal {
    /// What it means, from AWS's list of errors (developer guide, "Error responses" of each operation).
    pub fn meaning(&self) -> Meaning {
        match self.code.as_str() {
            // AWS answers throttling with status 400; the other spellings are those of its shared front ends.
            "ThrottlingException" | "Throttling" | "TooManyRequestsException" | "RequestLimitExceeded" => {
                Meaning::Throttled
            }
            "KeyUnavailableException" => Meaning::Passing,
            "DependencyTimeoutException" | "KMSInternalException" => Meaning::Unclear,
            "KMSInvalidStateException" => Meaning::InvalidState,
            _ if self.status == 429 => Meaning::Throttled,
            _ if self.status >= 500 => Meaning::Unclear,
            _ => Meaning::Final,
        }
    }

    /// Whether it says that there is no such key.
    pub fn says_not_found(&self) -> bool {
        matches!(self.code.as_str(), "NotFoundException" | "InvalidArnException")
    }
}
