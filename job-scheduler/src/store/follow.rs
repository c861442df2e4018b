//! What finished tasks change beside themselves, in the transaction that ends them: which template a key has, and the
//! cached state of registered keys.
//!
//! Only jobs that can change such rows bring any ([`FinalTask::follow`](super::report::FinalTask)): those that put a
//! policy on keys, and those in whose accounts and Regions keys are registered. For all others a batch stays one
//! statement.

use std::time::Duration;

use job_model::{KeyAddress, KeyState, plan::READ_LAG};
use sqlx::PgConnection;
use time::OffsetDateTime;

use super::{Error, report::FinalTask};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

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
    /// The key was brought into this state.
    Brought {
        /// The state.
        state: KeyState,
        /// Deleted after so many days.
        days: Option<u32>,
    },
    /// The key was seen in this state.
    Seen(KeyState),
    /// KMS does not know the key.
    Gone,
}

/// Applies what the batch brings.
pub(super) async fn apply(
    connection: &mut PgConnection,
    batch: &[FinalTask],
    now: OffsetDateTime,
) -> Result<(), Error> {
    templates(connection, batch).await?;
    states(connection, batch, now).await
}

fn followed(batch: &[FinalTask]) -> impl Iterator<Item = (&FinalTask, &Follow)> {
    batch.iter().filter_map(|task| task.follow.as_ref().map(|follow| (task, follow)))
}

/// Keys as columns.
#[derive(Default)]
struct Addresses {
    accounts: Vec<String>,
    regions: Vec<String>,
    keys: Vec<String>,
}

impl Addresses {
    fn push(&mut self, key: &KeyAddress) {
        self.accounts.push(key.account.to_string());
        self.regions.push(key.region.to_string());
        self.keys.push(key.id.to_string());
    }
}

async fn templates(connection: &mut PgConnection, batch: &[FinalTask]) -> Result<(), Error> {
    let mut jobs = Vec::new();
    let mut of = Addresses::default();
    for (task, follow) in followed(batch) {
        match follow.change {
            Change::Policy => {
                jobs.push(task.task.job.as_uuid());
                of.push(&follow.key);
            }
            Change::Brought { .. } | Change::Seen(_) | Change::Gone => {}
        }
    }
    if jobs.is_empty() {
        return Ok(());
    }
    // The same key twice counts once, the later task's.
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
        &of.accounts,
        &of.regions,
        &of.keys,
    )
    .execute(connection)
    .await?;
    Ok(())
}

async fn states(connection: &mut PgConnection, batch: &[FinalTask], now: OffsetDateTime) -> Result<(), Error> {
    let mut of = Addresses::default();
    let mut states: Vec<Option<String>> = Vec::new();
    let mut dates: Vec<Option<OffsetDateTime>> = Vec::new();
    let mut wrote = Vec::new();
    for (_, follow) in followed(batch) {
        let (state, days, brought) = match follow.change {
            Change::Policy => continue,
            Change::Brought { state, days } => (Some(state), days, true),
            Change::Seen(state) => (Some(state), None, false),
            Change::Gone => (None, None, true),
        };
        of.push(&follow.key);
        states.push(state.map(|state| state.as_str().to_owned()));
        dates.push(days.map(|days| now + DAY * days));
        wrote.push(brought);
    }
    if wrote.is_empty() {
        return Ok(());
    }
    // What was only seen does not undo what was written a moment ago: reads lag behind writes.
    sqlx::query!(
        "UPDATE keys k
         SET state = coalesce(r.state, k.state), gone = r.state IS NULL,
             deletion_date = CASE WHEN coalesce(r.state, k.state) LIKE 'Pending%Deletion'
                                  THEN coalesce(r.deletion_date, k.deletion_date) END,
             written_at = CASE WHEN r.wrote AND r.state IS NOT NULL THEN $7 ELSE k.written_at END,
             updated_at = $7
         FROM (SELECT DISTINCT ON (account, region, key_id) account, region, key_id, state, deletion_date, wrote
               FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::timestamptz[], $6::bool[])
                    WITH ORDINALITY AS r (account, region, key_id, state, deletion_date, wrote, place)
               ORDER BY account, region, key_id, place DESC) AS r
         WHERE k.account = r.account AND k.region = r.region AND k.key_id = r.key_id
           AND (r.wrote OR (k.written_at < $8) IS NOT FALSE AND (k.gone OR k.state <> r.state))",
        &of.accounts,
        &of.regions,
        &of.keys,
        &states as &[Option<String>],
        &dates as &[Option<OffsetDateTime>],
        &wrote,
        now,
        now - READ_LAG,
    )
    .execute(connection)
    .await?;
    Ok(())
}
