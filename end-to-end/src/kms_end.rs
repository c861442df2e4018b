//! The KMS end's own view: what arrived there, and the state its keys are in.
//!
//! Promises are measured here and nowhere else. The simulator's log holds every request from its arrival on, and a key's
//! state is asked for as any KMS client does, with DescribeKey.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use reqwest::{Client, RequestBuilder};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::patience::HANG;

/// The account of bare key ids in a stack of a test.
pub const ACCOUNT: &str = "111122223333";
/// The Region of bare key ids in a stack of a test.
pub const REGION: &str = "us-east-1";

/// Keys whose state is asked for at once.
const ASKED_AT_ONCE: usize = 16;

/// One request, as the log tells it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Row {
    /// Its number, in the order of arrival.
    pub n: u64,
    /// When it arrived: wall clock, nanoseconds since 1970.
    pub at_ns: u64,
    /// The account of the credentials it was signed with.
    pub account: String,
    /// The Region it was signed for.
    pub region: String,
    /// The operation.
    pub op: String,
    /// The bare id of its key.
    pub key: Option<String>,
    /// The HTTP status; 0 while nothing is decided, or when it was cut off.
    pub status: u16,
    /// The error code or the fault.
    pub error: Option<String>,
    /// From its arrival to its answer, in microseconds; `None` while there is none.
    pub took_us: Option<u32>,
}

impl Row {
    /// Whether the request could change a key: AWS names what only reads `Describe…`, `Get…` and `List…`.
    #[must_use]
    pub fn is_mutating(&self) -> bool {
        !["Describe", "Get", "List"].iter().any(|reading| self.op.starts_with(reading))
    }
}

/// The simulator.
#[derive(Clone, Debug)]
pub struct KmsEnd {
    http: Client,
    url: String,
}

impl KmsEnd {
    /// The simulator at `url`.
    ///
    /// # Errors
    /// When no HTTP client can be made.
    pub fn at(url: &str) -> Result<Self> {
        let http = Client::builder().no_proxy().timeout(HANG).build().context("cannot build the HTTP client")?;
        Ok(Self { http, url: url.trim_end_matches('/').to_owned() })
    }

    /// Changes the configuration, like `{"latency_ms": {"mean": 20}}`.
    ///
    /// # Errors
    /// When it is refused.
    pub async fn configure(&self, change: &Value) -> Result<()> {
        self.post("config", change).await.map(drop)
    }

    /// Quick, without faults, nothing held, without quotas: how each scenario finds it.
    ///
    /// # Errors
    /// When it is refused.
    pub async fn calm(&self) -> Result<()> {
        let calm = json!({"quota": "off", "latency_ms": {"mean": 0}, "faults": {}, "next": [], "read_lag_ms": 0});
        self.configure(&calm).await?;
        self.release().await
    }

    /// Makes keys in a state and gives their ids.
    ///
    /// # Errors
    /// When it is refused.
    pub async fn make_keys(&self, count: usize, state: &str) -> Result<Vec<String>> {
        self.make_keys_as(&json!({"count": count, "state": state})).await
    }

    /// Makes keys from a whole body.
    ///
    /// # Errors
    /// When it is refused.
    pub async fn make_keys_as(&self, body: &Value) -> Result<Vec<String>> {
        serde_json::from_value(self.post("keys", body).await?).context("the ids of the keys")
    }

    /// Gives roles rules for who may assume them, by ARN.
    ///
    /// # Errors
    /// When it is refused.
    pub async fn rule_roles(&self, rules: &Value) -> Result<()> {
        self.post("roles", rules).await.map(drop)
    }

    /// From now on requests of this operation wait before they take effect.
    ///
    /// # Errors
    /// When it is refused.
    pub async fn hold(&self, op: &str) -> Result<()> {
        self.post("hold", &json!({"op": op})).await.map(drop)
    }

    /// Lets everything that is held go on.
    ///
    /// # Errors
    /// When it is refused.
    pub async fn release(&self) -> Result<()> {
        self.post("release", &json!({})).await.map(drop)
    }

    /// Waits until at least so many requests are held.
    ///
    /// # Errors
    /// When they never are.
    pub async fn wait_until_held(&self, requests: usize) -> Result<()> {
        let waiting = self.http.get(format!("{}/_sim/held?at_least={requests}", self.url)).send();
        waiting.await.with_context(|| format!("never were {requests} requests held"))?.error_for_status()?;
        Ok(())
    }

    /// The number of the last request that has arrived.
    ///
    /// # Errors
    /// When there is no answer.
    pub async fn mark(&self, at_least: u64) -> Result<u64> {
        Ok(self.log_after(at_least).await?.last().map_or(at_least, |row| row.n))
    }

    /// All requests that arrived after the one of this number.
    ///
    /// # Errors
    /// When there is no answer.
    pub async fn log_after(&self, n: u64) -> Result<Vec<Row>> {
        let answer =
            self.http.get(format!("{}/_sim/log?after={n}&took=1", self.url)).send().await?.error_for_status()?;
        let text = answer.text().await?;
        text.lines().map(serde_json::from_str).collect::<Result<_, _>>().context("the simulator's log")
    }

    /// The mutating requests for these keys so far, in the order of arrival.
    ///
    /// # Errors
    /// When there is no answer.
    pub async fn log_of(&self, keys: &[String]) -> Result<Vec<Row>> {
        let keys: BTreeSet<&str> = keys.iter().map(String::as_str).collect();
        let mut rows = self.log_after(0).await?;
        rows.retain(|row| row.is_mutating() && row.key.as_deref().is_some_and(|key| keys.contains(key)));
        Ok(rows)
    }

    /// The state of each key now, by the id or ARN it is named by. A read lag is taken off for it.
    ///
    /// # Errors
    /// When a key is not there.
    pub async fn states(&self, keys: &[String]) -> Result<BTreeMap<String, String>> {
        self.configure(&json!({"read_lag_ms": 0, "latency_ms": {"mean": 0}})).await?;
        let asking = keys.iter().map(|key| async move {
            let told = self.ask("DescribeKey", key, region_of(key)).await?;
            let state = told["KeyMetadata"]["KeyState"].as_str().context("DescribeKey's answer has no KeyState")?;
            Ok((key.clone(), state.to_owned()))
        });
        stream::iter(asking).buffer_unordered(ASKED_AT_ONCE).try_collect().await
    }

    /// What a reading operation answers about a key.
    ///
    /// # Errors
    /// When it is refused.
    pub async fn ask(&self, op: &str, key: &str, region: &str) -> Result<Value> {
        let input = json!({"KeyId": key});
        self.request(op, &input, region).await.with_context(|| format!("{op} of {key}"))
    }

    /// What an operation answers; null when it tells nothing.
    ///
    /// # Errors
    /// When it is refused.
    pub async fn request(&self, op: &str, input: &Value, region: &str) -> Result<Value> {
        let text = self.prepare(op, input, region).send().await?.error_for_status()?.text().await?;
        if text.is_empty() { Ok(Value::Null) } else { serde_json::from_str(&text).context("a KMS answer") }
    }

    /// Sends a request as some other client of the account would, and gives the status it is answered with.
    ///
    /// # Errors
    /// When there is no answer.
    pub async fn send(&self, op: &str, key: &str, region: &str) -> Result<u16> {
        Ok(self.prepare(op, &json!({"KeyId": key}), region).send().await?.status().as_u16())
    }

    fn prepare(&self, op: &str, input: &Value, region: &str) -> RequestBuilder {
        // The simulator takes account and Region from the credential and does not check the signature.
        let unsigned = format!(
            "AWS4-HMAC-SHA256 Credential=AKIAENDTOENDTESTS000/20260101/{region}/kms/aws4_request, \
             SignedHeaders=host;x-amz-date, Signature=0"
        );
        self.http
            .post(&self.url)
            .header("x-amz-target", format!("TrentService.{op}"))
            .header("content-type", "application/x-amz-json-1.1")
            .header("authorization", unsigned)
            .body(input.to_string())
    }

    async fn post(&self, what: &str, body: &Value) -> Result<Value> {
        let answer = self.http.post(format!("{}/_sim/{what}", self.url)).json(body).send().await?;
        let (status, text) = (answer.status(), answer.text().await?);
        anyhow::ensure!(status.is_success(), "/_sim/{what} answered {status}: {text}");
        serde_json::from_str(&text).with_context(|| format!("the simulator's answer to {what}"))
    }
}

/// Where the key of this id or ARN is.
fn region_of(key: &str) -> &str {
    key.strip_prefix("arn:aws:kms:").and_then(|rest| rest.split(':').next()).unwrap_or(REGION)
}

/// The bare id of a key that is named by it or by its ARN.
#[must_use]
pub fn bare_id(key: &str) -> &str {
    key.rsplit_once(":key/").map_or(key, |(_, id)| id)
}

/// The ARN of a key in the default account.
#[must_use]
pub fn arn(region: &str, key: &str) -> String {
    arn_in(ACCOUNT, region, key)
}

/// The ARN of a key in any account.
#[must_use]
pub fn arn_in(account: &str, region: &str, key: &str) -> String {
    format!("arn:aws:kms:{region}:{account}:key/{key}")
}
