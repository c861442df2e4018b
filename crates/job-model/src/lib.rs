//! What a bulk job is: ids, operations, keys, states, and the decision core.
//!
//! Everything here is pure: no I/O, no clock, no randomness of its own. The services act on what this crate decides,
//! the tests and the model check walk it, and the database's CHECK constraints repeat its words.

pub mod forecast;
pub mod ids;
pub mod key;
pub mod lane;
pub mod moment;
pub mod operation;
pub mod outcome;
pub mod places;
pub mod plan;
pub mod quota;
pub mod state;
pub mod tenant;

pub use forecast::Forecast;
pub use ids::{ContainerId, GoId, JobId, ResourceId, SyncId, TaskRef, WorkerId};
pub use key::{KeyAddress, KeyName};
pub use lane::{Lane, Reading};
pub use moment::Moment;
pub use operation::{Operation, Request};
pub use outcome::{AgainReason, Outcome, Refusal};
pub use plan::{KeyState, Observed, Plan};
pub use state::{JobState, OverallStatus, TaskState};
pub use tenant::Tenant;

use std::time::Duration;

/// The longest one KMS request may take, connecting included (the *operation timeout*). Who takes over from a lost
/// worker waits this long after its lease before it trusts that nothing of it is under way.
pub const OPERATION_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a write of ours makes a contradicting reading doubtful: KMS reads may lag its writes by seconds, and this
/// leaves a wide margin.
pub const WRITE_MEMORY: Duration = Duration::from_secs(5 * 60);

/// How long a doubtful key is looked at in vain before its task ends `OutcomeUnknown`.
pub const LOOK_FOR: Duration = Duration::from_secs(5 * 60);

/// Jobs up to this many keys carry their keys in create, list and cancel answers.
pub const SMALL_JOB: usize = 1_000;
