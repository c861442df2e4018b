//! The worker's protocol from outside: a real RabbitMQ, kms-sim, and a leader played by the test.
//!
//! Needs RabbitMQ: run it within `dev-stack with-servers -- …`, as `make test` does.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod abort;
mod drain;
mod leader;
mod lease;
mod process;
mod reach;
mod setup;
mod task;
