//! Finds the leading scheduler among its replicas and speaks gRPC to it.
//!
//! There is one leader and any number of standbys; who leads changes without notice, and a standby refuses every call
//! with UNAVAILABLE. So a client knows all replicas, goes to the one whose gRPC health is SERVING, keeps to it while it
//! answers, and looks again when it does not. The health answer is only a hint (a frozen leader may still say SERVING
//! when it thaws); what a call does is guarded by the scheduler itself.
//!
//! ```no_run
//! # async fn example() -> anyhow::Result<()> {
//! # let request = keyfleet_proto::jobs::v1::GetJobRequest::default();
//! let leader = scheduler_client::Leader::new(vec!["http://127.0.0.1:7000".into()])?;
//! let mut jobs = leader.jobs().await?;
//! if let Err(status) = jobs.get_job(request).await {
//!     leader.note(&status);
//! }
//! # Ok(()) }
//! ```

mod leader;
mod replica;
mod tls;

pub use leader::{Leader, NoLeader};
pub use tls::SchedulerTls;

/// The name under which a scheduler reports its gRPC health: SERVING on the leader, NOT_SERVING on a standby.
pub const HEALTH_SERVICE: &str = "keyfleet";

pub use keyfleet_proto::MAX_MESSAGE;
