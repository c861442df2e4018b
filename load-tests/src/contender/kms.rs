//! The work of one key: DescribeKey and then EnableKey.

use anyhow::{Context, Result, ensure};
use aws_config::BehaviorVersion;
use aws_sdk_kms::{
    Client,
    config::{StalledStreamProtectionConfig, retry::RetryConfig, timeout::TimeoutConfig},
};

/// A client with the SDK settings of `kms-worker` (no retries, no time-outs, no stalled-stream protection, credentials from the
/// environment) over the SDK's own HTTP client, where the worker has one of its own.
///
/// # Errors
/// When there are no keys, or the first cannot be described.
pub(super) async fn client(endpoint: &str, keys: &[String]) -> Result<Client> {
    let shared = aws_config::defaults(BehaviorVersion::latest()).load().await;
    let config = aws_sdk_kms::config::Builder::from(&shared)
        .endpoint_url(endpoint)
        .retry_config(RetryConfig::disabled())
        .timeout_config(TimeoutConfig::disabled())
        .stalled_stream_protection(StalledStreamProtectionConfig::disabled());
    let client = Client::from_conf(config.build());
    let first = keys.first().context("no keys on standard input")?;
    // The first request sets up much that later ones share.
    client.describe_key().key_id(first).send().await.context("DescribeKey")?;
    Ok(client)
}

/// Enables a key that is disabled.
///
/// # Errors
/// When it is enabled already, or a request fails.
pub(super) async fn enable(client: &Client, key: &str) -> Result<()> {
    let told = client.describe_key().key_id(key).send().await.with_context(|| format!("DescribeKey of {key}"))?;
    let enabled = told.key_metadata.context("an answer without KeyMetadata")?.enabled;
    ensure!(!enabled, "{key} is enabled already: this would not be the whole work");
    client.enable_key().key_id(key).send().await.with_context(|| format!("EnableKey of {key}"))?;
    Ok(())
}
