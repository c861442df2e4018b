//! The `dev-stack` command: what the Makefile calls.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

/// Keyfleet's local stack.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    #[command(subcommand)]
    command: Action,
}

#[derive(Subcommand)]
enum Action {
    /// Run a command with a private Postgres and RabbitMQ (DATABASE_URL, AMQP_URL) that end with it.
    WithServers {
        /// The command and its arguments.
        #[arg(last = true, required = true)]
        command: Vec<String>,
    },
    /// Wait for the end of standard input, then stop the stack in a folder and remove it.
    #[command(hide = true)]
    Keep {
        /// The stack's folder.
        root: PathBuf,
        /// The mark of its processes.
        mark: String,
    },
}

fn main() -> Result<ExitCode> {
    match Arguments::parse().command {
        Action::WithServers { command } => {
            let runtime = tokio::runtime::Runtime::new()?;
            Ok(ExitCode::from(
                runtime.block_on(dev_stack::with_servers(&command))?,
            ))
        }
        Action::Keep { root, mark } => {
            dev_stack::keep(&root, &mark)?;
            Ok(ExitCode::SUCCESS)
        }
    }
}
