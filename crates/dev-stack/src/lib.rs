//! The local stack: a private Postgres, a private RabbitMQ and Keyfleet's services as child processes.
//!
//! Problem: a newcomer, the tests and the benchmarks each need the whole system, on a machine where
//! nothing is set up, several times side by side, and nothing may be left running afterwards.
//!
//! Invariant: every process started here is known by its id and its start time, is in a process
//! session of its own, holds none of its starter's standard streams, and is stopped by that id only.
//!
//! Why plain processes and not containers: tests kill, freeze and restart each of them, and Docker
//! may be missing where the tests run.

mod accounts;
mod keeper;
mod memory;
mod part;
mod patience;
mod ports;
mod postgres;
mod process;
mod rabbitmq;
mod readiness;
pub mod scratch;
mod servers;
mod site;
mod with_servers;

pub use keeper::keep;
pub use servers::{Durability, Servers};
pub use site::Site;
pub use with_servers::with_servers;
