//! The service from outside: its program with a database and a virtual host of its own, spoken to as gateways and
//! workers do.
//!
//! Nothing here sleeps to let something happen. That something did *not* happen is shown by a fence: a heartbeat sent
//! after the cause, whose lease can only come after whatever the cause brought about.
//!
//! Run it with servers: `cargo run -p dev-stack -- with-servers -- cargo test -p job-scheduler --test service`.

#![expect(clippy::unwrap_used, reason = "in a test, also in what its steps share, a failure is to end it")]

mod containers;
mod create;
mod estate;
mod permissions;
mod process;
mod quotas;
mod reaches;
mod read;
mod refused;
mod run;
mod sessions;
mod settings;
mod site;
mod stop;
mod takeover;
mod worker;

use std::time::Duration;

/// Far above what anything here takes; only a hang reaches it.
const LONG: Duration = Duration::from_secs(60);
/// Between two looks at something that tells nobody when it changes.
const LOOK_EVERY: Duration = Duration::from_millis(20);

async fn in_time<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(LONG, future).await.expect("it takes far too long")
}
