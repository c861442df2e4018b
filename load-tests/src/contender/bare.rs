//! The bare loop: aws-sdk-kms alone, DescribeKey and then EnableKey for each key, so many keys in flight. No queue, no
//! database, no statuses: the limit that nothing built upon this SDK can pass.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use anyhow::{Context, Result};
use service_kit::clock;
use tokio::{runtime::Builder, task::JoinSet};

use super::{Ended, IN_FLIGHT, kms, own_cpu_s};

/// The loop's settings. Region and credentials come from the environment.
#[derive(Debug, Clone, clap::Args)]
pub struct Arguments {
    /// The KMS end.
    #[arg(long)]
    endpoint: String,
    /// Keys in flight at once.
    #[arg(long, default_value_t = IN_FLIGHT)]
    in_flight: usize,
    /// Threads of the runtime; as many as there are cores when it is not given.
    #[arg(long)]
    threads: Option<usize>,
}

/// Runs the loop in a process of its own and waits for its end.
///
/// # Errors
/// When it cannot be started, or a request of it failed.
pub async fn run(endpoint: &str, keys: Vec<String>, threads: Option<usize>) -> Result<Ended> {
    let threads = threads.map(|threads| threads.to_string());
    let mut arguments = vec!["bare-loop", "--endpoint", endpoint];
    if let Some(threads) = &threads {
        arguments.extend(["--threads", threads]);
    }
    super::run(&arguments, keys).await
}

/// The process of its own.
///
/// # Errors
/// When a request fails.
pub fn main(arguments: &Arguments) -> Result<()> {
    let runtime = match arguments.threads {
        Some(1) => Builder::new_current_thread().enable_all().build(),
        Some(threads) => Builder::new_multi_thread().worker_threads(threads).enable_all().build(),
        None => Builder::new_multi_thread().enable_all().build(),
    };
    super::main(runtime, async |keys| drive(arguments, keys).await)
}

async fn drive(arguments: &Arguments, keys: Vec<String>) -> Result<Ended> {
    let client = kms::client(&arguments.endpoint, &keys).await?;
    let (keys, next) = (Arc::new(keys), Arc::new(AtomicUsize::new(0)));
    let (from, cpu_before) = (clock::boottime(), own_cpu_s()?);
    let mut all = JoinSet::new();
    for _ in 0..arguments.in_flight {
        let (client, keys, next) = (client.clone(), keys.clone(), next.clone());
        all.spawn(async move {
            while let Some(key) = keys.get(next.fetch_add(1, Ordering::Relaxed)) {
                kms::enable(&client, key).await?;
            }
            anyhow::Ok(())
        });
    }
    while let Some(ended) = all.join_next().await {
        ended.context("a task panicked")??;
    }
    let seconds = clock::boottime().since(from).as_secs_f64();
    Ok(Ended { keys: keys.len(), seconds, cpu_s: own_cpu_s()? - cpu_before })
}
