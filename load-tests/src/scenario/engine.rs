//! `engine`: how fast keys go through Keyfleet when neither a quota nor the KMS end's latency slows them, and what CPU each
//! costs, against the bare SDK loop and, when it is compiled in, a queue upon Postgres (apalis-postgres).
//!
//! All work on the same KMS end, in turns (Keyfleet, loop, queue, Keyfleet, loop, queue …) with fresh keys, so that whatever
//! the machine does else meets all. Keyfleet's time runs from the POST until the job reads as ended, which it does once its last
//! status is committed. Its CPU counts until a second later, when what follows the end (acknowledgements) is done too.

use std::time::Duration;

use anyhow::{Context, Result};
use end_to_end::{Keyfleet, kms_end::KmsEnd};
use serde_json::{Value, json};
use service_kit::clock;

#[cfg(feature = "apalis")]
use crate::contender::apalis;
use crate::{
    bench::{reading, settings},
    contender::bare,
    ending::{all_succeeded, ended},
    report::{Report, bars},
    scenario::Extent,
    statistics::{count, median},
};

/// How long what follows a job's end is counted as its work.
const TAIL: Duration = Duration::from_secs(1);

/// Who is measured.
const KEYFLEET: &str = "keyfleet";
const BARE: &str = "bare loop";
const BARE_ONE_THREAD: &str = "bare loop, one thread";
const APALIS: &str = "apalis-postgres";

struct Plan {
    workers: &'static [usize],
    warm_up: usize,
    keys: usize,
    rounds: usize,
    one_thread_too: bool,
}

impl Plan {
    const fn of(extent: Extent) -> Self {
        match extent {
            Extent::Tiny => Self { workers: &[1], warm_up: 10, keys: 50, rounds: 1, one_thread_too: false },
            Extent::Brief => Self { workers: &[1], warm_up: 5_000, keys: 20_000, rounds: 2, one_thread_too: false },
            Extent::Short => Self { workers: &[1], warm_up: 5_000, keys: 30_000, rounds: 3, one_thread_too: false },
            Extent::Full => {
                Self { workers: &[1, 2, 4], warm_up: 5_000, keys: 100_000, rounds: 3, one_thread_too: true }
            }
        }
    }
}

pub(super) async fn run(extent: Extent) -> Result<Report> {
    let plan = Plan::of(extent);
    let mut rows = Vec::new();
    for workers in plan.workers {
        let stack = Keyfleet::start(settings(*workers, "off")).await?;
        keyfleet(&stack, plan.warm_up).await.context("warming up")?;
        bare_loop(&stack.sim, stack.parts.sim_url(), plan.warm_up, None).await.context("warming up")?;
        #[cfg(feature = "apalis")]
        apalis_queue(&stack, plan.warm_up).await.context("warming up")?;
        for round in 1..=plan.rounds {
            let mut tell = |who: &str, mut row: Value| {
                (row["who"], row["workers"], row["round"]) = (json!(who), json!(workers), json!(round));
                rows.push(row);
            };
            tell(KEYFLEET, keyfleet(&stack, plan.keys).await?);
            tell(BARE, bare_loop(&stack.sim, stack.parts.sim_url(), plan.keys, None).await?);
            #[cfg(feature = "apalis")]
            tell(APALIS, apalis_queue(&stack, plan.keys).await?);
            if plan.one_thread_too {
                tell(BARE_ONE_THREAD, bare_loop(&stack.sim, stack.parts.sim_url(), plan.keys, Some(1)).await?);
            }
        }
    }
    let headline = headline(&rows)?;
    let columns = [
        "who",
        "workers",
        "round",
        "keys_per_s",
        "cpu_s_per_1000",
        "us_per_key.api-gateway",
        "us_per_key.job-scheduler",
        "us_per_key.kms-worker",
        "us_per_key.rabbitmq",
        "us_per_key.postgres",
        "us_per_key.kms-sim",
        "others_share",
    ];
    let plot = bars("keys a second: who, workers, round", &rows, &["who", "workers", "round"], "keys_per_s");
    Ok(Report::new(headline, &columns, rows, plot))
}

/// Medians with one worker.
fn headline(rows: &[Value]) -> Result<Value> {
    let middle = |who: &str, field: &str| {
        let those = rows.iter().filter(|row| row["who"] == who && row["workers"] == 1);
        let sample: Vec<f64> = those.filter_map(|row| row[field].as_f64()).collect();
        median(&sample).with_context(|| format!("no {field} of {who}"))
    };
    let (own, bare) = (middle(KEYFLEET, "keys_per_s")?, middle(BARE, "keys_per_s")?);
    let mut headline = json!({
        "keys_per_s": own,
        "bare_keys_per_s": bare,
        "ratio": own / bare,
        "cpu_s_per_1000": middle(KEYFLEET, "cpu_s_per_1000")?,
        "bare_cpu_s_per_1000": middle(BARE, "cpu_s_per_1000")?,
    });
    // When it is compiled in.
    for field in ["keys_per_s", "cpu_s_per_1000"] {
        if let Ok(figure) = middle(APALIS, field) {
            headline[format!("apalis_{field}")] = json!(figure);
        }
    }
    Ok(headline)
}

async fn keyfleet(stack: &Keyfleet, keys: usize) -> Result<Value> {
    let ids = stack.sim.make_keys(keys, "Disabled").await?;
    let before = reading(stack)?;
    let from = clock::boottime();
    let job = stack.create("enablekey", &ids).await?;
    let created = clock::boottime();
    let ending = ended(&stack.admin, &job).await?;
    all_succeeded(&ending.job)?;
    tokio::time::sleep(TAIL).await;
    let used = before.until(&reading(stack)?);
    let seconds = ending.at.since(from).as_secs_f64();
    Ok(json!({
        "keys": keys,
        "seconds": seconds,
        "create_s": created.since(from).as_secs_f64(),
        "keys_per_s": count(keys) / seconds,
        "cpu_s_per_1000": used.per_1000(keys),
        "us_per_key": used.us_per_key(keys),
        "client_s": used.client_s,
        "others_share": used.others_share,
        "looks": ending.looks,
    }))
}

async fn bare_loop(sim: &KmsEnd, endpoint: &str, keys: usize, threads: Option<usize>) -> Result<Value> {
    let ids = sim.make_keys(keys, "Disabled").await?;
    let ended = bare::run(endpoint, ids, threads).await?;
    Ok(json!({
        "keys": ended.keys,
        "seconds": ended.seconds,
        "keys_per_s": count(ended.keys) / ended.seconds,
        "cpu_s_per_1000": ended.cpu_s * 1_000.0 / count(ended.keys),
    }))
}

/// Its CPU is that of its process, told as the worker's, and of Postgres, where the idle Keyfleet takes next to none.
#[cfg(feature = "apalis")]
async fn apalis_queue(stack: &Keyfleet, keys: usize) -> Result<Value> {
    let ids = stack.sim.make_keys(keys, "Disabled").await?;
    let mut database: reqwest::Url = stack.parts.database_url().parse().context("the database's URL")?;
    database.set_path(apalis::DATABASE);
    let before = reading(stack)?;
    let ended = apalis::run(stack.parts.sim_url(), database.as_str(), ids).await?;
    tokio::time::sleep(TAIL).await;
    let used = before.until(&reading(stack)?);
    let us_per_key = used.us_per_key(keys);
    let worker = ended.cpu_s * 1_000_000.0 / count(keys);
    Ok(json!({
        "keys": ended.keys,
        "seconds": ended.seconds,
        "keys_per_s": count(keys) / ended.seconds,
        "cpu_s_per_1000": (worker + us_per_key["postgres"]) / 1_000.0,
        "us_per_key": {"kms-worker": worker, "postgres": us_per_key["postgres"], "kms-sim": us_per_key["kms-sim"]},
        "others_share": used.others_share,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_headline_is_the_medians_with_one_worker() {
        let row = |who: &str, workers: u32, speed: f64| json!({"who": who, "workers": workers, "keys_per_s": speed, "cpu_s_per_1000": speed / 10_000.0});
        let rows = [
            row(KEYFLEET, 1, 4_000.0),
            row(BARE, 1, 8_000.0),
            row(KEYFLEET, 1, 4_400.0),
            row(BARE, 1, 9_000.0),
            row(KEYFLEET, 1, 1.0),
            row(BARE, 1, 7_000.0),
            row(KEYFLEET, 4, 90_000.0),
            row(BARE_ONE_THREAD, 1, 90_000.0),
            row(APALIS, 1, 1_000.0),
            row(APALIS, 1, 3_000.0),
        ];
        let found = headline(&rows).unwrap();
        assert_eq!((found["keys_per_s"].as_f64(), found["bare_keys_per_s"].as_f64()), (Some(4_000.0), Some(8_000.0)));
        assert_eq!((found["ratio"].as_f64(), found["cpu_s_per_1000"].as_f64()), (Some(0.5), Some(0.4)));
        assert_eq!(found["apalis_keys_per_s"], 2_000.0);
        let without = headline(&rows[..2]).unwrap();
        assert!(without.get("apalis_keys_per_s").is_none(), "{without}");
        assert!(headline(&rows[..1]).is_err());
    }
}
