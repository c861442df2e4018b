//! The simulator as its clients meet it: raw requests over HTTP.
//!
//! One binary for all of them, because linking costs more than running. The clock is the tests' own wherever time
//! counts, and what must have happened first is waited for, never slept for.

#![expect(clippy::unwrap_used, reason = "a test that fails may panic, its helpers too")]

mod admin;
mod client;
mod faults;
mod key_states;
mod lists;
mod names;
mod policies;
mod read_lag;
mod throttling;
