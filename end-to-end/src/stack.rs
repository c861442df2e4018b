//! A running Keyfleet: the real parts as child processes, who may call it, and the KMS end behind it.

use std::time::Duration;

use anyhow::{Context, Result};
use dev_stack::{Signal, Stack, StackSettings};
use reqwest::Client;
use serde_json::{Value, json};
use tokio::sync::{Mutex, MutexGuard};

use crate::caller::Caller;
use crate::job::Job;
use crate::kms_end::KmsEnd;
use crate::patience::until;

/// One stack at a time: two would share two cores, and each would look as if it hung.
static ONE_AT_A_TIME: Mutex<()> = Mutex::const_new(());

/// An admin endpoint that does not answer within this is one of a frozen process.
const ADMIN_ANSWERS: Duration = Duration::from_secs(5);

/// A whole stack. Everything it started ends when it is dropped.
#[derive(Debug)]
pub struct Keyfleet {
    /// The parts, for those who kill, freeze and restart them.
    pub parts: Stack,
    /// The KMS end.
    pub sim: KmsEnd,
    /// May do everything in tenant `kylo:kylo`, to which the keys belong.
    pub admin: Caller,
    /// Of the same tenant, without any permission.
    pub nobody: Caller,
    /// An admin of another tenant.
    pub stranger: Caller,
    http: Client,
    _alone: MutexGuard<'static, ()>,
}

impl Keyfleet {
    /// Starts a stack, once no other of this process runs, and returns when every part is ready.
    ///
    /// # Errors
    /// Names what did not get ready.
    pub async fn start(settings: StackSettings) -> Result<Self> {
        let alone = ONE_AT_A_TIME.lock().await;
        let parts = Stack::start(settings).await?;
        let http = parts.http_client()?;
        let caller = |user| Caller::new(http.clone(), parts.url(), user);
        let users = parts.users();
        Ok(Self {
            sim: KmsEnd::at(parts.sim_url())?,
            admin: caller(&users.admin),
            nobody: caller(&users.nobody),
            stranger: caller(&users.stranger),
            http: Client::builder().no_proxy().timeout(ADMIN_ANSWERS).build().context("the HTTP client")?,
            parts,
            _alone: alone,
        })
    }

    /// Creates a job as the admin.
    ///
    /// # Errors
    /// When it is not answered 201.
    pub async fn create(&self, operation: &str, keys: &[String]) -> Result<Job> {
        self.admin.create(operation, keys).await
    }

    /// Sends a part a signal; after a `KILL` it is gone when this returns.
    ///
    /// # Errors
    /// When it outlives a `KILL`.
    pub fn signal(&self, part: &str, signal: Signal) -> Result<()> {
        self.parts.kill(part, signal)
    }

    /// The scheduler that leads, as soon as one does.
    ///
    /// # Errors
    /// When none ever does.
    pub async fn leader(&self) -> Result<String> {
        let schedulers: Vec<&str> = self.parts.names().filter(|name| name.starts_with("job-scheduler")).collect();
        until("a leader", async || {
            for name in &schedulers {
                if self.parts.is_alive(name) && self.metric(name, "keyfleet_leading").await.is_ok_and(|v| v == 1.0) {
                    return Ok(Some((*name).to_owned()));
                }
            }
            Ok(None)
        })
        .await
    }

    /// The scheduler that stands by.
    ///
    /// # Errors
    /// When none leads, or there is one scheduler only.
    pub async fn standby(&self) -> Result<String> {
        let leader = self.leader().await?;
        let standby = self.parts.names().find(|name| name.starts_with("job-scheduler") && *name != leader);
        standby.map(str::to_owned).context("there is one scheduler only")
    }

    /// A metric of a part, added up over its labels; 0 while there is none.
    ///
    /// # Errors
    /// When the part does not answer.
    pub async fn metric(&self, part: &str, name: &str) -> Result<f64> {
        let url = format!("{}/metrics", self.parts.admin_url(part));
        Ok(sum(&self.http.get(url).send().await?.error_for_status()?.text().await?, name))
    }

    /// The same, added up over all workers.
    ///
    /// # Errors
    /// When one does not answer.
    pub async fn metric_of_workers(&self, name: &str) -> Result<f64> {
        let mut all = 0.0;
        for worker in self.workers() {
            all += self.metric(&worker, name).await?;
        }
        Ok(all)
    }

    /// The names of the workers.
    #[must_use]
    pub fn workers(&self) -> Vec<String> {
        self.parts.names().filter(|name| name.starts_with("kms-worker")).map(str::to_owned).collect()
    }

    /// What `/readyz` of a part says is missing; null when it does not answer.
    pub async fn missing(&self, part: &str) -> Value {
        let url = format!("{}/readyz", self.parts.admin_url(part));
        match self.http.get(url).send().await {
            Ok(answer) => answer.json::<Value>().await.map_or(json!(null), |body| body["missing"].clone()),
            Err(_) => json!(null),
        }
    }
}

/// The sum over all lines of one metric in Prometheus' text form.
fn sum(text: &str, name: &str) -> f64 {
    text.lines()
        .filter_map(|line| line.strip_prefix(name))
        .filter(|rest| rest.starts_with(' ') || rest.starts_with('{'))
        .filter_map(|rest| rest.rsplit(' ').next()?.parse::<f64>().ok())
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_added_up_and_longer_names_are_not() {
        let text = "# TYPE acks counter\nacks{queue=\"a b\"} 3\nacks{queue=\"c\"} 4\nacks_total 9\nleading 1\n";
        assert_eq!((sum(text, "acks"), sum(text, "leading"), sum(text, "none")), (7.0, 1.0, 0.0));
    }
}
