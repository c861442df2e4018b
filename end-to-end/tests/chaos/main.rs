//! A short run under faults: one seed of those that `make chaos` runs by the dozen.

use std::path::Path;
use std::time::Duration;

use end_to_end::chaos::{self, Extent};

/// Its faults strike schedulers, workers, gateways, Postgres and the ways between them, and delete no queue: what that loses is
/// offered again after a minute.
const SEED: u64 = 4;

#[tokio::test(flavor = "multi_thread")]
async fn no_promise_is_broken_in_a_short_run() {
    let extent = Extent { faults: 10, span: Duration::from_secs(14) };
    let keep = Path::new(env!("CARGO_TARGET_TMPDIR")).join("chaos-results");
    let outcome = chaos::run(SEED, extent, &keep).await.unwrap();
    println!("{outcome}");
    let told: Vec<String> = outcome.violations.iter().map(ToString::to_string).collect();
    assert!(told.is_empty(), "{}{}\nLogs and evidence are in {}.", outcome.schedule, told.join("\n"), keep.display());
    assert!(outcome.figures.has_everything(), "the run did too little to show anything: {:?}", outcome.figures);
}
