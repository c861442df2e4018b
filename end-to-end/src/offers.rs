//! Task messages that arrive again: as RabbitMQ delivers them after a lost connection, only when a test says so.

use anyhow::{Context, Result};
use job_model::{JobId, TaskRef};
use service_kit::Readiness;
use service_kit::settings::SecretUrl;
use task_queue::{Broker, BrokerSettings};

use crate::job::Job;
use crate::patience::until;
use crate::stack::Keyfleet;

/// Offers every task of the job to the workers once more, and waits until they have received as many messages.
///
/// # Errors
/// When the broker does not take them, or they are not delivered.
pub async fn deliver_again(stack: &Keyfleet, job: &Job) -> Result<()> {
    const DELIVERIES: &str = "keyfleet_deliveries_total";
    let tasks = tasks_of(job)?;
    let before = stack.metric_of_workers(DELIVERIES).await?;
    publish(stack, &tasks).await?;
    let expected = before + count(&tasks);
    until("the duplicates' deliveries", async || {
        Ok((stack.metric_of_workers(DELIVERIES).await? >= expected).then_some(()))
    })
    .await
}

/// The same, and waits until the workers have dealt with them for good: acknowledged.
///
/// # Errors
/// As there.
pub async fn deliver_again_and_settle(stack: &Keyfleet, job: &Job) -> Result<()> {
    const ACKS: &str = "keyfleet_acks_total";
    let tasks = tasks_of(job)?;
    let before = stack.metric_of_workers(ACKS).await?;
    publish(stack, &tasks).await?;
    let expected = before + count(&tasks);
    until("the duplicates' acknowledgements", async || {
        Ok((stack.metric_of_workers(ACKS).await? >= expected).then_some(()))
    })
    .await
}

fn tasks_of(job: &Job) -> Result<Vec<TaskRef>> {
    let id: JobId = job.id.parse().context("the job's id")?;
    (0..job.created.counts.total).map(|seq| Ok(TaskRef { job: id, seq: u32::try_from(seq)? })).collect()
}

async fn publish(stack: &Keyfleet, tasks: &[TaskRef]) -> Result<()> {
    let url: SecretUrl = stack.parts.amqp_url().parse().context("the broker's URL")?;
    let broker = Broker::connect(&BrokerSettings::at(url), Readiness::default().part("rabbitmq"))?;
    let publisher = broker.publisher();
    // At first it is not connected yet. A repeated batch would spoil the counting, but not what is counted for.
    until("the broker to take the duplicates", async || Ok(publisher.publish_offers(tasks).await.ok())).await?;
    broker.close().await;
    Ok(())
}

#[expect(clippy::cast_precision_loss, reason = "a few hundred")]
fn count(tasks: &[TaskRef]) -> f64 {
    tasks.len() as f64
}
