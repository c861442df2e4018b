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
    assert_eq!(who, ["keyfleet", "bare loop"], "in turns");
    assert!(rows.iter().all(|row| row["keys"] == 50), "{result}");
    for part in ["api-gateway", "job-scheduler", "kms-worker", "rabbitmq", "postgres", "kms-sim"] {
        assert!(rows[0]["us_per_key"][part].is_number(), "{part}: {result}");
    }
}

/// Runs a scenario and gives its result.
fn measure(scenario: &str) -> Value {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let output = Command::new(cargo_bin("load-tests"))
        .args([scenario, "--extent", "tiny", "--results"])
        .arg(dir.path())
        .output()
        .expect("the command can be started");
    assert!(output.status.success(), "{output:?}");
    read(&dir.path().join(format!("{scenario}.json")))
}

fn read(file: &Path) -> Value {
    let text = fs::read_to_string(file).expect("the result is written");
    let result: Value = serde_json::from_str(&text).expect("it is JSON");
    assert!(result["machine"]["cores"].as_u64() > Some(0), "{result}");
    assert_eq!(result["full"], false);
    result
}
