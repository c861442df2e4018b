//! The worker's KMS code against KMS ends: kms-sim and moto, and raw sockets where the connection itself is tested.
//!
//! moto is somebody else's reading of AWS's protocol, kms-sim is ours; where both answer they must agree. Where moto is
//! known to say OK although AWS refuses, a table says so and the test fails as soon as it no longer does.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod agreement;
mod connections;
mod end;
mod junk;
mod junk_end;
mod moto;
mod pages;
mod states;
mod transport;
