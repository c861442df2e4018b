//! Benchmarks: each scenario is one command that starts a stack, measures, prints a table and writes JSON.
//!
//! Problem: figures of one evening are not comparable with those of another, least of all on two cores that something
//! else uses too.
//!
//! Invariants: what is compared runs in turn within one run, against the same KMS end; every figure stands beside the
//! share of the machine that others used meanwhile; the work is checked (every key has its status) before its time counts.
//!
//! Why over the REST API and `/proc` only: what is measured is what a user gets, and no part needs a hook for it.

pub mod bench;
pub mod contender;
pub mod ending;
pub mod machine;
pub mod meter;
pub mod plot;
pub mod processes;
pub mod report;
pub mod scenario;
pub mod statistics;
pub mod times;
