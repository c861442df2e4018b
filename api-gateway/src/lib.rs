//! The REST API: tokens, permissions, validation, error bodies, and the bulk-job calls.
//!
//! The gateway keeps nothing: who calls is in the token, what is true is in the scheduler. Handlers translate between
//! the published REST form and the scheduler's gRPC; every refusal goes through [`error::ApiError`], the only place
//! that knows HTTP statuses. Whatever can be refused without the scheduler is refused before it is asked.

mod answers;
mod app;
mod audit;
mod auth;
mod containers;
mod content;
mod documentation;
mod drain;
mod error;
mod health;
mod jobs;
#[cfg(test)]
mod junk;
mod keys;
mod limits;
mod listing;
mod page;
mod router;
mod scheduler;
mod server;
mod settings;
mod synchronizations;
mod templates;
mod times;

pub use app::App;
pub use auth::Access;
pub use error::ApiError;
pub use router::gateway;
pub use server::{RunError, run};
pub use settings::Settings;
