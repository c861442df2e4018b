//! The KMS end's own view: the simulator's `/_sim`, and the state of each key by DescribeKey.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use reqwest::Client;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::settings::DEFAULT_REGION;
use crate::stack::install_crypto;

/// The simulator takes account and Region from it and does not check the signature.
const UNSIGNED: &str = "AWS4-HMAC-SHA256 Credential=AKIADEVELOPMENTONLY0/20260101/REGION/kms/aws4_request, \
                        SignedHeaders=host;x-amz-date, Signature=0";

#[derive(Debug)]
pub(super) struct KmsEnd {
    http: Client,
    url: String,
}

#[derive(Deserialize)]
struct Row {
    at_ns: u64,
    op: String,
}

impl KmsEnd {
    pub(super) fn new(url: &str) -> Result<Self> {
        install_crypto();
        let http = Client::builder().no_proxy().build().context("cannot build the HTTP client")?;
        Ok(Self { http, url: url.trim_end_matches('/').to_owned() })
    }

    /// Sets how long requests take. `quota` is JSON; `null` leaves it as it is.
    pub(super) async fn configure(&self, quota: &str, mean: u32, p99: u32) -> Result<()> {
        let mut change = json!({"latency_ms": {"mean": mean, "p99": p99}});
        let quota: Value = serde_json::from_str(quota).context("the quota")?;
        if !quota.is_null() {
            change["quota"] = quota;
        }
        self.post("config", &change).await.map(drop)
    }

    /// Makes keys and gives their ids.
    pub(super) async fn make_keys(&self, count: usize, state: &str) -> Result<Vec<String>> {
        let ids = self.post("keys", &json!({"count": count, "state": state})).await?;
        serde_json::from_value(ids).context("the ids of the keys")
    }

    /// Requests so far by operation, whatever their outcome.
    pub(super) async fn requests(&self) -> Result<BTreeMap<String, u64>> {
        let stats: BTreeMap<String, BTreeMap<String, u64>> =
            self.get("stats").await?.json().await.context("the simulator's counts")?;
        Ok(stats.into_iter().map(|(operation, outcomes)| (operation, outcomes.values().sum())).collect())
    }

    /// Mutating requests so far.
    pub(super) async fn mutating_requests(&self) -> Result<u64> {
        let requests = self.requests().await?;
        Ok(requests.iter().filter(|(operation, _)| is_mutating(operation)).map(|(_, count)| count).sum())
    }

    /// Mutating requests that arrived after `at_ns` (wall clock, nanoseconds since 1970).
    pub(super) async fn mutating_since(&self, at_ns: u64) -> Result<usize> {
        let text = self.get("log").await?.text().await.context("the simulator's log")?;
        let rows: Vec<Row> =
            text.lines().map(serde_json::from_str).collect::<Result<_, _>>().context("the simulator's log")?;
        ensure!(!rows.is_empty(), "the simulator's log is empty");
        Ok(rows.iter().filter(|row| row.at_ns > at_ns && is_mutating(&row.op)).count())
    }

    /// The state of each key. Pace and latency are taken off for it.
    pub(super) async fn states(&self, keys: &[String]) -> Result<BTreeMap<String, String>> {
        let before: Value = self.get("config").await?.json().await.context("the simulator's settings")?;
        self.configure(r#""off""#, 0, 0).await?;
        let mut states = BTreeMap::new();
        for key in keys {
            states.insert(key.clone(), self.state(key).await?);
        }
        self.post("config", &json!({"quota": before["quota"], "latency_ms": before["latency_ms"]})).await?;
        Ok(states)
    }

    async fn state(&self, key: &str) -> Result<String> {
        let answer: Value = self
            .http
            .post(&self.url)
            .header("x-amz-target", "TrentService.DescribeKey")
            .header("content-type", "application/x-amz-json-1.1")
            .header("authorization", UNSIGNED.replace("REGION", DEFAULT_REGION))
            .body(json!({"KeyId": key}).to_string())
            .send()
            .await?
            .error_for_status()?
            .json()
            .await?;
        Ok(answer["KeyMetadata"]["KeyState"].as_str().context("DescribeKey's answer has no KeyState")?.to_owned())
    }

    async fn get(&self, what: &str) -> Result<reqwest::Response> {
        Ok(self.http.get(format!("{}/_sim/{what}", self.url)).send().await?.error_for_status()?)
    }

    async fn post(&self, what: &str, body: &Value) -> Result<Value> {
        let answer = self.http.post(format!("{}/_sim/{what}", self.url)).json(body).send().await?;
        let text = answer.error_for_status()?.text().await?;
        if text.is_empty() {
            return Ok(Value::Null);
        }
        serde_json::from_str(&text).with_context(|| format!("the simulator's answer to {what}"))
    }
}

/// AWS names what only reads so.
fn is_mutating(operation: &str) -> bool {
    !["Describe", "Get", "List"].iter().any(|reading| operation.starts_with(reading))
}
