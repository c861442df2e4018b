//! A run under faults, and how it is judged.
//!
//! Problem: under random faults nobody can say beforehand what a call answers, only what may never be. So a run collects
//! evidence from three sides that know nothing of one another: what the callers were told and when, the rows of the
//! database, and the KMS end's own log; the promises are then checked over the evidence.
//!
//! Invariants: the checker is a pure function, so that it can be fed histories that no healthy stack makes, one for each
//! promise; the schedule of faults is a pure function of its seed, so that a run that broke a promise can be run again. (The
//! processes' own timing is not in our hand: the same seed strikes the same way, not at the same instruction.)
//!
//! Why each job has keys of its own: KMS cannot tell whose request it got. With keys that no other job names, every
//! request for a key is its job's, and one that should not have been is known for certain.

pub mod chance;
pub mod checker;
#[cfg(test)]
mod checker_tests;
mod clients;
mod clocks;
mod collect;
pub mod evidence;
mod links;
pub mod pauses;
mod record;
mod report;
mod run;
pub mod schedule;
mod strike;
mod upgrade;

pub use checker::{Promise, Violation, check};
pub use evidence::Evidence;
pub use report::{Figures, Outcome, table};
pub use run::{Extent, run};
pub use schedule::{Fault, Moment, Schedule};
pub use upgrade::upgrade;
