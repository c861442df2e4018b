//! The `chaos` command: what `make chaos` calls.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result};
use clap::Parser;
use end_to_end::chaos::pauses::{Break, pause};
use end_to_end::chaos::{self, Extent, Schedule};

/// Breaks whole stacks by a seeded schedule while clients use them, and counts the promises that were broken.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    /// How many runs, each with the next seed.
    #[arg(long, default_value_t = 1)]
    runs: u64,
    /// The first run's seed. The same seed strikes the same parts at the same times.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Faults in a run.
    #[arg(long, default_value_t = 16)]
    faults: usize,
    /// Seconds within which they begin.
    #[arg(long, default_value_t = 25)]
    seconds: u64,
    /// Measure how long work pauses when one thing breaks, each in a stack of its own, instead: part of a name, or all.
    #[arg(long, num_args = 0..=1, default_missing_value = "")]
    pauses: Option<String>,
    /// Instead of faults: a rolling restart from the programs in this folder to those beside this one.
    #[arg(long)]
    upgrade_from: Option<PathBuf>,
    /// Say which faults would strike when, and run nothing.
    #[arg(long)]
    plan: bool,
    /// Where the logs and the evidence of a failed run are left.
    #[arg(long, default_value = "chaos-results")]
    keep: PathBuf,
}

#[tokio::main]
async fn main() -> ExitCode {
    match run(Arguments::parse()).await {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            // Not 1, which says that a promise was broken.
            eprintln!("{error:#}");
            ExitCode::from(2)
        }
    }
}

/// Whether every promise was kept in every run.
async fn run(arguments: Arguments) -> Result<bool> {
    let Arguments { runs, seed, faults, seconds, pauses, upgrade_from, plan, keep } = arguments;
    if let Some(part) = pauses {
        for what in Break::ALL.into_iter().filter(|what| format!("{what:?}").contains(&part)) {
            println!("{}", pause(what).await?);
        }
        return Ok(true);
    }
    let extent = Extent { faults, span: Duration::from_secs(seconds) };
    let mut outcomes = Vec::new();
    let seeds = (0..runs).map(|run| seed.wrapping_add(run));
    if plan {
        seeds.for_each(|seed| print!("{}", Schedule::of(seed, extent.faults, extent.span)));
        return Ok(true);
    }
    for seed in seeds {
        let outcome = match &upgrade_from {
            None => chaos::run(seed, extent, &keep).await?,
            Some(old) => {
                let own = std::env::current_exe().context("the folder of the new programs")?;
                chaos::upgrade(old, own.parent().unwrap_or(&own), seed, &keep).await?
            }
        };
        println!("{outcome}");
        if !outcome.violations.is_empty() {
            print!("{}", outcome.schedule);
            for violation in &outcome.violations {
                println!("  {violation}");
            }
            println!("  Logs and evidence are in {}; again: make chaos RUNS=1 SEED={seed}", keep.display());
        }
        outcomes.push(outcome);
    }
    print!("\n{}", chaos::table(&outcomes));
    Ok(outcomes.iter().all(|outcome| outcome.violations.is_empty()))
}
