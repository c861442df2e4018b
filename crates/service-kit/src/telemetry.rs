//! Logs and metrics: where they go and in which form.
//!
//! Logs go to standard output, one event a line; standard error is left to the one sentence of a service that cannot
//! start. Histograms have buckets, not summaries, so that replicas can be added up.

use std::time::Duration;

use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use tracing_subscriber::{EnvFilter, layer::SubscriberExt, util::SubscriberInitExt};

use crate::settings::{AdminSettings, LogFormat};

/// Bounds of every `…_seconds` histogram: from a local call (0.5 ms) to the cap of anything that has a deadline.
const SECONDS: [f64; 14] = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0];
/// Bounds of every `…_size` histogram: batches.
const SIZES: [f64; 8] = [1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1000.0, 3000.0];
/// How often histograms are folded into their buckets when nobody scrapes: what they hold meanwhile is memory.
const UPKEEP: Duration = Duration::from_secs(5);

/// Logs from here on, panics of spawned tasks included.
pub(crate) fn install_logs(settings: &AdminSettings) {
    let filter = EnvFilter::new(&settings.log.0);
    let registry = tracing_subscriber::registry().with(filter);
    // A second subscriber is refused: tests run several services in one process.
    let _already = match settings.log_format {
        LogFormat::Text => registry.with(tracing_subscriber::fmt::layer().with_ansi(false)).try_init(),
        LogFormat::Json => registry.with(tracing_subscriber::fmt::layer().json().flatten_event(true)).try_init(),
    };
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string);
        let backtrace = std::backtrace::Backtrace::force_capture();
        tracing::error!(place, text = panic.payload_as_str(), %backtrace, "A task panicked.");
    }));
}

/// Metrics from here on. `None` when this process has a recorder already.
pub(crate) fn install_metrics() -> PrometheusHandle {
    let builder = PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), &SECONDS)
        .and_then(|builder| builder.set_buckets_for_metric(Matcher::Suffix("_size".to_owned()), &SIZES))
        .expect("the bounds are not empty");
    let recorder = builder.build_recorder();
    let handle = recorder.handle();
    // A second recorder is refused: tests run several services in one process.
    let _already = metrics::set_global_recorder(recorder);
    metrics::describe_gauge!("keyfleet_ready", "1 when every part of the service is ready, else 0.");
    handle
}

/// Folds histograms until the future is dropped.
pub(crate) async fn upkeep(handle: PrometheusHandle) {
    loop {
        tokio::time::sleep(UPKEEP).await;
        handle.run_upkeep();
    }
}
