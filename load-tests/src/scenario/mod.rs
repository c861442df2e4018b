//! The scenarios, one file each.

mod engine;

use anyhow::{Context, Result};
use tokio::runtime::Runtime;

use crate::report::{Places, Report};

/// What can be measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::Subcommand)]
pub enum Scenario {
    /// Keys a second and CPU a key, against the bare SDK loop.
    Engine,
}

/// How much of a scenario is run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Extent {
    /// Hardly anything: shows that the scenario works, not how fast Keyfleet is.
    Tiny,
    /// Some minutes.
    Short,
    /// The whole matrix.
    Full,
}

impl Scenario {
    /// All of them, in the order in which `all` runs them.
    pub const ALL: [Self; 1] = [Self::Engine];

    /// Its name, which is that of its result's file.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Engine => "engine",
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
        }
    }
}
