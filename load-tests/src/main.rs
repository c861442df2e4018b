//! The `load-tests` command: what `make bench` calls.

use std::{path::PathBuf, process::ExitCode};

use anyhow::Result;
use clap::Parser;
#[cfg(feature = "apalis")]
use load_tests::contender::apalis;
use load_tests::{
    contender::bare,
    report::Places,
    scenario::{Extent, Scenario},
};

/// The worker has it too; no contender must be slower for the lack of it.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Measures Keyfleet.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    #[command(subcommand)]
    what: What,
    /// How much of it is run; short of one scenario and brief of all when it is not given.
    #[arg(long, global = true, value_enum)]
    extent: Option<Extent>,
    /// Where `<scenario>.json` is written.
    #[arg(long, global = true, default_value = "bench-results")]
    results: PathBuf,
    /// Where `<scenario>.svg` is written.
    #[arg(long, global = true, default_value = "docs/benchmarks")]
    plots: PathBuf,
}

#[derive(clap::Subcommand)]
enum What {
    /// Every scenario, one after the other.
    All,
    #[command(flatten)]
    One(Scenario),
    /// The bare SDK loop over the key ids on standard input.
    #[command(hide = true)]
    BareLoop(bare::Arguments),
    /// The queue apalis-postgres over the key ids on standard input.
    #[cfg(feature = "apalis")]
    #[command(hide = true)]
    Apalis(apalis::Arguments),
}

fn main() -> ExitCode {
    run(Arguments::parse()).map_or_else(
        |error| {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        },
        |()| ExitCode::SUCCESS,
    )
}

fn run(Arguments { what, extent, results, plots }: Arguments) -> Result<()> {
    let places = Places { results, plots };
    let (of_all, of_one) = (extent.unwrap_or(Extent::Brief), extent.unwrap_or(Extent::Short));
    match what {
        What::All => Scenario::ALL.iter().try_for_each(|scenario| scenario.run_and_tell(of_all, &places)),
        What::One(scenario) => scenario.run_and_tell(of_one, &places),
        What::BareLoop(arguments) => bare::main(&arguments),
        #[cfg(feature = "apalis")]
        What::Apalis(arguments) => apalis::main(&arguments),
    }
}
