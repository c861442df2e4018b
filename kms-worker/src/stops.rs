//! The jobs that were aborted, as this worker knows them.
//!
//! Problem: an abort comes by three ways (RabbitMQ's broadcast, the session, each lease) and must stop tries that run
//! at that moment. Invariant: a job's flag is one shared atomic; whoever holds it sees it set by any of the ways, and
//! it is never taken back while somebody holds it or a lease names the job. Flags outlive their jobs by ten minutes,
//! because a delivery may come long after.

use std::{
    collections::{HashMap, HashSet},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use job_model::{JobId, Moment};

/// How long a flag is kept at the least when nobody says that its job has finished.
pub const KEEP: Duration = Duration::from_secs(10 * 60);

/// One job's abort flag. Clones share it; reading is one atomic load.
#[derive(Clone, Debug, Default)]
pub struct Flag(Arc<AtomicBool>);

impl Flag {
    /// Whether the job was aborted.
    pub fn is_set(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }

    /// Sets it; tells whether it was not set before.
    fn set(&self) -> bool {
        !self.0.swap(true, Ordering::SeqCst)
    }

    /// Whether somebody besides the table holds it.
    fn is_held(&self) -> bool {
        Arc::strong_count(&self.0) > 1
    }
}

/// All flags of one worker.
#[derive(Debug, Default)]
pub struct Stops(Mutex<HashMap<JobId, Entry>>);

#[derive(Debug, Default)]
struct Entry {
    flag: Flag,
    /// When it was last set or named.
    since: Moment,
    /// The last lease named it.
    named: bool,
}

impl Stops {
    /// The job's flag, set or not.
    pub fn flag(&self, job: JobId) -> Flag {
        self.lock().entry(job).or_default().flag.clone()
    }

    /// Whether the job was aborted.
    pub fn is_set(&self, job: JobId) -> bool {
        self.lock().get(&job).is_some_and(|entry| entry.flag.is_set())
    }

    /// Sets the job's flag; tells whether it was not set before.
    pub fn set(&self, job: JobId, now: Moment) -> bool {
        let mut jobs = self.lock();
        let entry = jobs.entry(job).or_default();
        entry.since = now;
        entry.flag.set()
    }

    /// A lease named these, and no others, as stopping. Gives those that were not known to.
    pub fn named(&self, named: &HashSet<JobId>, now: Moment) -> Vec<JobId> {
        let mut jobs = self.lock();
        for (job, entry) in jobs.iter_mut() {
            entry.named = named.contains(job);
        }
        let mut news = Vec::new();
        for job in named {
            let entry = jobs.entry(*job).or_default();
            entry.named = true;
            entry.since = now;
            if entry.flag.set() {
                news.push(*job);
            }
        }
        news
    }

    /// The jobs that the last lease named: a heartbeat tells how far each has drained.
    pub fn to_tell(&self) -> Vec<JobId> {
        self.lock().iter().filter(|(_, entry)| entry.named).map(|(job, _)| *job).collect()
    }

    /// The jobs whose flag is set.
    pub fn all(&self) -> Vec<JobId> {
        self.lock().iter().filter(|(_, entry)| entry.flag.is_set()).map(|(job, _)| *job).collect()
    }

    /// The leader says that the job has finished. A flag that somebody holds stays until it is pruned.
    pub fn forget(&self, job: JobId) {
        let mut jobs = self.lock();
        if let Some(entry) = jobs.get_mut(&job) {
            entry.named = false;
            if !entry.flag.is_held() {
                jobs.remove(&job);
            }
        }
    }

    /// Drops what nobody holds: flags never set, and old ones that no lease names.
    pub fn prune(&self, now: Moment) {
        self.lock().retain(|_, entry| {
            entry.flag.is_held() || (entry.flag.is_set() && (entry.named || now.since(entry.since) < KEEP))
        });
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<JobId, Entry>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job(number: u128) -> JobId {
        JobId::from_uuid(uuid::Uuid::from_u128(number))
    }

    #[test]
    fn whoever_holds_the_flag_sees_it_set() {
        let stops = Stops::default();
        let (held, other) = (stops.flag(job(1)), stops.flag(job(2)));
        assert!(!held.is_set());
        assert!(stops.set(job(1), Moment::default()));
        assert!(held.is_set() && stops.is_set(job(1)));
        assert!(!other.is_set());
        assert!(!stops.set(job(1), Moment::default()), "a second abort is no news");
    }

    #[test]
    fn a_lease_sets_the_flags_of_what_it_names() {
        let stops = Stops::default();
        stops.set(job(1), Moment::default());
        let held = stops.flag(job(2));
        assert_eq!(stops.named(&HashSet::from([job(1), job(2)]), Moment::default()), [job(2)]);
        assert!(held.is_set());
        assert_eq!(stops.to_tell().into_iter().collect::<HashSet<_>>(), HashSet::from([job(1), job(2)]));
        stops.named(&HashSet::from([job(2)]), Moment::default());
        assert_eq!(stops.to_tell(), [job(2)]);
        assert!(stops.is_set(job(1)), "what a lease no longer names stays set");
    }

    #[test]
    fn flags_stay_while_named_or_young_or_held() {
        let stops = Stops::default();
        let (start, later) = (Moment::default(), Moment::default() + KEEP);
        for number in 1..=4 {
            stops.set(job(number), start);
        }
        stops.flag(job(5));
        stops.named(&HashSet::from([job(1)]), start);
        let _held = stops.flag(job(2));
        stops.set(job(3), later);
        stops.prune(later);
        let left: Vec<_> = (1..=5).filter(|number| stops.is_set(job(*number))).collect();
        assert_eq!(left, [1, 2, 3]);
        assert_eq!(stops.lock().len(), 3, "an unset flag that nobody holds goes too");
    }

    #[test]
    fn forgetting_spares_a_flag_that_is_held() {
        let stops = Stops::default();
        stops.named(&HashSet::from([job(1), job(2)]), Moment::default());
        let held = stops.flag(job(2));
        stops.forget(job(1));
        stops.forget(job(2));
        assert!(!stops.is_set(job(1)));
        assert!(stops.is_set(job(2)) && held.is_set());
        assert!(stops.to_tell().is_empty());
    }
}
