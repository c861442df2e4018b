//! The `dev-stack` command: what the Makefile calls.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};
use tokio::runtime::Runtime;

/// Keyfleet's local stack.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    /// The stack's folder.
    #[arg(long, env = "STACK_DIR", default_value = ".dev")]
    stack_dir: PathBuf,
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
    /// Run a command, then stop whatever stacks it has left running.
    SweepAfter {
        /// The command and its arguments.
        #[arg(last = true, required = true)]
        command: Vec<String>,
    },
    /// Start the stack in the background, or start it anew; returns when it is ready.
    Up,
    /// Stop the stack and keep its data.
    Down,
    /// Start one part again, dead or alive, as it was.
    Restart {
        /// Such as kms-worker-1.
        name: String,
    },
    /// Stop the stack and remove its data.
    Clean,
    /// Run and cancel a bulk job on a stack that is there for that time only.
    Demo,
    /// Wait for the end of standard input, then stop the stack in a folder and remove it.
    #[command(hide = true)]
    Keep {
        /// The stack's folder.
        root: PathBuf,
        /// The mark of its processes.
        mark: String,
    },
}

fn main() -> ExitCode {
    run(Arguments::parse()).unwrap_or_else(|error| {
        // For people: causes in one line, no backtrace.
        eprintln!("{error:#}");
        ExitCode::FAILURE
    })
}

fn run(Arguments { stack_dir, command }: Arguments) -> Result<ExitCode> {
    match command {
        Action::WithServers { command } => {
            return Ok(ExitCode::from(Runtime::new()?.block_on(dev_stack::with_servers(&command))?));
        }
        Action::SweepAfter { command } => {
            return Ok(ExitCode::from(Runtime::new()?.block_on(dev_stack::sweep_after(&command))?));
        }
        Action::Demo => Runtime::new()?.block_on(dev_stack::demo())?,
        Action::Up => dev_stack::up(&stack_dir, &std::env::vars().collect())?,
        Action::Down => dev_stack::down(&stack_dir)?,
        Action::Restart { name } => dev_stack::restart(&stack_dir, &name)?,
        Action::Clean => dev_stack::clean(&stack_dir)?,
        Action::Keep { root, mark } => dev_stack::keep(&root, &mark)?,
    }
    Ok(ExitCode::SUCCESS)
}
