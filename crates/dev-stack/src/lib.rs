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
mod commands;
mod demo;
mod env_file;
mod keeper;
mod launch;
mod memory;
mod part;
mod patience;
mod ports;
mod postgres;
mod process;
mod rabbitmq;
mod readiness;
mod relay;
pub mod scratch;
mod servers;
mod services;
mod settings;
mod site;
mod stack;
mod tls;
mod users;
mod with_servers;

pub use commands::{clean, down, restart, up};
pub use demo::demo;
pub use keeper::keep;
pub use ports::free as free_port;
pub use relay::{Net, Relay};
pub use rustix::process::Signal;
pub use servers::{Durability, Given, Wire, server_versions};
pub use settings::{ServersFrom, StackSettings};
pub use stack::Stack;
pub use users::{User, Users};
pub use with_servers::{sweep_after, with_servers};
