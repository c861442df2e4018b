//! Each scenario at its smallest, as `make bench` runs it: whether it works and writes what it says, not how fast anything
//! is. Needs the services' executables beside the test's own: `make test` builds them first.

use std::{fs, path::Path, process::Command};

use assert_cmd::cargo::cargo_bin;
use serde_json::Value;

#[test]
fn engine() {
    let result = measure("engine");
    for figure in ["keys_per_s", "bare_keys_per_s", "ratio", "cpu_s_per_1000"] {
        assert!(result[figure].as_f64().is_some_and(|x| x >= 0.0), "{figure}: {result}");
    }
    let rows = result["rows"].as_array().unwrap();
    let who: Vec<&str> = rows.iter().filter_map(|row| row["who"].as_str()).collect();
    let all = ["keyfleet", "bare loop", "apalis-postgres"];
    assert_eq!(who, if cfg!(feature = "apalis") { &all[..] } else { &all[..2] }, "in turns");
    assert!(rows.iter().all(|row| row["keys"] == 50), "{result}");
    for part in ["api-gateway", "job-scheduler", "kms-worker", "rabbitmq", "postgres", "kms-sim"] {
        assert!(rows[0]["us_per_key"][part].is_number(), "{part}: {result}");
    }
}

#[test]
fn cancel() {
    let result = measure("cancel");
    assert_eq!((&result["cancels"], &result["late_requests"]), (&3.into(), &0.into()));
    assert!(result["over_ms_p50"].is_number() && result["over_ms_p99"].is_number(), "{result}");
    assert_eq!(result["rows"][0]["over_ms"].as_array().map(Vec::len), Some(3));
}

#[test]
fn latency_and_idle_and_scale() {
    assert!(measure("latency")["ms_p50"].as_f64() > Some(0.0));
    let idle = measure("idle");
    let scale = measure("scale");
    for service in ["api-gateway", "job-scheduler", "kms-worker"] {
        assert!(idle["mb"][service].as_f64() > Some(0.0), "{service}: {idle}");
        assert!(idle["cpu_percent"][service].is_number(), "{service}: {idle}");
        assert!(scale["rows"][0]["peak_mb"][service].as_f64() > Some(0.0), "{service}: {scale}");
    }
    let replicas = |service: &str| {
        idle["rows"].as_array().unwrap().iter().find(|row| row["service"] == service).unwrap()["replicas"].clone()
    };
    assert_eq!((replicas("kms-worker"), replicas("rabbitmq")), (2.into(), 1.into()));
    let sizes: Vec<&Value> = scale["rows"].as_array().unwrap().iter().map(|row| &row["keys"]).collect();
    assert_eq!(sizes, [100, 2_000]);
    assert!(scale["rows"][0]["create_s"].is_number() && scale["rows"][0]["cpu_us_per_key"].is_number(), "{scale}");
}

#[test]
fn pace_and_fair_and_api() {
    let pace = measure("pace");
    assert!(pace["share_of_quota"].as_f64() > Some(0.0) && pace["throttled_share"].is_number(), "{pace}");
    let cases: Vec<&Value> = pace["rows"].as_array().unwrap().iter().map(|row| &row["case"]).collect();
    assert_eq!(cases, ["plain", "rival", "already as asked"]);
    assert_eq!(pace["rows"][0]["shares"].as_array().map(Vec::len), Some(2), "one of each lane");

    let fair = measure("fair");
    assert!(fair["extra_s"].is_number(), "{fair}");
    assert_eq!(fair["rows"].as_array().map(Vec::len), Some(2));

    let api = measure("api");
    assert!(api["get_per_s"].as_f64() > Some(0.0) && api["list_ms"].as_f64() > Some(0.0), "{api}");
    assert_eq!(api["list_jobs"], 21);
}

/// Runs a scenario and gives its result.
fn measure(scenario: &str) -> Value {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let output = Command::new(cargo_bin("load-tests"))
        .args([scenario, "--extent", "tiny", "--results"])
        .arg(dir.path())
        .arg("--plots")
        .arg(dir.path())
        .output()
        .expect("the command can be started");
    assert!(output.status.success(), "{output:?}");
    let plot = fs::read_to_string(dir.path().join(format!("{scenario}.svg"))).expect("the plot is drawn");
    assert!(plot.starts_with("<svg ") && plot.ends_with("</svg>\n"), "{plot}");
    read(&dir.path().join(format!("{scenario}.json")))
}

fn read(file: &Path) -> Value {
    let text = fs::read_to_string(file).expect("the result is written");
    let result: Value = serde_json::from_str(&text).expect("it is JSON");
    assert!(result["machine"]["cores"].as_u64() > Some(0), "{result}");
    assert_eq!(result["full"], false);
    result
}
