//! A stand-in for AWS KMS: its JSON 1.1 protocol, its key-state table, its quotas; with latency, faults and a log of all
//! requests beside it.
//!
//! The usual emulators say OK where KMS refuses (a key that is pending deletion is enabled), and never throttle. What is
//! built here is measured and tested against those very refusals, so this end makes them: every operation decides by the
//! key's state as AWS documents it, and every account, Region and operation has its quota.
//!
//! It runs as a service (`kms-sim`), or within a test: [`Sim::start`]. The `/_sim` paths steer it over HTTP (listed
//! in `admin`), the methods of [`Sim`] do the same in-process.

mod admin;
mod bucket;
pub mod clock;
mod config;
mod core;
mod credentials;
mod error;
mod faults;
mod hold;
mod input;
mod latency;
mod log;
mod operation;
mod operations;
mod outcome;
mod request;
mod roles;
mod server;
mod sim;
mod stats;
mod store;
mod sts;
mod wire;

pub use admin::{Held, InvalidKeys, NewKeys};
pub use config::{Config, ConfigChange, ConfigError};
pub use error::{ErrorCode, UnknownCode};
pub use faults::{Fault, Faults, NextFault, UnknownFault};
pub use hold::When;
pub use latency::Latency;
pub use log::LogRow;
pub use operation::{Operation, UnknownOperation};
pub use outcome::{Cut, Outcome};
pub use roles::Role;
pub use sim::{Settings, Sim, StartError};
pub use store::KeyState;
