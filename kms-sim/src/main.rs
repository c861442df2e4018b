//! Starts the simulator as a service: settings, then serve until stopped.

use std::{net::SocketAddr, process::ExitCode};

use clap::Parser;
use job_model::quota::Quotas;
use kms_sim::{Config, Settings, Sim, StartError};
use service_kit::settings::{AdminSettings, Invalid};

/// A stand-in for AWS KMS.
#[derive(Clone, Debug, Parser)]
#[command(name = "kms-sim", version)]
struct Arguments {
    /// `host:port` of KMS, STS and /_sim, by plain HTTP; port 0 takes a free one and the log tells it
    #[arg(long, env = "LISTEN")]
    listen: SocketAddr,
    /// requests per second for each account, Region and operation: `aws`, `off`, or like `{"EnableKey": 500}`
    #[arg(long, env = "KEYFLEET_QUOTA", default_value = "aws")]
    keyfleet_quota: Quotas,
    /// the account of access key ids that no account was given for: 12 digits
    #[arg(long, env = "AWS_ACCOUNT_ID", default_value = "111122223333")]
    aws_account_id: String,
    /// the Region of keys that `/_sim/keys` makes without one
    #[arg(long, env = "AWS_REGION", default_value = "us-east-1")]
    aws_region: String,
    #[command(flatten)]
    admin: AdminSettings,
}

fn main() -> ExitCode {
    let arguments: Arguments = service_kit::settings::parse();
    let admin = arguments.admin.clone();
    service_kit::service::run("kms-sim", service_kit::Threads::Cores, &admin, async |service| {
        if !job_model::key::is_account(&arguments.aws_account_id) {
            return Err(Invalid::new("AWS_ACCOUNT_ID", "an account has 12 digits").into());
        }
        let part = service.readiness.part("listener");
        let settings = Settings {
            listen: arguments.listen,
            account: arguments.aws_account_id,
            region: arguments.aws_region,
            config: Config { quota: arguments.keyfleet_quota, ..Config::default() },
            ..Settings::default()
        };
        let sim = match Sim::start(settings).await {
            Ok(sim) => sim,
            Err(StartError::Listen { listen, source }) => {
                return Err(Invalid::new("LISTEN", format!("{listen}: {source}")).into());
            }
            Err(error @ StartError::Config(_)) => return Err(error.into()),
        };
        tracing::info!(listen = %sim.addr(), url = sim.url(), "KMS is simulated here.");
        part.ready();
        service.shutdown.requested().cancelled().await;
        sim.shutdown().await;
        Ok(())
    })
}
