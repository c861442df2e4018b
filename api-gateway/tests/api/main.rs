//! The gateway from outside: what goes in by REST, what comes out, and what the scheduler is asked in between.
//!
//! The scheduler is played by a small gRPC server ([`stand_in`]): these tests are about shapes, statuses and streams.
//! What the real one does with the questions is tested end to end.

#![expect(clippy::unwrap_used, reason = "a test ends where it fails")]

mod auditing;
mod cancelling;
mod containers;
mod creating;
mod documentation;
mod estate;
#[path = "../../src/junk.rs"]
mod junk;
mod junk_requests;
mod logging_in;
mod reading;
mod refusals;
mod rights;
mod sessions;
mod stand_in;
mod stand_in_containers;
mod stand_in_estate;
mod stand_in_sessions;
mod stand_in_templates;
mod support;
mod templates;
mod tls;
