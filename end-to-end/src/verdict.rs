//! Whether a job told the truth: its statuses against the KMS end's own states, key by key.

use std::collections::BTreeSet;

use anyhow::{Result, bail, ensure};

use crate::job::JobView;
use crate::kms_end::KmsEnd;

/// Holds an ended job over keys that all were in the state `before` against what they are in now: `Success` has to be in
/// the state `asked` for, `Canceled` still in the one before, and nothing else is a status here.
///
/// # Errors
/// Names the first key whose status is not true.
pub async fn statuses_are_true(sim: &KmsEnd, job: &JobView, before: &str, asked: &str) -> Result<()> {
    ensure!(job.overall_status != "in_progress", "the job {} has not ended", job.id);
    job.check()?;
    let states = sim.states(&job.keys).await?;
    for key in &job.keys {
        let (status, state) = (job.status(key)?, &states[key]);
        let expected = match status {
            "Success" => asked,
            "Canceled" => before,
            other => bail!("{key} has the status {other:?} (it is {state})"),
        };
        ensure!(state == expected, "{key} has the status {status:?}, but it is {state}");
    }
    Ok(())
}

/// The same for very many keys, by the KMS end's log alone: exactly the keys that read `Success` had a mutating request
/// granted, one each.
///
/// # Errors
/// Names the first key whose status is not true.
pub async fn successes_were_granted(sim: &KmsEnd, job: &JobView) -> Result<()> {
    job.check()?;
    let mut granted = BTreeSet::new();
    for row in sim.log_of(&job.keys).await?.into_iter().filter(|row| row.status == 200) {
        let key = row.key.unwrap_or_default();
        ensure!(granted.insert(key.clone()), "{key} was changed twice");
    }
    for (key, status) in &job.detailed_status {
        ensure!((status == "Success") == granted.contains(key), "{key} has the status {status:?}, against the log");
    }
    Ok(())
}

/// That every key of an ended job is `Success`, and in the state asked for.
///
/// # Errors
/// Names the first that is not.
pub async fn all_succeeded(sim: &KmsEnd, job: &JobView, asked: &str) -> Result<()> {
    all_are_success(job)?;
    statuses_are_true(sim, job, asked, asked).await
}

/// That every key of an ended job is `Success`, whatever the KMS end says.
///
/// # Errors
/// Names the first that is not.
pub fn all_are_success(job: &JobView) -> Result<()> {
    if let Some((key, status)) = job.detailed_status.iter().find(|(_, status)| *status != "Success") {
        bail!("{key} has the status {status:?}");
    }
    ensure!(job.overall_status == "completed", "the job {} is {}, {:?}", job.id, job.overall_status, job.counts);
    Ok(())
}
