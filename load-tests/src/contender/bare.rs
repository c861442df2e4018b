//! The bare loop: aws-sdk-kms alone, DescribeKey and then EnableKey for each key, so many keys in flight. No queue, no
//! database, no statuses: the limit that nothing built upon this SDK can pass.
//!
//! It has the SDK settings of `kms-worker` (no retries, no time-outs, no stalled-stream protection, credentials from the
//! environment) over the SDK's own HTTP client, where the worker has one of its own. It runs as a process of its own, with
//! the worker's allocator and tokio's usual runtime, so that its CPU time can be told like that of a service.

use std::{
    io::{Read as _, Write as _, stdin},
    process::{Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use anyhow::{Context, Result, bail, ensure};
use aws_config::BehaviorVersion;
use aws_sdk_kms::{
    Client,
    config::{StalledStreamProtectionConfig, retry::RetryConfig, timeout::TimeoutConfig},
};
use serde::{Deserialize, Serialize};
use service_kit::clock;
use tokio::{runtime::Builder, task::JoinSet};

use crate::processes::Snapshot;

/// Keys in flight at once.
pub const IN_FLIGHT: usize = 64;

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

/// What came of a loop.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Loop {
    /// Keys that were enabled.
    pub keys: usize,
    /// Seconds from the first request to the last answer.
    pub seconds: f64,
    /// CPU seconds of the process meanwhile.
    pub cpu_s: f64,
}

/// Runs the loop in a process of its own and waits for its end.
///
/// # Errors
/// When it cannot be started, or a request of it failed.
pub async fn run(endpoint: &str, keys: Vec<String>, threads: Option<usize>) -> Result<Loop> {
    let mut command = Command::new(std::env::current_exe().context("cannot find my own program")?);
    command
        .args(["bare-loop", "--endpoint", endpoint])
        .env("AWS_REGION", end_to_end::kms_end::REGION)
        .env("AWS_ACCESS_KEY_ID", "AKIADEVELOPMENTONLY0")
        .env("AWS_SECRET_ACCESS_KEY", "development-only")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped());
    if let Some(threads) = threads {
        command.args(["--threads", &threads.to_string()]);
    }
    tokio::task::spawn_blocking(move || {
        let mut child = command.spawn().context("cannot start the bare loop")?;
        let mut input = child.stdin.take().context("the bare loop's input")?;
        input.write_all(keys.join("\n").as_bytes()).context("the bare loop takes no keys")?;
        drop(input);
        let output = child.wait_with_output().context("the bare loop")?;
        ensure!(output.status.success(), "the bare loop failed: {}", output.status);
        serde_json::from_slice(&output.stdout).context("the bare loop's result")
    })
    .await?
}

/// The process of its own: keys from standard input, a [`Loop`] to standard output.
///
/// # Errors
/// When a request fails.
pub fn main(arguments: &Arguments) -> Result<()> {
    let runtime = match arguments.threads {
        Some(1) => Builder::new_current_thread().enable_all().build(),
        Some(threads) => Builder::new_multi_thread().worker_threads(threads).enable_all().build(),
        None => Builder::new_multi_thread().enable_all().build(),
    };
    let mut text = String::new();
    stdin().read_to_string(&mut text).context("the keys")?;
    let keys = text.lines().map(ToOwned::to_owned).collect();
    let result = runtime.context("the runtime")?.block_on(drive(arguments, keys))?;
    println!("{}", serde_json::to_string(&result).context("the result")?);
    Ok(())
}

async fn drive(arguments: &Arguments, keys: Vec<String>) -> Result<Loop> {
    let shared = aws_config::defaults(BehaviorVersion::latest()).load().await;
    let config = aws_sdk_kms::config::Builder::from(&shared)
        .endpoint_url(&arguments.endpoint)
        .retry_config(RetryConfig::disabled())
        .timeout_config(TimeoutConfig::disabled())
        .stalled_stream_protection(StalledStreamProtectionConfig::disabled());
    let client = Client::from_conf(config.build());
    let Some(first) = keys.first() else { bail!("no keys on standard input") };
    // The first request sets up much that later ones share.
    client.describe_key().key_id(first).send().await.context("DescribeKey")?;

    let (keys, next) = (Arc::new(keys), Arc::new(AtomicUsize::new(0)));
    let (from, cpu_before) = (clock::boottime(), own_cpu_s()?);
    let mut all = JoinSet::new();
    for _ in 0..arguments.in_flight {
        let (client, keys, next) = (client.clone(), keys.clone(), next.clone());
        all.spawn(async move {
            while let Some(key) = keys.get(next.fetch_add(1, Ordering::Relaxed)) {
                enable(&client, key).await?;
            }
            anyhow::Ok(())
        });
    }
    while let Some(ended) = all.join_next().await {
        ended.context("a task panicked")??;
    }
    let seconds = clock::boottime().since(from).as_secs_f64();
    Ok(Loop { keys: keys.len(), seconds, cpu_s: own_cpu_s()? - cpu_before })
}

async fn enable(client: &Client, key: &str) -> Result<()> {
    let told = client.describe_key().key_id(key).send().await.with_context(|| format!("DescribeKey of {key}"))?;
    let enabled = told.key_metadata.context("an answer without KeyMetadata")?.enabled;
    ensure!(!enabled, "{key} is enabled already: the loop would not do the whole work");
    client.enable_key().key_id(key).send().await.with_context(|| format!("EnableKey of {key}"))?;
    Ok(())
}

fn own_cpu_s() -> Result<f64> {
    Ok(Snapshot::now()?.cpu_alone(std::process::id()).as_secs_f64())
}
