//! What finished tasks change beside themselves, in the transaction that ends them: which template a key has.
//!
//! Only jobs that can change such rows bring any ([`FinalTask::follow`](super::report::FinalTask)); for all others a
//! batch stays one statement.

use job_model::KeyAddress;
use sqlx::PgConnection;
use time::OffsetDateTime;

use super::{Error, report::FinalTask};

/// What a task's end changes beside it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Follow {
    /// Of which key.
    pub key: KeyAddress,
    /// What.
    pub change: Change,
}

/// See [`Follow`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// The key has the policy of its job's template now.
    Policy,
}

/// Applies what the batch brings.
pub(super) async fn apply(
    connection: &mut PgConnection,
    batch: &[FinalTask],
    _now: OffsetDateTime,
) -> Result<(), Error> {
    let followed = || batch.iter().filter_map(|task| task.follow.as_ref().map(|follow| (task, follow)));
    let policies = followed().filter(|(_, follow)| match follow.change {
        Change::Policy => true,
    });
    templates(connection, policies).await
}

async fn templates(
    connection: &mut PgConnection,
    followed: impl Iterator<Item = (&FinalTask, &Follow)>,
) -> Result<(), Error> {
    let mut jobs = Vec::new();
    let mut accounts = Vec::new();
    let mut regions = Vec::new();
    let mut keys = Vec::new();
    for (task, follow) in followed {
        jobs.push(task.task.job.as_uuid());
        accounts.push(follow.key.account.to_string());
        regions.push(follow.key.region.to_string());
        keys.push(follow.key.id.to_string());
    }
    if jobs.is_empty() {
        return Ok(());
    }
    // Sorted, so that two batches lock the same rows in one order; the same key twice counts once.
    sqlx::query!(
        "INSERT INTO template_uses (account, region, key_id, template_id)
         SELECT DISTINCT ON (account, region, key_id) account, region, key_id, j.policy_template_id::uuid
         FROM unnest($1::uuid[], $2::text[], $3::text[], $4::text[]) WITH ORDINALITY
              AS r (job_id, account, region, key_id, place)
              JOIN jobs j ON j.id = r.job_id
         WHERE j.policy_template_id IS NOT NULL
         ORDER BY account, region, key_id, place DESC
         ON CONFLICT (account, region, key_id) DO UPDATE SET template_id = excluded.template_id
         WHERE template_uses.template_id <> excluded.template_id",
        &jobs,
        &accounts,
        &regions,
        &keys,
    )
    .execute(connection)
    .await?;
    Ok(())
}
