//! The promises, checked over the evidence of a run.
//!
//! Only what may never be is a violation; a refusal, a 503 or no answer at all is not. A check that needs a fact which
//! the evidence does not hold (a key's own facts, a job's rows) calls that a violation too, so that nothing passes unseen.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use super::evidence::{Answer, Call, Caller, Event, Evidence, JobRow, TaskRow, View, may_have_worked, status};
use crate::job::Counts;
use crate::kms_end::{Row, bare_id};

/// What was promised.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Promise {
    /// A job that was answered 201 is kept, and ends.
    Ends,
    /// Each key gets exactly one final status.
    OneStatus,
    /// `Success` only if KMS did it or had it.
    TrueSuccess,
    /// `Failed: <code>` only if KMS answered so.
    TrueFailure,
    /// `Canceled` only if KMS did not do it for this job.
    TrueCanceled,
    /// Nothing mutating after a 200 to cancel, and every status final in it.
    Stopped,
    /// One job for one idempotency key.
    Once,
    /// `{id}`, the list, `{id}/keys` and the database agree.
    Agree,
    /// Nobody sees or cancels a job of another tenant.
    Apart,
    /// A part ends only when it is told to.
    Lives,
    /// While nothing is broken, no call fails in a way that a client's ordinary retry does not cover.
    Answered,
}

/// A promise that was broken.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Violation {
    /// Which.
    pub promise: Promise,
    /// How.
    pub what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.promise, self.what)
    }
}

/// All that was broken; nothing when all promises were kept.
#[must_use]
pub fn check(evidence: &Evidence) -> Vec<Violation> {
    let mut bench = Bench::over(evidence);
    bench.ends();
    bench.one_status();
    bench.truth();
    bench.stopped();
    bench.once();
    bench.agree();
    bench.apart();
    bench.found.into_iter().collect()
}

/// The evidence, indexed, and what was found.
struct Bench<'e> {
    evidence: &'e Evidence,
    jobs: BTreeMap<&'e str, &'e JobRow>,
    tasks: BTreeMap<&'e str, Vec<&'e TaskRow>>,
    requests: BTreeMap<&'e str, Vec<&'e Row>>,
    found: BTreeSet<Violation>,
}

impl<'e> Bench<'e> {
    fn over(evidence: &'e Evidence) -> Self {
        let mut tasks: BTreeMap<&str, Vec<&TaskRow>> = BTreeMap::new();
        for task in &evidence.tasks {
            tasks.entry(&task.job).or_default().push(task);
        }
        let mut requests: BTreeMap<&str, Vec<&Row>> = BTreeMap::new();
        for row in &evidence.kms {
            if let Some(key) = &row.key {
                requests.entry(key).or_default().push(row);
            }
        }
        let jobs = evidence.jobs.iter().map(|job| (job.id.as_str(), job)).collect();
        Self { evidence, jobs, tasks, requests, found: BTreeSet::new() }
    }

    fn broken(&mut self, promise: Promise, what: String) {
        self.found.insert(Violation { promise, what });
    }

    fn tasks_of(&self, job: &str) -> Vec<&'e TaskRow> {
        self.tasks.get(job).cloned().unwrap_or_default()
    }

    fn requests_of(&self, key: &str) -> Vec<&'e Row> {
        self.requests.get(bare_id(key)).cloned().unwrap_or_default()
    }

    fn ends(&mut self) {
        for (id, _) in self.evidence.accepted() {
            match self.jobs.get(id) {
                None => self.broken(Promise::Ends, format!("job {id} was answered 201 and is not in the database")),
                Some(job) if job.state != "finished" => {
                    self.broken(Promise::Ends, format!("job {id} is still {}", job.state));
                }
                Some(_) => {}
            }
        }
        // Also jobs whose create went unanswered: they were begun, so they must end.
        for job in &self.evidence.jobs {
            if job.state != "finished" {
                self.broken(Promise::Ends, format!("job {} is still {}", job.id, job.state));
            }
        }
    }

    fn one_status(&mut self) {
        for (id, event) in self.evidence.accepted() {
            let Call::Create { keys, .. } = &event.call else { continue };
            let rows = self.tasks_of(id);
            let stored: BTreeSet<&str> = rows.iter().map(|task| task.key.as_str()).collect();
            let asked: BTreeSet<&str> = keys.iter().map(String::as_str).collect();
            if stored != asked || rows.len() != asked.len() {
                self.broken(Promise::OneStatus, format!("job {id} has {} tasks for {} keys", rows.len(), asked.len()));
            }
        }
        for job in &self.evidence.jobs {
            for task in self.tasks_of(&job.id) {
                if job.state == "finished" && task.status(job) == "in_progress" {
                    self.broken(Promise::OneStatus, format!("job {} ended without a status of {}", job.id, task.key));
                }
            }
        }
        self.statuses_stay();
    }

    /// A status that was told as final is told by every call that was sent after that answer.
    fn statuses_stay(&mut self) {
        let mut told: BTreeMap<(&str, &str), (u64, &str)> = BTreeMap::new();
        for event in self.evidence.by_answer() {
            for view in views(event) {
                for (key, status) in &view.statuses {
                    let place = (view.id.as_str(), key.as_str());
                    match told.get(&place) {
                        Some((at, first)) if event.asked_ns > *at && first != status => {
                            let what = format!("job {}, key {key}: first {first}, later {status}", view.id);
                            self.broken(Promise::OneStatus, what);
                        }
                        Some(_) => {}
                        None if status != "in_progress" => {
                            told.insert(place, (event.answered_ns, status));
                        }
                        None => {}
                    }
                }
            }
        }
        for ((id, key), (_, first)) in told {
            let Some(job) = self.jobs.get(id).copied() else { continue };
            let stored = self.tasks_of(id).into_iter().find(|task| task.key == key).map(|task| task.status(job));
            if stored.as_deref() != Some(first) {
                let what = format!("job {id}, key {key}: told {first}, stored {stored:?}");
                self.broken(Promise::OneStatus, what);
            }
        }
    }

    fn truth(&mut self) {
        let mut op_of: BTreeMap<&str, &str> = BTreeMap::new();
        for event in &self.evidence.history {
            if let Call::Create { op, keys, .. } = &event.call {
                op_of.extend(keys.iter().map(|key| (key.as_str(), *op)));
            }
        }
        for job in &self.evidence.jobs {
            for task in self.tasks_of(&job.id) {
                let (Some(fact), Some(op)) = (self.evidence.keys.get(&task.key), op_of.get(task.key.as_str())) else {
                    self.broken(
                        Promise::Once,
                        format!("job {} has the key {}, which nobody asked for", job.id, task.key),
                    );
                    continue;
                };
                let requests = self.requests_of(&task.key);
                let may_have = requests.iter().any(|row| row.op == *op && may_have_worked(row));
                let granted = requests.iter().any(|row| row.is_mutating() && row.status == 200);
                // Nobody else changes the key, so if it changed, this job did it.
                let changed = !fact.held_before && fact.holds_after;
                let status = task.status(job);
                let at = format!("job {}, key {}, {op}: {status}", job.id, task.key);
                if status == "Success" && (!(may_have || fact.held_before) || !fact.holds_after) {
                    self.broken(Promise::TrueSuccess, format!("{at}, but KMS neither did it nor had it"));
                }
                if status == "Canceled" && (granted || changed) {
                    self.broken(Promise::TrueCanceled, format!("{at}, but KMS did it"));
                }
                if let Some(rest) = status.strip_prefix("Failed: ") {
                    let code = rest.split(':').next().unwrap_or_default();
                    let said = match code {
                        // Keyfleet's own words: it could not look, or gave up for the workers' sake.
                        "OutcomeUnknown" | "WorkerLost" => true,
                        "NotFoundException" if !fact.reachable => true,
                        code => requests.iter().any(|row| row.error.as_deref() == Some(code)),
                    };
                    if !said {
                        self.broken(Promise::TrueFailure, format!("{at}, but KMS never said so"));
                    }
                    if changed && code != "OutcomeUnknown" {
                        self.broken(Promise::TrueFailure, format!("{at}, but KMS did it"));
                    }
                }
                if !fact.reachable && !requests.is_empty() {
                    self.broken(Promise::Apart, format!("{at}, but KMS was asked"));
                }
                if let Some(other) = requests.iter().find(|row| row.is_mutating() && row.op != *op) {
                    self.broken(Promise::TrueSuccess, format!("{at}, but {} was sent", other.op));
                }
            }
        }
    }

    fn stopped(&mut self) {
        let mut first: BTreeMap<&str, u64> = BTreeMap::new();
        for event in &self.evidence.history {
            let (Call::Cancel { job }, Answer::Job(200, view)) = (&event.call, &event.answer) else { continue };
            let at = first.entry(job).or_insert(event.answered_ns);
            *at = event.answered_ns.min(*at);
            if view.overall == "in_progress" || view.counts.in_progress > 0 {
                self.broken(
                    Promise::Stopped,
                    format!("job {job}: 200 with {} keys in progress", view.counts.in_progress),
                );
            }
        }
        for (job, at) in first {
            for task in self.tasks_of(job) {
                for row in self.requests_of(&task.key) {
                    if row.is_mutating() && row.at_ns > at {
                        let late = (row.at_ns - at) / 1_000_000;
                        let what = format!("job {job}, key {}: {} {late} ms after the 200 to cancel", task.key, row.op);
                        self.broken(Promise::Stopped, what);
                    }
                }
            }
        }
    }

    fn once(&mut self) {
        let mut answered: BTreeMap<(&Caller, &str), BTreeSet<&str>> = BTreeMap::new();
        for (id, event) in self.evidence.accepted() {
            if let Call::Create { once: Some(once), .. } = &event.call {
                answered.entry((&event.caller, once)).or_default().insert(id);
            }
        }
        for ((_, once), ids) in answered {
            if ids.len() > 1 {
                self.broken(Promise::Once, format!("{once} made the jobs {ids:?}"));
            }
        }
        // Also those of which nobody was told: a key of a retried create stands in one job only.
        let mut job_of: BTreeMap<&str, &str> = BTreeMap::new();
        for task in &self.evidence.tasks {
            if let Some(other) = job_of.insert(&task.key, &task.job)
                && other != task.job
            {
                self.broken(Promise::Once, format!("{} is in the jobs {other} and {}", task.key, task.job));
            }
        }
    }

    fn agree(&mut self) {
        let read: BTreeSet<&str> = self.evidence.at_rest.iter().map(|job| job.read.id.as_str()).collect();
        for (id, _) in self.evidence.accepted() {
            if !read.contains(id) {
                self.broken(Promise::Agree, format!("job {id} could not be read at rest"));
            }
        }
        for job in &self.evidence.at_rest {
            let view = &job.read;
            let id = &view.id;
            let rows: BTreeMap<String, String> =
                job.rows.iter().map(|(key, state, detail)| (key.clone(), status(state, detail.as_deref()))).collect();
            if rows != view.statuses {
                self.broken(
                    Promise::Agree,
                    format!("job {id}: {{id}}/keys tells {rows:?}, {{id}} {:?}", view.statuses),
                );
            }
            let same = |listed: &View| {
                (&listed.overall, listed.abort, listed.counts) == (&view.overall, view.abort, view.counts)
            };
            if tally(view) != (Counts { already: 0, ..view.counts }) {
                self.broken(Promise::Agree, format!("job {id}: {:?} of {:?}", view.counts, view.statuses));
            }
            if !job.listed.as_ref().is_some_and(same) {
                self.broken(Promise::Agree, format!("job {id}: listed {:?}, read {:?}", job.listed, view.counts));
            }
            let Some(row) = self.jobs.get(id.as_str()).copied() else { continue };
            let stored: BTreeMap<String, String> =
                self.tasks_of(id).iter().map(|task| (task.key.clone(), task.status(row))).collect();
            if stored != view.statuses || row.counts != view.counts || row.abort != view.abort {
                self.broken(Promise::Agree, format!("job {id}: stored {:?}, told {:?}", row.counts, view.counts));
            }
        }
    }

    fn apart(&mut self) {
        let told_to_stop = |job: &JobRow| {
            self.evidence.history.iter().any(|event| {
                matches!(&event.call, Call::Cancel { job: named } if *named == job.id)
                    && event.caller.tenant == job.tenant
            })
        };
        let by_nobody: Vec<&JobRow> = self.evidence.jobs.iter().filter(|job| job.abort && !told_to_stop(job)).collect();
        for job in by_nobody {
            self.broken(Promise::Apart, format!("job {} was canceled by nobody of its tenant", job.id));
        }
        for event in &self.evidence.history {
            for view in views(event) {
                let Some(job) = self.jobs.get(view.id.as_str()) else { continue };
                if job.tenant != event.caller.tenant {
                    let what = format!("{} of {} was told of job {}", event.caller.user, event.caller.tenant, view.id);
                    self.broken(Promise::Apart, what);
                }
            }
            let (Call::Read { job } | Call::Cancel { job }) = &event.call else { continue };
            let foreign = self.jobs.get(job.as_str()).is_some_and(|row| row.tenant != event.caller.tenant);
            // 403 would tell that there is such a job.
            if foreign && matches!(event.answer, Answer::Refused(403)) {
                self.broken(Promise::Apart, format!("{} learned that job {job} exists", event.caller.user));
            }
        }
    }
}

/// The counts that the statuses of a job make; who was there already they do not tell.
fn tally(view: &View) -> Counts {
    let mut counts = Counts { total: view.statuses.len(), ..Counts::default() };
    for status in view.statuses.values() {
        match status.as_str() {
            "Success" => counts.succeeded += 1,
            "Canceled" => counts.canceled += 1,
            "in_progress" => counts.in_progress += 1,
            _ => counts.failed += 1,
        }
    }
    counts
}

/// The jobs that an answer tells of.
fn views(event: &Event) -> &[View] {
    match &event.answer {
        Answer::Job(_, view) => std::slice::from_ref(view),
        Answer::Jobs(views) => views,
        Answer::Refused(_) | Answer::Nothing => &[],
    }
}
