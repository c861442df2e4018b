//! `cancel`: how long a cancel takes to be answered while the job's requests are under way, and whether anything that changes
//! a key still arrives at the KMS end after the answer.
//!
//! A cancel cannot be answered before the requests in flight are: what counts is `over_ms`, from the answer to the last request
//! that was in flight when the cancel was sent, as the KMS end's log has it, to the cancel's. On a machine that has more to do
//! than it can, the KMS end answers later than the latency it is set to; `over_latency_ms` counts from where that latency
//! would have ended. Requests begun after the cancel was sent, by workers that had not heard of it, are Keyfleet's own
//! delay and not taken off; `begun_ms` is when the last of them arrived.
//!
//! Late requests are found by key: consecutive jobs use keys of different pools, so that what arrives of one pool between the
//! answer and the pool's next job is the stopped job's. The keys are used again with `force`, which makes both calls for
//! every key whatever state it is in.

use std::{collections::HashMap, time::Duration};

use anyhow::{Context, Result, ensure};
use end_to_end::{Job, Keyfleet, Row};
use rand::Rng as _;
use reqwest::Method;
use serde_json::{Value, json};
use service_kit::clock;

use crate::{
    bench::settings,
    ending::ended,
    plot::{Plot, distribution},
    report::Report,
    scenario::Extent,
    statistics::percentile,
    times::{ms, wall_ns},
};

/// How long the KMS end is listened to after the last cancel.
const LISTEN: Duration = Duration::from_secs(2);
/// Longer jobs are cancelled within their first second all the same.
const LONGEST_RUN: Duration = Duration::from_secs(1);

/// One combination.
#[derive(Debug, Clone, Copy)]
struct Case {
    workers: usize,
    latency_ms: u32,
    keys: usize,
    cancels: usize,
}

/// A cancel, in wall-clock nanoseconds since 1970, as the KMS end's log counts.
#[derive(Debug, Clone, Copy)]
struct Cancel {
    pool: usize,
    sent_ns: u64,
    answered_ns: u64,
    /// When the next job over the same keys was sent; the end of all times for the last.
    reused_ns: u64,
}

fn cases(extent: Extent) -> Vec<Case> {
    let case = |workers, latency_ms, keys, cancels| Case { workers, latency_ms, keys, cancels };
    match extent {
        Extent::Tiny => vec![case(4, 20, 1_000, 3)],
        Extent::Brief => vec![
            case(4, 20, 1_000, 120),
            case(4, 20, 10_000, 30),
            case(4, 20, 100_000, 3),
            case(4, 0, 1_000, 20),
            case(4, 100, 1_000, 20),
        ],
        Extent::Short => vec![
            case(4, 20, 1_000, 450),
            case(4, 20, 10_000, 100),
            case(4, 20, 100_000, 10),
            case(4, 0, 1_000, 60),
            case(4, 100, 1_000, 60),
        ],
        Extent::Full => {
            let mut all = vec![case(4, 20, 1_000, 1_700), case(4, 20, 10_000, 300), case(4, 20, 100_000, 30)];
            all.push(case(4, 20, 1_000_000, 3));
            for workers in [1, 4, 16] {
                for latency_ms in [0, 20, 100] {
                    if (workers, latency_ms) != (4, 20) {
                        all.extend([case(workers, latency_ms, 1_000, 200), case(workers, latency_ms, 100_000, 10)]);
                    }
                }
            }
            all.sort_by_key(|case| case.workers);
            all
        }
    }
}

pub(super) async fn run(extent: Extent) -> Result<Report> {
    let mut found: Vec<Found> = Vec::new();
    let all = cases(extent);
    for same in all.chunk_by(|a, b| a.workers == b.workers) {
        let stack = Keyfleet::start(settings(same[0].workers, "off")).await?;
        for case in same {
            found.push(measure(&stack, *case).await.with_context(|| format!("{case:?}"))?);
        }
    }
    let columns = [
        "workers",
        "latency_ms",
        "keys",
        "cancels",
        "answer_ms_p50",
        "answer_ms_p99",
        "over_ms_p50",
        "over_ms_p90",
        "over_ms_p99",
        "over_ms_max",
        "over_latency_ms_p50",
        "over_latency_ms_p99",
        "begun_ms_p50",
        "begun_ms_p99",
        "not_yet_stopped",
        "late_requests",
    ];
    let line = |found: &Found| {
        let Case { workers, latency_ms, keys, .. } = found.case;
        (format!("{keys} keys, {workers} workers, {latency_ms} ms"), distribution(&found.over_ms))
    };
    let title = "cancel: milliseconds beyond the requests in flight";
    let plot = Plot::lines(title, "percent of the cancels", found.iter().map(line).collect());
    Ok(Report::new(headline(&found)?, &columns, found.iter().map(Found::row).collect(), plot))
}

/// What a case showed.
#[derive(Debug)]
struct Found {
    case: Case,
    answer_ms: Vec<f64>,
    over_ms: Vec<f64>,
    over_latency_ms: Vec<f64>,
    begun_ms: Vec<f64>,
    /// Answered 202.
    not_yet: usize,
    /// Jobs that had ended before their cancel: not counted.
    missed: usize,
    late: usize,
}

impl Found {
    fn row(&self) -> Value {
        let at = |sample: &[f64], percent| percentile(sample, percent);
        json!({
            "workers": self.case.workers, "latency_ms": self.case.latency_ms, "keys": self.case.keys,
            "cancels": self.over_ms.len(),
            "answer_ms_p50": at(&self.answer_ms, 50.0), "answer_ms_p99": at(&self.answer_ms, 99.0),
            "over_ms_p50": at(&self.over_ms, 50.0), "over_ms_p90": at(&self.over_ms, 90.0),
            "over_ms_p99": at(&self.over_ms, 99.0), "over_ms_max": at(&self.over_ms, 100.0),
            "over_latency_ms_p50": at(&self.over_latency_ms, 50.0), "over_latency_ms_p99": at(&self.over_latency_ms, 99.0),
            "begun_ms_p50": at(&self.begun_ms, 50.0), "begun_ms_p99": at(&self.begun_ms, 99.0),
            "not_yet_stopped": self.not_yet, "already_ended": self.missed, "late_requests": self.late,
            "over_ms": self.over_ms,
        })
    }
}

/// At 20 ms, 4 workers, up to 100,000 keys; and the late requests of all.
fn headline(found: &[Found]) -> Result<Value> {
    let agreed = |found: &&Found| {
        found.case.workers == 4 && found.case.latency_ms == 20 && (1_000..=100_000).contains(&found.case.keys)
    };
    let over: Vec<f64> = found.iter().filter(agreed).flat_map(|found| found.over_ms.iter().copied()).collect();
    Ok(json!({
        "cancels": over.len(),
        "over_ms_p50": percentile(&over, 50.0).context("no cancels")?,
        "over_ms_p99": percentile(&over, 99.0).context("no cancels")?,
        "late_requests": found.iter().map(|found| found.late).sum::<usize>(),
        "cancels_of_all_cases": found.iter().map(|found| found.over_ms.len()).sum::<usize>(),
    }))
}

async fn measure(stack: &Keyfleet, case: Case) -> Result<Found> {
    stack.sim.configure(&json!({"latency_ms": {"mean": case.latency_ms}})).await?;
    let mut pools = Vec::new();
    for _ in 0..if case.keys > 10_000 { 2 } else { 4 } {
        pools.push(stack.sim.make_keys(case.keys, "Disabled").await?);
    }
    let span = run_span(stack, &pools[0]).await?;
    let first = last_row(stack).await?;
    let mut done = Done::default();
    while done.cancels.len() < case.cancels {
        ensure!(done.missed <= case.cancels * 2 + 20, "the jobs end before they can be cancelled");
        let pool = (done.cancels.len() + done.missed) % pools.len();
        cancel_one(stack, pool, &pools[pool], span, &mut done).await?;
    }
    tokio::time::sleep(LISTEN).await;
    let rows = stack.sim.log_after(first).await?;
    let latency_ns = u64::from(case.latency_ms) * 1_000_000;
    let by_pool = by_pool(&pools, rows);
    let each = |of: &dyn Fn(&Cancel, &[Row]) -> f64| -> Vec<f64> {
        done.cancels.iter().map(|cancel| of(cancel, &by_pool[cancel.pool])).collect()
    };
    let took_ns = |row: &Row| row.took_us.map_or(latency_ns, |us| u64::from(us) * 1_000);
    let over = each(&|cancel, rows| over_ms(cancel, rows, took_ns));
    let over_latency_ms = each(&|cancel, rows| over_ms(cancel, rows, |_| latency_ns));
    let begun_ms = each(&begun_ms);
    let late = done.cancels.iter().map(|cancel| late_requests(cancel, &by_pool[cancel.pool])).sum();
    let answer_ms = done.answer_ms;
    Ok(Found {
        case,
        answer_ms,
        over_ms: over,
        over_latency_ms,
        begun_ms,
        not_yet: done.not_yet,
        missed: done.missed,
        late,
    })
}

#[derive(Debug, Default)]
struct Done {
    cancels: Vec<Cancel>,
    answer_ms: Vec<f64>,
    not_yet: usize,
    missed: usize,
}

/// Creates a job and cancels it at a random moment of its run.
async fn cancel_one(stack: &Keyfleet, pool: usize, keys: &[String], span: Duration, done: &mut Done) -> Result<()> {
    let sent_ns = wall_ns();
    if let Some(earlier) = done.cancels.iter_mut().rev().find(|cancel| cancel.pool == pool) {
        earlier.reused_ns = earlier.reused_ns.min(sent_ns);
    }
    let job = create(stack, keys).await?;
    let moment = rand::rng().random_range(0.02..0.7);
    tokio::time::sleep(span.mul_f64(moment)).await;
    let (sent, sent_ns) = (clock::boottime(), wall_ns());
    let answer = stack.admin.call(Method::POST, &job.path("/cancel")).send().await?;
    let (answered, answered_ns) = (clock::boottime(), wall_ns());
    match answer.status {
        200 if answer.job()?.overall_status != "canceled" => {
            done.missed += 1;
            return Ok(());
        }
        200 => {}
        202 => {
            done.not_yet += 1;
            // Until it has stopped, so that the next job starts on a quiet stack.
            ended(&stack.admin, &job).await?;
        }
        _ => return answer.expect(200).map(drop),
    }
    done.cancels.push(Cancel { pool, sent_ns, answered_ns, reused_ns: u64::MAX });
    done.answer_ms.push(ms(answered.since(sent)));
    Ok(())
}

async fn create(stack: &Keyfleet, keys: &[String]) -> Result<Job> {
    stack.admin.create_as(&json!({"operation": "enablekey", "keys": keys, "force": true})).await
}

/// How long such a job runs after its creation at the least, and at most [`LONGEST_RUN`].
async fn run_span(stack: &Keyfleet, keys: &[String]) -> Result<Duration> {
    if keys.len() > 20_000 {
        return Ok(LONGEST_RUN);
    }
    ended(&stack.admin, &create(stack, keys).await?).await?; // connections and caches
    let mut least = LONGEST_RUN;
    for _ in 0..3 {
        let job = create(stack, keys).await?;
        let from = clock::boottime();
        let ending = ended(&stack.admin, &job).await?;
        least = least.min(ending.at.since(from));
    }
    Ok(least)
}

async fn last_row(stack: &Keyfleet) -> Result<u64> {
    stack.sim.mark(0).await
}

/// The rows by the pool that their key is of, in the order of arrival.
fn by_pool(pools: &[Vec<String>], rows: Vec<Row>) -> Vec<Vec<Row>> {
    let pool_of: HashMap<&str, usize> =
        pools.iter().enumerate().flat_map(|(pool, keys)| keys.iter().map(move |key| (key.as_str(), pool))).collect();
    let mut by_pool = vec![Vec::new(); pools.len()];
    for row in rows {
        if let Some(pool) = row.key.as_deref().and_then(|key| pool_of.get(key)) {
            by_pool[*pool].push(row);
        }
    }
    by_pool
}

/// From the end of the last request that was in flight when the cancel was sent to the answer.
fn over_ms(cancel: &Cancel, rows: &[Row], took_ns: impl Fn(&Row) -> u64) -> f64 {
    let in_flight = rows.iter().filter(|row| row.at_ns <= cancel.sent_ns).map(|row| row.at_ns + took_ns(row));
    let begin = in_flight.max().unwrap_or(0).max(cancel.sent_ns);
    later_ms(cancel.answered_ns, begin) - later_ms(begin, cancel.answered_ns)
}

/// From the cancel to the last request of its job that arrived before its answer; 0 if none did.
fn begun_ms(cancel: &Cancel, rows: &[Row]) -> f64 {
    let last = rows.iter().map(|row| row.at_ns).filter(|at_ns| *at_ns <= cancel.answered_ns).max();
    last.map_or(0.0, |last| later_ms(last, cancel.sent_ns))
}

fn later_ms(a_ns: u64, b_ns: u64) -> f64 {
    Duration::from_nanos(a_ns.saturating_sub(b_ns)).as_secs_f64() * 1_000.0
}

/// Requests of the stopped job that could change a key and arrived after the answer.
fn late_requests(cancel: &Cancel, rows: &[Row]) -> usize {
    let late = |row: &&Row| row.is_mutating() && row.at_ns > cancel.answered_ns && row.at_ns < cancel.reused_ns;
    rows.iter().filter(late).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(at_ms: u64, op: &str, key: &str) -> Row {
        let json = json!({"n": 1, "took_us": 21_500, "at_ns": at_ms * 1_000_000, "account": "", "region": "", "op": op, "key": key, "status": 200, "error": null});
        serde_json::from_value(json).unwrap()
    }

    fn cancel(sent_ms: u64, answered_ms: u64, reused_ms: u64) -> Cancel {
        let ns = |ms: u64| ms.saturating_mul(1_000_000);
        Cancel { pool: 0, sent_ns: ns(sent_ms), answered_ns: ns(answered_ms), reused_ns: ns(reused_ms) }
    }

    #[test]
    fn what_is_over_begins_where_the_last_request_in_flight_ends() {
        let rows = [row(90, "DescribeKey", "a"), row(95, "EnableKey", "a"), row(104, "EnableKey", "b")];
        let latency = |_: &Row| 20_000_000;
        let took = |row: &Row| u64::from(row.took_us.unwrap()) * 1_000;
        let is = |found: f64, wanted: f64| assert!((found - wanted).abs() < 1e-9, "{found} is not {wanted}");
        // The request of 95 ends at 115, or at 116.5 as it was; the one of 104 came after the cancel was sent.
        is(over_ms(&cancel(100, 123, 999), &rows, latency), 8.0);
        is(over_ms(&cancel(100, 123, 999), &rows, took), 6.5);
        is(begun_ms(&cancel(100, 123, 999), &rows), 4.0);
        // Nothing in flight: all of it.
        is(over_ms(&cancel(300, 304, 999), &rows, latency), 4.0);
        is(over_ms(&cancel(100, 104, 999), &[], latency), 4.0);
        is(begun_ms(&cancel(300, 304, 999), &rows), 0.0);
        // Answered before it can have ended: that would be an error, and shows.
        is(over_ms(&cancel(100, 110, 999), &rows, latency), -5.0);
    }

    #[test]
    fn late_is_what_changes_a_key_after_the_answer_and_before_the_next_job() {
        let rows = [
            row(100, "EnableKey", "a"),
            row(111, "DescribeKey", "a"),
            row(112, "EnableKey", "a"),
            row(150, "EnableKey", "a"),
        ];
        assert_eq!(late_requests(&cancel(100, 110, 140), &rows), 1);
        assert_eq!(late_requests(&cancel(100, 110, u64::MAX), &rows), 2);
        assert_eq!(late_requests(&cancel(100, 120, 140), &rows), 0);
    }

    #[test]
    fn rows_belong_to_the_pool_of_their_key() {
        let pools = [vec!["a".to_owned()], vec!["b".to_owned(), "c".to_owned()]];
        let rows = vec![row(1, "EnableKey", "c"), row(2, "EnableKey", "a"), row(3, "EnableKey", "x")];
        let by_pool = by_pool(&pools, rows);
        assert_eq!((by_pool[0].len(), by_pool[1].len(), by_pool[1][0].at_ns), (1, 1, 1_000_000));
    }

    #[test]
    fn the_headline_is_of_the_agreed_cases_but_no_late_request_is_left_out() {
        let found = |workers, latency_ms, keys, over: &[f64], late| Found {
            case: Case { workers, latency_ms, keys, cancels: over.len() },
            answer_ms: Vec::new(),
            over_ms: over.to_vec(),
            over_latency_ms: over.to_vec(),
            begun_ms: over.to_vec(),
            not_yet: 0,
            missed: 0,
            late,
        };
        let all =
            [found(4, 20, 1_000, &[3.0, 5.0], 0), found(4, 20, 100_000, &[9.0], 0), found(16, 100, 1_000, &[99.0], 1)];
        let headline = headline(&all).unwrap();
        assert_eq!(headline["cancels"], 3);
        assert_eq!((headline["over_ms_p50"].as_f64(), headline["over_ms_p99"].as_f64()), (Some(5.0), Some(9.0)));
        assert_eq!((&headline["late_requests"], &headline["cancels_of_all_cases"]), (&json!(1), &json!(4)));
    }
}
