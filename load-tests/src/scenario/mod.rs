//! The scenarios, one file each.

mod api;
mod cancel;
mod engine;
mod fair;
mod idle;
mod latency;
mod pace;
mod scale;
mod soak;

use anyhow::{Context, Result};
use tokio::runtime::Runtime;

use crate::report::{Places, Report};

/// What can be measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::Subcommand)]
pub enum Scenario {
    /// Keys a second and CPU a key, against the bare SDK loop.
    Engine,
    /// The answer time of cancels under load, and late requests.
    Cancel,
    /// A job of two keys from POST to `completed`.
    Latency,
    /// Memory and CPU with nothing to do.
    Idle,
    /// Time, CPU and memory by the size of a job.
    Scale,
    /// The share of each lane's quota that is used, and of requests that are throttled.
    Pace,
    /// A small job behind huge ones.
    Fair,
    /// Requests a second of get and list.
    Api,
    /// Whether anything grows over time.
    Soak,
}

/// How much of a scenario is run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Extent {
    /// Hardly anything: shows that the scenario works, not how fast Keyfleet is.
    Tiny,
    /// A minute or so: what `all` runs.
    Brief,
    /// Some minutes.
    Short,
    /// The whole matrix.
    Full,
}

impl Scenario {
    /// All of them, in the order in which `all` runs them.
    pub const ALL: [Self; 9] = [
        Self::Engine,
        Self::Cancel,
        Self::Latency,
        Self::Idle,
        Self::Scale,
        Self::Pace,
        Self::Fair,
        Self::Api,
        Self::Soak,
    ];

    /// Its name, which is that of its result's file.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Engine => "engine",
            Self::Cancel => "cancel",
            Self::Latency => "latency",
            Self::Idle => "idle",
            Self::Scale => "scale",
            Self::Pace => "pace",
            Self::Fair => "fair",
            Self::Api => "api",
            Self::Soak => "soak",
        }
    }

    /// Runs it, prints and writes what was found.
    ///
    /// # Errors
    /// When a part does not start or does wrong, or the result cannot be written.
    pub fn run_and_tell(self, extent: Extent, places: &Places) -> Result<()> {
        println!("{}", self.name());
        let report = Runtime::new().context("the runtime")?.block_on(self.run(extent))?;
        report.tell(self.name(), extent == Extent::Full, places)
    }

    /// Runs it.
    ///
    /// # Errors
    /// When a part does not start or does wrong.
    pub async fn run(self, extent: Extent) -> Result<Report> {
        match self {
            Self::Engine => engine::run(extent).await,
            Self::Cancel => cancel::run(extent).await,
            Self::Latency => latency::run(extent).await,
            Self::Idle => idle::run(extent).await,
            Self::Scale => scale::run(extent).await,
            Self::Pace => pace::run(extent).await,
            Self::Fair => fair::run(extent).await,
            Self::Api => api::run(extent).await,
            Self::Soak => soak::run(extent).await,
        }
    }
}
