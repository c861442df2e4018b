//! `soak`: many small jobs, some of them canceled, for a long time: whether anything grows that should not.
//!
//! 500 jobs a minute, finished ones removed after a minute, so that after some minutes as much goes as comes and every figure
//! must stay where it is. The growth of a figure is the difference of its medians over the last quarter and over the second
//! (the first is the start's).

use std::{collections::BTreeMap, fs, time::Duration};

use anyhow::{Context, Result, ensure};
use dev_stack::Stack;
use end_to_end::{Keyfleet, StackSettings};
use serde_json::{Value, json};
use service_kit::clock;
use tokio::task::JoinSet;

use crate::{
    bench::settings,
    plot::Plot,
    processes::{Snapshot, shared_once_kb, status_kb},
    report::Report,
    scenario::Extent,
    statistics::{count, median},
};

/// Keys of a job.
const KEYS: usize = 20;
/// One job in so many is canceled as soon as it is there.
const CANCELED: usize = 5;
/// How often a client asks again, and after which pause.
const TRIES: usize = 10;
const PAUSE: Duration = Duration::from_secs(1);
/// 500 jobs a minute.
const EVERY: Duration = Duration::from_millis(120);

struct Plan {
    span: Duration,
    samples: u32,
}

impl Plan {
    const fn of(extent: Extent) -> Self {
        let (s, samples) = match extent {
            Extent::Tiny => (2, 4),
            Extent::Brief => (60, 12),
            Extent::Short => (360, 36),
            Extent::Full => (1_200, 80),
        };
        Self { span: Duration::from_secs(s), samples }
    }
}

/// One look at everything: figures by name.
type Sample = BTreeMap<String, f64>;

pub(super) async fn run(extent: Extent) -> Result<Report> {
    let plan = Plan::of(extent);
    let settings = StackSettings { schedulers: 2, ..settings(2, "off") };
    let stack = Keyfleet::start(settings.with_env("job-scheduler", "KEEP_FINISHED", "60s")).await?;
    stack.sim.configure(&json!({"latency_ms": {"mean": 5, "p99": 20}})).await?;
    let samples = async {
        let mut samples = Vec::new();
        for _ in 0..plan.samples {
            tokio::time::sleep(plan.span / plan.samples).await;
            samples.push(look(&stack).await?);
        }
        anyhow::Ok(samples)
    };
    let (samples, (jobs, refused)) = tokio::try_join!(samples, work(&stack, plan.span))?;
    let left = stack.admin.list("?limit=0&overall_status=in_progress").await?;

    let names: Vec<String> = samples.first().context("no sample")?.keys().cloned().collect();
    let rows: Vec<Value> = names
        .iter()
        .map(|name| {
            let line: Vec<f64> = samples.iter().filter_map(|sample| sample.get(name).copied()).collect();
            let quarter = line.len() / 4;
            let early = median(&line[quarter..2 * quarter.max(1)]);
            let late = median(&line[line.len() - quarter.max(1)..]);
            let growth = early.zip(late).map(|(early, late)| late - early);
            json!({"figure": name, "early": early, "late": late, "growth": growth})
        })
        .collect();
    let step = plan.span.as_secs_f64() / 60.0 / f64::from(plan.samples);
    let lines = names.iter().filter(|name| name.ends_with(" MB") && !name.starts_with("table")).map(|name| {
        let points = samples.iter().enumerate();
        let points = points.filter_map(|(at, sample)| Some((count(at + 1) * step, *sample.get(name)?)));
        (name.clone(), points.collect())
    });
    let plot = Plot::lines("resident memory over a soak, MB", "minutes", lines.collect());
    let growth = |suffix: &str| {
        let such = rows.iter().filter(|row| row["figure"].as_str().is_some_and(|name| name.ends_with(suffix)));
        such.filter_map(|row| row["growth"].as_f64()).fold(0.0, f64::max)
    };
    let headline = json!({
        "minutes": plan.span.as_secs_f64() / 60.0, "jobs": jobs, "refused": refused, "unfinished": left["total"],
        "memory_growth_mb": growth(" MB"), "files_growth": growth(" files"),
        "connections_growth": growth("connections"), "messages_growth": growth("messages"),
    });
    Ok(Report::new(headline, &["figure", "early", "late", "growth"], rows, plot))
}

/// Creates jobs, cancels some, and reads some, until the time is over; gives how many there were, and how often one was refused
/// for the moment.
async fn work(stack: &Keyfleet, span: Duration) -> Result<(usize, usize)> {
    let keys = stack.sim.make_keys(KEYS * 64, "Disabled").await?;
    let from = clock::boottime();
    let mut pace = tokio::time::interval(EVERY);
    let mut under_way = JoinSet::new();
    let (mut jobs, mut refused) = (0, 0);
    while clock::boottime().since(from) < span {
        pace.tick().await;
        jobs += 1;
        let some: Vec<String> = keys.iter().cycle().skip(jobs * KEYS).take(KEYS).cloned().collect();
        // There and back, so that each job has something to change.
        let operation = if (jobs * KEYS / keys.len()).is_multiple_of(2) { "enablekey" } else { "disablekey" };
        let admin = stack.admin.clone();
        let (cancels, reads) = (jobs.is_multiple_of(CANCELED), jobs.is_multiple_of(3));
        under_way.spawn(async move {
            let (job, mut refused) = patiently(|| admin.create(operation, &some)).await?;
            if cancels {
                refused += patiently(|| async { job.cancel().await?.expect(200) }).await?.1;
            }
            if reads {
                refused += patiently(|| job.now()).await?.1;
            }
            anyhow::Ok(refused)
        });
        while let Some(ended) = under_way.try_join_next() {
            refused += ended.context("a client panicked")??;
        }
        ensure!(under_way.len() < 500, "the stack does not keep up: {} calls are unanswered", under_way.len());
    }
    while let Some(ended) = under_way.join_next().await {
        refused += ended.context("a client panicked")??;
    }
    Ok((jobs, refused))
}

/// Does it again, as clients do, when it is refused for the moment; gives how often it was.
async fn patiently<T, Fut: Future<Output = Result<T>>>(mut call: impl FnMut() -> Fut) -> Result<(T, usize)> {
    let mut refused = 0;
    loop {
        match call().await {
            Ok(done) => return Ok((done, refused)),
            Err(error) if refused == TRIES => return Err(error),
            Err(_) => refused += 1,
        }
        tokio::time::sleep(PAUSE).await;
    }
}

async fn look(stack: &Keyfleet) -> Result<Sample> {
    let mut sample = Sample::new();
    let snapshot = Snapshot::now()?;
    for name in stack.parts.names().filter(|name| *name != "epmd") {
        let pid = stack.parts.pid(name);
        let kb = match name {
            "postgres" => snapshot.tree(pid).filter_map(shared_once_kb).sum(),
            _ => status_kb(pid, "VmRSS").unwrap_or_default(),
        };
        sample.insert(format!("{name} MB"), count(usize::try_from(kb)?) / 1024.0);
        if let Ok(files) = fs::read_dir(format!("/proc/{pid}/fd")) {
            sample.insert(format!("{name} files"), count(files.count()));
        }
    }
    postgres(&stack.parts, &mut sample)?;
    let (queues, messages) = stack.parts.broker_queues().await?;
    sample.insert("RabbitMQ queues".to_owned(), count(queues));
    sample.insert("RabbitMQ messages".to_owned(), count(messages));
    let leader = stack.leader().await?;
    for gauge in ["keyfleet_tasks_outstanding", "keyfleet_jobs_unfinished", "keyfleet_gos_open"] {
        sample.insert(format!("leader {gauge}"), stack.metric(&leader, gauge).await?);
    }
    Ok(sample)
}

/// Connections, and the size of each table with its indexes.
fn postgres(stack: &Stack, sample: &mut Sample) -> Result<()> {
    let told = stack.query("SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'")?;
    sample.insert("Postgres connections".to_owned(), told.trim().parse().context("the number of connections")?);
    let told = stack.query(
        "SELECT relname, pg_total_relation_size(relid) FROM pg_stat_user_tables
         WHERE relname IN ('jobs', 'job_lanes', 'tasks', 'idempotency_keys', 'audit_log', 'sessions') ORDER BY 1",
    )?;
    for line in told.lines() {
        let (table, bytes) = line.split_once('|').context("a table's size")?;
        let bytes: f64 = bytes.parse().context("a table's size")?;
        sample.insert(format!("table {table} MB"), bytes / 1024.0 / 1024.0);
    }
    Ok(())
}
