//! The public REST API, as far as the demo needs it.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use reqwest::{Client, Response, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::patience::{Stopwatch, wall_ns};
use crate::stack::http_client;
use crate::users::User;

/// A logged-in client. Tokens live 300 s, longer than the demo.
#[derive(Debug)]
pub(super) struct Gateway {
    http: Client,
    base: String,
    token: String,
}

/// The part of a job that the demo reads.
#[derive(Debug, Deserialize)]
pub(super) struct Job {
    pub(super) operation: String,
    pub(super) overall_status: String,
    pub(super) counts: BTreeMap<String, usize>,
    /// Absent where details were not asked for.
    #[serde(default)]
    pub(super) detailed_status: BTreeMap<String, String>,
}

/// How a cancel was answered.
#[derive(Debug)]
pub(super) struct Cancelled {
    pub(super) status: u16,
    pub(super) took: Duration,
    /// Wall clock when the answer was there, nanoseconds since 1970.
    pub(super) at_ns: u64,
}

impl Gateway {
    pub(super) async fn login(url: &str, ca_pem: &str, user: &User) -> Result<Self> {
        let http = http_client(ca_pem)?;
        let base = format!("{url}/api/v1");
        let body = json!({"grant_type": "password", "username": user.name, "password": user.password});
        let answer = good(http.post(format!("{base}/auth/tokens")).json(&body).send().await?).await?;
        let answer: Value = answer.json().await.context("the login's answer")?;
        let token = answer["jwt"].as_str().context("the login's answer has no jwt")?.to_owned();
        Ok(Self { http, base, token })
    }

    /// Creates a job and gives its id.
    pub(super) async fn create(&self, operation: &str, keys: &[String]) -> Result<String> {
        let body = json!({"operation": operation, "keys": keys});
        let request = self.http.post(format!("{}/cckm/aws/bulkjob", self.base)).bearer_auth(&self.token).json(&body);
        let job: Value = good(request.send().await?).await?.json().await.context("the new job")?;
        Ok(job["id"].as_str().context("the new job has no id")?.to_owned())
    }

    pub(super) async fn job(&self, id: &str, detail: bool) -> Result<Job> {
        let url = format!("{}/cckm/aws/bulkjob/{id}?detail={detail}", self.base);
        good(self.http.get(url).bearer_auth(&self.token).send().await?).await?.json().await.context("the job")
    }

    pub(super) async fn cancel(&self, id: &str) -> Result<Cancelled> {
        let url = format!("{}/cckm/aws/bulkjob/{id}/cancel", self.base);
        let watch = Stopwatch::start();
        let answer = self.http.post(url).bearer_auth(&self.token).send().await?;
        let (at_ns, took) = (wall_ns(), watch.read());
        let status = good(answer).await?.status().as_u16();
        Ok(Cancelled { status, took, at_ns })
    }
}

impl Job {
    pub(super) fn is_final(&self) -> bool {
        self.overall_status != "in_progress"
    }

    /// How many keys have a final status.
    pub(super) fn done(&self) -> usize {
        let count = |name: &str| self.counts.get(name).copied().unwrap_or_default();
        count("total").saturating_sub(count("in_progress"))
    }

    /// How many keys read exactly `status`.
    pub(super) fn tally(&self, status: &str) -> usize {
        self.detailed_status.values().filter(|found| *found == status).count()
    }

    pub(super) fn summary(&self) -> String {
        format!("{}, {:?}", self.overall_status, self.counts)
    }
}

async fn good(answer: Response) -> Result<Response> {
    let status = answer.status();
    if matches!(status, StatusCode::OK | StatusCode::CREATED | StatusCode::ACCEPTED) {
        return Ok(answer);
    }
    let url = answer.url().path().to_owned();
    bail!("{url} answered {status}: {}", answer.text().await.unwrap_or_default())
}
