//! What became of a run, in a line, and of many, in a table.

use std::collections::BTreeMap;
use std::fmt;
use std::fmt::Write as _;
use std::time::Duration;

use super::checker::Violation;
use super::evidence::{Answer, Call, Evidence};
use super::schedule::Schedule;

/// What became of a run.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The schedule, with its seed.
    pub schedule: Schedule,
    /// From the end of the last fault until every job had ended.
    pub rest: Duration,
    /// How many there were.
    pub figures: Figures,
    /// What was broken; nothing when all promises were kept.
    pub violations: Vec<Violation>,
}

/// How much a run did.
#[derive(Clone, Copy, Debug, Default)]
pub struct Figures {
    faults: usize,
    jobs: usize,
    keys: usize,
    /// Jobs that a cancel was answered 200 for.
    canceled: usize,
    calls: usize,
    refused: usize,
    unanswered: usize,
    kms_requests: usize,
}

impl Figures {
    pub(super) fn of(schedule: &Schedule, evidence: &Evidence) -> Self {
        let count = |such: fn(&Answer) -> bool| evidence.history.iter().filter(|event| such(&event.answer)).count();
        let stopped = evidence.history.iter().filter_map(|event| match (&event.call, &event.answer) {
            (Call::Cancel { job }, Answer::Job(200, _)) => Some(job),
            _ => None,
        });
        Self {
            faults: schedule.moments.len(),
            jobs: evidence.jobs.len(),
            keys: evidence.tasks.len(),
            canceled: stopped.collect::<std::collections::BTreeSet<_>>().len(),
            calls: evidence.history.len(),
            refused: count(|answer| matches!(answer, Answer::Refused(_))),
            unanswered: count(|answer| *answer == Answer::Nothing),
            kms_requests: evidence.kms.len(),
        }
    }

    /// Whether jobs were run and canceled, and KMS was asked: a run without any of it shows nothing.
    #[must_use]
    pub const fn has_everything(&self) -> bool {
        self.jobs > 0 && self.keys > 0 && self.canceled > 0 && self.kms_requests > 0
    }

    fn add(&mut self, other: Self) {
        let Self { faults, jobs, keys, canceled, calls, refused, unanswered, kms_requests } = other;
        self.faults += faults;
        self.jobs += jobs;
        self.keys += keys;
        self.canceled += canceled;
        self.calls += calls;
        self.refused += refused;
        self.unanswered += unanswered;
        self.kms_requests += kms_requests;
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Figures { faults, jobs, keys, canceled, calls, refused, unanswered, kms_requests } = self.figures;
        write!(
            f,
            "seed {}: {faults} faults, {jobs} jobs, {keys} keys, {canceled} canceled, {calls} calls ({refused} refused, \
             {unanswered} unanswered), {kms_requests} KMS requests, at rest after {:.1} s, {} violations",
            self.schedule.seed,
            self.rest.as_secs_f64(),
            self.violations.len(),
        )
    }
}

/// Many runs, added up: faults by kind, what they struck, and what broke.
#[must_use]
pub fn table(outcomes: &[Outcome]) -> String {
    let mut kinds: BTreeMap<&str, usize> = BTreeMap::new();
    let mut sum = Figures::default();
    let mut rests: Vec<Duration> = Vec::new();
    for outcome in outcomes {
        for moment in &outcome.schedule.moments {
            *kinds.entry(moment.fault.kind()).or_default() += 1;
        }
        sum.add(outcome.figures);
        rests.push(outcome.rest);
    }
    rests.sort_unstable();
    let mut rows: Vec<(String, String)> = vec![("runs".to_owned(), outcomes.len().to_string())];
    rows.push(("faults".to_owned(), sum.faults.to_string()));
    rows.extend(kinds.into_iter().map(|(kind, count)| (format!("  {kind}"), count.to_string())));
    for (what, count) in [
        ("jobs", sum.jobs),
        ("keys", sum.keys),
        ("jobs canceled", sum.canceled),
        ("calls", sum.calls),
        ("  refused", sum.refused),
        ("  unanswered", sum.unanswered),
        ("KMS requests", sum.kms_requests),
    ] {
        rows.push((what.to_owned(), count.to_string()));
    }
    let rest = |at: usize| rests.get(at).map_or_else(String::new, |rest| format!("{:.1} s", rest.as_secs_f64()));
    rows.push(("at rest after, median".to_owned(), rest(rests.len() / 2)));
    rows.push(("at rest after, most".to_owned(), rest(rests.len().saturating_sub(1))));
    let violations: usize = outcomes.iter().map(|outcome| outcome.violations.len()).sum();
    rows.push(("violations".to_owned(), violations.to_string()));
    rows.into_iter().fold(String::new(), |mut text, (what, count)| {
        let _ = writeln!(text, "{what:<24}{count:>10}");
        text
    })
}
