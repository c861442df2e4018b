//! A job as its caller follows it.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail, ensure};
use reqwest::Method;
use serde::Deserialize;
use serde_json::Value;

use crate::caller::{Answer, BULKJOB, Caller};
use crate::patience::until;

/// A job's JSON.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "the fields of the REST API")]
pub struct JobView {
    pub id: String,
    pub uri: String,
    pub account: String,
    #[serde(rename = "createdAt")]
    pub created_at: String,
    #[serde(rename = "updatedAt")]
    pub updated_at: String,
    pub completed_at: Option<String>,
    pub overall_status: String,
    #[serde(default)]
    pub detailed_status: BTreeMap<String, String>,
    pub abort: bool,
    pub cloud: String,
    #[serde(default)]
    pub keys: Vec<String>,
    pub operation: String,
    pub counts: Counts,
    pub days: Option<u32>,
    pub policy_template_id: Option<String>,
    pub force: Option<bool>,
    pub dry_run: Option<bool>,
    pub max_rate: Option<f64>,
    pub selector: Option<Value>,
}

/// How many keys are how far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "the fields of the REST API")]
pub struct Counts {
    pub total: usize,
    pub in_progress: usize,
    pub succeeded: usize,
    pub failed: usize,
    pub canceled: usize,
    pub already: usize,
}

/// A key of a job, as `{id}/keys` tells it.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "the fields of the REST API")]
pub struct KeyRow {
    pub key: String,
    pub seq: u32,
    pub state: String,
    pub detail: Option<String>,
    pub attempts: u32,
    pub already: bool,
    pub state_before: Option<String>,
    pub started_at: Option<String>,
    pub finished_at: Option<String>,
}

/// A page of a list.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "the fields of the REST API")]
pub struct Page<T> {
    pub skip: usize,
    pub limit: usize,
    pub total: usize,
    pub resources: Vec<T>,
}

/// A job that was created.
#[derive(Clone, Debug)]
pub struct Job {
    caller: Caller,
    /// Its id.
    pub id: String,
    /// What create answered.
    pub created: JobView,
}

impl Job {
    /// The job that a create's answer tells of.
    ///
    /// # Errors
    /// When it was refused.
    pub fn of(caller: Caller, answer: Answer) -> Result<Self> {
        let created = answer.expect(201)?.job()?;
        Ok(Self { caller, id: created.id.clone(), created })
    }

    /// The same job as somebody else sees it, or does not.
    #[must_use]
    pub fn seen_by(&self, caller: &Caller) -> Self {
        Self { caller: caller.clone(), ..self.clone() }
    }

    /// Its path with what follows, such as `/keys`.
    #[must_use]
    pub fn path(&self, rest: &str) -> String {
        format!("{BULKJOB}/{}{rest}", self.id)
    }

    /// The job now, with all its keys.
    ///
    /// # Errors
    /// When it is not answered 200.
    pub async fn now(&self) -> Result<JobView> {
        self.caller.get(&self.path("")).await?.expect(200)?.job()
    }

    /// The job now, without its keys.
    ///
    /// # Errors
    /// When it is not answered 200.
    pub async fn now_without_keys(&self) -> Result<JobView> {
        self.caller.get(&self.path("?detail=false")).await?.expect(200)?.job()
    }

    /// The job now as raw JSON.
    ///
    /// # Errors
    /// When it is not answered 200.
    pub async fn raw(&self) -> Result<Value> {
        Ok(self.caller.get(&self.path("")).await?.expect(200)?.body)
    }

    /// Looks at the job, without its keys, until it is `so`. As clients do, it asks again after a 429, 502, 503 or 504.
    ///
    /// # Errors
    /// When it is answered otherwise, or never is so.
    pub async fn wait_until(&self, what: &str, so: impl Fn(&JobView) -> bool) -> Result<JobView> {
        let path = self.path("?detail=false");
        until(&format!("{what}, job {}", self.id), async || {
            let answer = self.caller.get(&path).await?;
            match answer.status {
                429 | 502 | 503 | 504 => Ok(None),
                _ => Ok(Some(answer.expect(200)?.job()?).filter(&so)),
            }
        })
        .await
    }

    /// Follows the job to its end, as clients do: until it is no longer `in_progress`. Answers it with all its keys.
    ///
    /// # Errors
    /// When it does not end.
    pub async fn wait_until_ended(&self) -> Result<JobView> {
        self.wait_until("the end of a job", |job| job.overall_status != "in_progress").await?;
        let job = self.now().await?;
        job.check()?;
        Ok(job)
    }

    /// Waits until so many keys have a final status.
    ///
    /// # Errors
    /// When they never have.
    pub async fn wait_until_done(&self, keys: usize) -> Result<JobView> {
        self.wait_until(&format!("{keys} keys done"), |job| job.counts.total - job.counts.in_progress >= keys).await
    }

    /// Waits until the job reads that it was told to stop.
    ///
    /// # Errors
    /// When it never does.
    pub async fn wait_until_aborted(&self) -> Result<JobView> {
        self.wait_until("the abort flag", |job| job.abort).await
    }

    /// Cancels it, and takes whatever is answered.
    ///
    /// # Errors
    /// When there is no answer.
    pub async fn cancel(&self) -> Result<Answer> {
        self.caller.call(Method::POST, &self.path("/cancel")).send().await
    }

    /// A page of its keys, for a query like `?status=failed`.
    ///
    /// # Errors
    /// When it is not answered 200.
    pub async fn keys(&self, query: &str) -> Result<Page<KeyRow>> {
        let answer = self.caller.get(&self.path(&format!("/keys{query}"))).await?.expect(200)?;
        serde_json::from_str(&answer.text).context("a page of keys")
    }
}

impl JobView {
    /// That the job is consistent in itself: a status for each key, counts that are those of the statuses.
    ///
    /// # Errors
    /// Says what is not.
    pub fn check(&self) -> Result<()> {
        ensure!(self.keys.len() == self.counts.total, "{} keys of {}", self.keys.len(), self.counts.total);
        ensure!(self.detailed_status.len() == self.keys.len(), "{} statuses", self.detailed_status.len());
        let mut counts = Counts { total: self.counts.total, already: self.counts.already, ..Counts::default() };
        for key in &self.keys {
            match self.detailed_status.get(key).map(String::as_str) {
                Some("in_progress") => counts.in_progress += 1,
                Some("Success") => counts.succeeded += 1,
                Some("Canceled") => counts.canceled += 1,
                Some(failed) if failed.starts_with("Failed: ") => counts.failed += 1,
                Some(told) if self.dry_run == Some(true) => match told.split(' ').next() {
                    Some("Would" | "Already") => counts.succeeded += 1,
                    Some("Impossible:") => counts.failed += 1,
                    Some(_) | None => bail!("{key} of a dry run has the status {told:?}"),
                },
                Some(other) => bail!("{key} has the status {other:?}"),
                None => bail!("{key} has no status"),
            }
        }
        ensure!(counts == self.counts, "the statuses make {counts:?}, the job says {:?}", self.counts);
        ensure!((counts.in_progress == 0) == (self.overall_status != "in_progress"), "{}", self.overall_status);
        ensure!(self.completed_at.is_some() == (self.overall_status != "in_progress"), "{:?}", self.completed_at);
        Ok(())
    }

    /// A key's status.
    ///
    /// # Errors
    /// When the job has no such key.
    pub fn status(&self, key: &str) -> Result<&str> {
        self.detailed_status.get(key).map(String::as_str).with_context(|| format!("{key} has no status"))
    }
}
