//! The vocabulary of the whole-stack tests: a running Keyfleet, its callers, their jobs, and the KMS end.
//!
//! Problem: a promise is only shown when every real part takes part in it, seen from where a user sees it: the REST API
//! on one side, the KMS end's own log and key states on the other.
//!
//! Invariants: tests call nothing but the public API, the simulator's `/_sim` and the parts' processes; they wait at
//! barriers (so many requests held, so many keys done, a flag to be read), never for a guessed time; a wait fails only
//! when something hangs ([`patience`]).
//!
//! Why scenarios in sequence over one stack: a stack costs seconds to start and both cores of a small machine to run.

pub mod caller;
pub mod chaos;
pub mod job;
pub mod kms_end;
pub mod offers;
pub mod patience;
pub mod scenarios;
pub mod stack;
pub mod verdict;

pub use caller::{Answer, Caller};
pub use dev_stack::{ServersFrom, Signal, StackSettings};
pub use job::{Counts, Job, JobView};
pub use kms_end::{KmsEnd, Row};
pub use scenarios::Scenarios;
pub use stack::Keyfleet;
