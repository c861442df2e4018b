//! `pace`: how much of each lane's quota is used while there is work, and how many requests are throttled.
//!
//! Told by the KMS end's log: granted and throttled requests by Region (each Region is a lane of the default account), in a
//! window that begins when the job has got going. Beside the plain cases there is one whose lane is as fast as AWS's largest
//! quotas and whose KMS end is slow, so that many requests are in flight, one in which another client takes half of a
//! lane's quota from the middle of the window on, and one whose keys all are as asked already, which is paced by the quota of
//! reading.

use std::{collections::BTreeMap, time::Duration};

use anyhow::{Context, Result, ensure};
use end_to_end::{Keyfleet, Row, kms_end::arn};
use reqwest::Method;
use serde_json::{Value, json};
use service_kit::clock;
use tokio::time::{MissedTickBehavior, interval, sleep};

use crate::{
    bench::settings,
    ending::{all_succeeded, ended},
    plot::Plot,
    report::{Report, name_of, sample},
    scenario::Extent,
    statistics::{count, percentile},
    times::wall_ns,
};

/// AWS's default quota of EnableKey, requests a second.
const AWS_ENABLE_KEY: f64 = 5.0;
/// AWS's default quota of DescribeKey.
const AWS_DESCRIBE_KEY: f64 = 2_000.0;
/// The quota of the fast lane, and the KMS end's latency meanwhile.
const FAST_QUOTA: f64 = 1_000.0;
const FAST_LATENCY_MS: u32 = 30;
/// The quota of the case with another client: enough requests that its shares are sharp.
const SHARED_QUOTA: f64 = 50.0;
/// How long Keyfleet may take to make room for another client.
const ADAPTED_AFTER: Duration = Duration::from_secs(10);
/// Until the window of a case begins: the leader's buckets start empty, the KMS end's full.
const SETTLE: Duration = Duration::from_secs(4);

/// What happens in a case.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Plain,
    Rival,
    Already,
}

#[derive(Debug, Clone, Copy)]
struct Case {
    kind: Kind,
    workers: usize,
    lanes: usize,
    quota: f64,
    latency_ms: u32,
    window: Duration,
}

fn cases(extent: Extent) -> Vec<Case> {
    let seconds = Duration::from_secs;
    let case = |kind, workers, lanes, quota, s| Case { kind, workers, lanes, quota, latency_ms: 0, window: seconds(s) };
    let plain = |workers, lanes, s| case(Kind::Plain, workers, lanes, AWS_ENABLE_KEY, s);
    let fast = |s| Case { latency_ms: FAST_LATENCY_MS, ..case(Kind::Plain, 1, 1, FAST_QUOTA, s) };
    let rival = |workers, s| case(Kind::Rival, workers, 1, SHARED_QUOTA, s);
    let already = |s| case(Kind::Already, 1, 1, AWS_ENABLE_KEY, s);
    match extent {
        Extent::Tiny => {
            let tiny = |kind| case(kind, 1, 2, 20.0, 2);
            vec![tiny(Kind::Plain), tiny(Kind::Rival), already(1)]
        }
        Extent::Brief => vec![plain(1, 1, 20), plain(16, 200, 20), fast(20), rival(2, 30)],
        Extent::Short => {
            let plain = [(1, 1), (1, 200), (16, 1), (16, 200)].map(|(workers, lanes)| plain(workers, lanes, 40));
            plain.into_iter().chain([fast(40), rival(2, 60), already(8)]).collect()
        }
        Extent::Full => {
            let mut all = Vec::new();
            for workers in [1, 4, 16] {
                all.extend([1, 20, 200].map(|lanes| plain(workers, lanes, 120)));
            }
            all.extend([fast(120), rival(1, 120), rival(16, 120), already(20)]);
            all
        }
    }
}

pub(super) async fn run(extent: Extent) -> Result<Report> {
    let mut rows = Vec::new();
    for case in cases(extent) {
        let row = match case.kind {
            Kind::Plain | Kind::Rival => lanes(case).await,
            Kind::Already => already(case).await,
        };
        rows.push(row.with_context(|| format!("{case:?}"))?);
    }
    let columns = [
        "case",
        "workers",
        "lanes",
        "quota_per_s",
        "latency_ms",
        "window_s",
        "share_of_quota",
        "share_p50",
        "throttled_share",
        "share_of_what_is_left",
        "throttled_share_with_rival",
        "per_s",
    ];
    let lines = rows.iter().filter(|row| row["granted_by_second"].is_array()).map(by_time).collect();
    let plot = Plot::lines("share of all lanes' quota that is used", "second", lines);
    Ok(Report::new(headline(&rows)?, &columns, rows, plot))
}

/// The granted requests of each second, as a share of what the quotas let through.
fn by_time(row: &Value) -> (String, Vec<(f64, f64)>) {
    let all = row["quota_per_s"].as_f64().unwrap_or(1.0) * row["lanes"].as_f64().unwrap_or(1.0);
    let points = sample(row, "granted_by_second").into_iter().enumerate().map(|(n, granted)| (count(n), granted / all));
    (format!("{} workers, {} lanes, {}", row["workers"], row["lanes"], name_of(row, &["case"])), points.collect())
}

/// The worst lane of the plain cases, and the case with a rival.
fn headline(rows: &[Value]) -> Result<Value> {
    let of = |kind: &str, field: &str| -> Vec<f64> {
        rows.iter().filter(|row| row["case"] == kind).filter_map(|row| row[field].as_f64()).collect()
    };
    let share = of("plain", "share_of_quota").into_iter().reduce(f64::min).context("no plain case")?;
    Ok(json!({
        "share_of_quota": share,
        "throttled_share": of("plain", "throttled_share").into_iter().reduce(f64::max),
        "share_of_what_is_left": of("rival", "share_of_what_is_left").into_iter().reduce(f64::min),
        "throttled_share_with_rival": of("rival", "throttled_share_with_rival").into_iter().reduce(f64::max),
    }))
}

/// A job over lanes with work for longer than the window.
async fn lanes(case: Case) -> Result<Value> {
    let quota =
        if case.quota == AWS_ENABLE_KEY { "aws".to_owned() } else { json!({"EnableKey": case.quota}).to_string() };
    let stack = Keyfleet::start(settings(case.workers, &quota)).await?;
    stack.sim.configure(&json!({"latency_ms": {"mean": case.latency_ms}})).await?;
    // A fifth more than the quota could let through, and the first second's burst.
    let per_lane = ((SETTLE + case.window).as_secs_f64() * case.quota * 1.2 + case.quota).ceil();
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "some thousands at the most")]
    let keys = keys_in_turns(&stack, case.lanes, per_lane as usize).await?;
    let rivals_key = make_keys(&stack, 1, &region(0), "Enabled").await?.remove(0);
    let job = stack.create("enablekey", &keys).await?;
    sleep(SETTLE).await;

    let from = wall_ns();
    let middle = match case.kind {
        Kind::Plain | Kind::Already => {
            sleep(case.window).await;
            None
        }
        Kind::Rival => {
            sleep(case.window / 2).await;
            let middle = wall_ns();
            rival(&stack, &rivals_key, case.quota / 2.0, case.window / 2).await?;
            Some(middle)
        }
    };
    let until = wall_ns();
    ensure!(job.now_without_keys().await?.overall_status == "in_progress", "the job ended within the window");
    stack.admin.call(Method::POST, &job.path("/cancel")).send().await?.expect(200)?;

    let rows = stack.sim.log_after(0).await?;
    let (rivals, ours): (Vec<Row>, Vec<Row>) = rows
        .into_iter()
        .filter(|row| row.op == "EnableKey")
        .partition(|row| row.key.as_deref() == Some(rivals_key.as_str()));
    let mut row = plain_row(case, &ours, from, middle.unwrap_or(until));
    row["case"] = json!(if middle.is_some() { "rival" } else { "plain" });
    if let Some(middle) = middle {
        let adapted = middle + u64::try_from(ADAPTED_AFTER.min(case.window / 4).as_nanos())?;
        let taken = Tally::of(rivals.iter(), adapted, until);
        let left = case.quota * seconds(adapted, until) - count(taken.granted);
        let mine = |from| Tally::of(ours.iter().filter(|row| row.region == region(0)), from, until);
        row["share_of_what_is_left"] = json!(count(mine(adapted).granted) / left);
        row["throttled_share_with_rival"] = json!(mine(middle).throttled_share());
        row["rival_per_s"] = json!(count(taken.granted) / seconds(adapted, until));
    }
    row["granted_by_second"] = json!(by_second(&ours, from, until));
    Ok(row)
}

fn plain_row(case: Case, rows: &[Row], from: u64, until: u64) -> Value {
    let window = seconds(from, until);
    let mut by_lane: BTreeMap<String, Vec<&Row>> = (0..case.lanes).map(|lane| (region(lane), Vec::new())).collect();
    for row in rows {
        if let Some(lane) = by_lane.get_mut(&row.region) {
            lane.push(row);
        }
    }
    let tallies: Vec<Tally> = by_lane.into_values().map(|rows| Tally::of(rows.into_iter(), from, until)).collect();
    let shares: Vec<f64> = tallies.iter().map(|tally| count(tally.granted) / (case.quota * window)).collect();
    let throttled = tallies.iter().map(Tally::throttled_share).fold(0.0, f64::max);
    json!({
        "workers": case.workers, "lanes": case.lanes, "quota_per_s": case.quota, "latency_ms": case.latency_ms,
        "window_s": window,
        "share_of_quota": percentile(&shares, 0.0), "share_p50": percentile(&shares, 50.0),
        "throttled_share": throttled,
        "per_s": tallies.iter().map(|tally| count(tally.granted)).sum::<f64>() / window,
        "shares": shares,
    })
}

/// A job whose keys are all as asked: it is read at the quota of DescribeKey, and nothing is changed.
async fn already(case: Case) -> Result<Value> {
    let stack = Keyfleet::start(settings(case.workers, "aws")).await?;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "some thousands")]
    let keys = stack.sim.make_keys((case.window.as_secs_f64() * AWS_DESCRIBE_KEY) as usize, "Enabled").await?;
    let from = clock::boottime();
    let job = stack.create("enablekey", &keys).await?;
    let ending = ended(&stack.admin, &job).await?;
    all_succeeded(&ending.job)?;
    ensure!(ending.job.counts.already == keys.len(), "{:?}", ending.job.counts);
    let rows = stack.sim.log_after(0).await?;
    ensure!(rows.iter().all(|row| !row.is_mutating()), "a key was changed though it was as asked");
    let throttled = rows.iter().filter(|row| is_throttled(row)).count();
    let took = ending.at.since(from).as_secs_f64();
    Ok(json!({
        "case": "already as asked", "workers": case.workers, "lanes": 1, "quota_per_s": AWS_DESCRIBE_KEY, "window_s": took,
        "share_of_quota": count(keys.len()) / took / AWS_DESCRIBE_KEY, "throttled_share": count(throttled) / count(rows.len()),
        "per_s": count(keys.len()) / took,
    }))
}

/// Another client of the first lane: so many requests a second, throttled or not.
async fn rival(stack: &Keyfleet, key: &str, per_s: f64, span: Duration) -> Result<()> {
    let from = clock::boottime();
    let mut ticks = interval(Duration::from_secs_f64(1.0 / per_s));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    while clock::boottime().since(from) < span {
        ticks.tick().await;
        stack.sim.send("EnableKey", key, &region(0)).await?;
    }
    Ok(())
}

/// Keys of all lanes, as ARNs, one of each lane after the other.
async fn keys_in_turns(stack: &Keyfleet, lanes: usize, per_lane: usize) -> Result<Vec<String>> {
    let mut by_lane = Vec::new();
    for lane in 0..lanes {
        by_lane.push(make_keys(stack, per_lane, &region(lane), "Disabled").await?);
    }
    let arn_of = |turn: usize, lane: usize| arn(&region(lane), &by_lane[lane][turn]);
    Ok((0..per_lane).flat_map(|turn| (0..lanes).map(move |lane| (turn, lane))).map(|(t, l)| arn_of(t, l)).collect())
}

/// Makes keys in a Region.
pub(super) async fn make_keys(stack: &Keyfleet, count: usize, region: &str, state: &str) -> Result<Vec<String>> {
    stack.sim.make_keys_as(&json!({"count": count, "state": state, "region": region})).await
}

/// The Region of a lane.
pub(super) fn region(lane: usize) -> String {
    format!("load-test-{lane}")
}

/// Requests within a window.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Tally {
    granted: usize,
    throttled: usize,
    all: usize,
}

impl Tally {
    fn of<'a>(rows: impl Iterator<Item = &'a Row>, from: u64, until: u64) -> Self {
        rows.filter(|row| (from..until).contains(&row.at_ns)).fold(Self::default(), |tally, row| Self {
            granted: tally.granted + usize::from(row.status == 200),
            throttled: tally.throttled + usize::from(is_throttled(row)),
            all: tally.all + 1,
        })
    }

    fn throttled_share(&self) -> f64 {
        count(self.throttled) / count(self.all.max(1))
    }
}

fn is_throttled(row: &Row) -> bool {
    row.error.as_deref() == Some("ThrottlingException")
}

/// Granted requests in each whole second of a window.
fn by_second(rows: &[Row], from: u64, until: u64) -> Vec<usize> {
    let whole = usize::try_from((until - from) / 1_000_000_000).unwrap_or_default();
    let mut seconds = vec![0; whole];
    for row in rows.iter().filter(|row| row.status == 200 && row.at_ns >= from) {
        let second = usize::try_from((row.at_ns - from) / 1_000_000_000).unwrap_or(usize::MAX);
        if let Some(granted) = seconds.get_mut(second) {
            *granted += 1;
        }
    }
    seconds
}

fn seconds(from_ns: u64, until_ns: u64) -> f64 {
    Duration::from_nanos(until_ns.saturating_sub(from_ns)).as_secs_f64()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(at_ms: u64, lane: usize, throttled: bool) -> Row {
        let (status, error) = if throttled { (400, json!("ThrottlingException")) } else { (200, Value::Null) };
        serde_json::from_value(json!({
            "n": 1, "at_ns": at_ms * 1_000_000, "account": "", "region": region(lane), "op": "EnableKey", "key": "k", "status": status, "error": error
        }))
        .unwrap()
    }

    #[test]
    fn the_worst_lane_counts_and_what_is_outside_the_window_does_not() {
        let case =
            Case { kind: Kind::Plain, workers: 1, lanes: 2, quota: 2.0, latency_ms: 0, window: Duration::from_secs(1) };
        let rows = [
            row(999, 0, false),
            row(1_000, 0, false),
            row(1_500, 0, false),
            row(1_900, 1, false),
            row(1_950, 1, true),
            row(2_000, 1, false),
        ];
        let found = plain_row(case, &rows, 1_000_000_000, 2_000_000_000);
        assert_eq!((found["share_of_quota"].as_f64(), found["throttled_share"].as_f64()), (Some(0.5), Some(0.5)));
        assert_eq!(found["shares"], json!([1.0, 0.5]));
    }

    #[test]
    fn a_lane_without_any_request_is_the_worst() {
        let case =
            Case { kind: Kind::Plain, workers: 1, lanes: 3, quota: 1.0, latency_ms: 0, window: Duration::from_secs(1) };
        let found = plain_row(case, &[row(100, 0, false), row(100, 2, false)], 0, 1_000_000_000);
        assert_eq!(found["share_of_quota"].as_f64(), Some(0.0));
    }

    #[test]
    fn seconds_are_counted_from_the_windows_begin() {
        let rows = [
            row(400, 0, false),
            row(500, 0, false),
            row(1_499, 0, false),
            row(1_500, 0, true),
            row(2_400, 0, false),
            row(2_600, 0, false),
        ];
        assert_eq!(by_second(&rows, 500_000_000, 2_500_000_000), [2, 1]);
    }

    #[test]
    fn the_headline_is_the_worst_of_the_plain_cases() {
        let rows = [
            json!({"case": "plain", "share_of_quota": 0.99, "throttled_share": 0.0}),
            json!({"case": "plain", "share_of_quota": 0.98, "throttled_share": 0.001}),
            json!({"case": "rival", "share_of_quota": 0.5, "throttled_share": 0.5, "share_of_what_is_left": 0.93}),
        ];
        let found = headline(&rows).unwrap();
        assert_eq!((found["share_of_quota"].as_f64(), found["throttled_share"].as_f64()), (Some(0.98), Some(0.001)));
        assert_eq!(found["share_of_what_is_left"].as_f64(), Some(0.93));
    }
}
