//! Keeps bulk jobs in Postgres, hands out their tasks, and stops them on demand.
//!
//! `rpc` answers gateways and workers, `leader` decides who leads and runs the leader's loop, `board` is what that loop
//! thinks with (pure), `containers` says where keys live (pure) and `estates` keeps them, `policies` makes key policies
//! (pure), `quotas` follows the file of quotas, and `store` is the truth in Postgres.

pub mod board;
pub mod containers;
pub mod estates;
pub mod leader;
pub mod policies;
pub mod quotas;
pub mod rpc;
pub mod service;
pub mod settings;
pub mod store;

use std::sync::Arc;

use job_model::places::PlaceQuotas;
use service_kit::readiness::Part;
use task_queue::Broker;
use tokio::sync::watch;
use uuid::Uuid;

use crate::{estates::Estates, settings::Terms, store::Store};

/// What all parts of a scheduler share. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Context {
    /// This process, made at its start.
    pub id: Uuid,
    /// The truth.
    pub store: Store,
    /// Commands and work.
    pub broker: Broker,
    /// Whether the database answers.
    pub database: Part,
    /// The numbers it works by.
    pub settings: Arc<Terms>,
    /// The pace of each lane, as it is now.
    pub quotas: watch::Receiver<PlaceQuotas>,
    /// Where keys live, and who may use them.
    pub estates: Estates,
}
