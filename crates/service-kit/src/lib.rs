//! What every Keyfleet service does the same way: settings, logs, metrics, health, clocks, start and stop.
//!
//! A service's `main` parses its [`settings`] and hands its body to [`service::run`]; everything else here is what the
//! body is given ([`Readiness`], [`Shutdown`]) or asks for ([`clock`], [`retry::Backoff`]).

mod admin;
pub mod clock;
mod process;
pub mod readiness;
pub mod retry;
pub mod service;
pub mod settings;
pub mod shutdown;
mod telemetry;

pub use readiness::{Part, Readiness};
pub use service::{Service, Threads};
pub use shutdown::Shutdown;
