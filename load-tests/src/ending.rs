//! Waiting for a job's end, seen by looking at it as clients do, with few looks and a sharp last one.
//!
//! Each look costs the services CPU that would be counted as the job's, and a rare look sees the end late. So the next
//! look comes when half of what is left should be done: a dozen looks for any job, the last ones milliseconds apart.

use std::time::Duration;

use anyhow::{Result, bail, ensure};
use end_to_end::{Caller, Job, JobView};
use job_model::Moment;
use service_kit::clock;

use crate::statistics::count;

/// The sharpness of the end that is seen.
const SHORTEST: Duration = Duration::from_millis(4);
/// A job that gains speed is not overlooked for longer.
const LONGEST: Duration = Duration::from_millis(500);
/// A job of which nothing gets done for so long hangs.
const STANDSTILL: Duration = Duration::from_secs(90);

/// A job's end.
#[derive(Debug)]
pub struct Ending {
    /// The job without its keys.
    pub job: JobView,
    /// When its end was seen.
    pub at: Moment,
    /// How often it was looked at.
    pub looks: usize,
}

/// Looks until the job is no longer `in_progress`.
///
/// # Errors
/// When it is refused, or nothing of it gets done for a long time.
pub async fn ended(caller: &Caller, job: &Job) -> Result<Ending> {
    let path = job.path("?detail=false");
    let from = clock::boottime();
    let (mut looks, mut best, mut progress) = (0, 0, from);
    loop {
        looks += 1;
        let answer = caller.get(&path).await?;
        let at = clock::boottime();
        // As clients do, ask again after these.
        let done = if matches!(answer.status, 429 | 502 | 503 | 504) {
            best
        } else {
            let view = answer.expect(200)?.job()?;
            let done = view.counts.total - view.counts.in_progress;
            if view.overall_status != "in_progress" {
                return Ok(Ending { job: view, at, looks });
            }
            done
        };
        if done > best {
            (best, progress) = (done, at);
        } else if at.since(progress) > STANDSTILL {
            bail!("job {} has stood still at {best} keys for {STANDSTILL:?}", job.id);
        }
        tokio::time::sleep(next_look(best, job.created.counts.total, at.since(from))).await;
    }
}

/// That every key of an ended job succeeded.
///
/// # Errors
/// With the job's own counts.
pub fn all_succeeded(job: &JobView) -> Result<()> {
    ensure!(job.counts.succeeded == job.counts.total, "job {}: {}, {:?}", job.id, job.overall_status, job.counts);
    Ok(())
}

/// When half of what is left should be done.
fn next_look(done: usize, total: usize, elapsed: Duration) -> Duration {
    if done == 0 {
        return SHORTEST.max(elapsed / 4).min(LONGEST);
    }
    let left = elapsed.mul_f64(count(total.saturating_sub(done)) / count(done));
    (left / 2).clamp(SHORTEST, LONGEST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_look_is_at_half_of_what_is_left() {
        let s = Duration::from_secs_f64;
        assert_eq!(next_look(500, 1_000, s(0.5)), s(0.25));
        assert_eq!(next_look(990, 1_000, s(0.99)), s(0.005));
        assert_eq!(next_look(999, 1_000, s(1.0)), SHORTEST);
        assert_eq!(next_look(10, 1_000_000, s(1.0)), LONGEST);
    }

    #[test]
    fn nothing_done_yet_is_looked_at_ever_more_rarely() {
        assert_eq!(next_look(0, 1_000, Duration::ZERO), SHORTEST);
        assert_eq!(next_look(0, 1_000, Duration::from_millis(80)), Duration::from_millis(20));
        assert_eq!(next_look(0, 1_000, Duration::from_secs(60)), LONGEST);
    }
}
