//! The API tried by its own description: schemathesis reads `/api/openapi.json` and makes requests of it, good ones and
//! bad ones. No answer may be a fault of the gateway's, and each must be one that the document describes.
//!
//! `make test` runs a short form, always the same cases. `make fuzz CASES=10000` runs the long one; `FUZZ_SEED` gives it
//! other cases, or those of an earlier run.

use std::process::{Command, Stdio};

use end_to_end::{Keyfleet, StackSettings};

/// Cases per call of the short form: some 20 s on a slow machine.
const SHORT: u32 = 15;
/// What is checked of each answer.
const CHECKS: &str = "not_a_server_error,status_code_conformance,content_type_conformance,response_headers_conformance,\
                      response_schema_conformance";

#[tokio::test(flavor = "multi_thread")]
async fn every_answer_is_one_that_the_document_describes() {
    let program = std::env::var("SCHEMATHESIS").unwrap_or_else(|_| "schemathesis".to_owned());
    let cases: u32 = std::env::var("FUZZ_CASES_PER_CALL").map_or(SHORT, |cases| cases.parse().unwrap());
    let seed = std::env::var("FUZZ_SEED").unwrap_or_else(|_| "1".to_owned());
    let settings = StackSettings { workers: 1, schedulers: 1, quota: "off".to_owned(), ..StackSettings::default() }
        .with_env("api-gateway", "TOKEN_RATE", "100000")
        .with_env("api-gateway", "TOKEN_BURST", "100000");
    let stack = Keyfleet::start(settings).await.unwrap();
    let url = stack.parts.url();
    let ca = stack.parts.tls_file("ca.pem");
    let folder = tempfile::tempdir().unwrap();
    let admin = stack.admin.user();
    let mut command = Command::new(&program);
    command
        .args(["run", &format!("{url}/api/openapi.json"), "--url", url, "--checks", CHECKS])
        .args(["--phases", "examples,coverage,fuzzing", "--no-shrink", "--continue-on-failure", "--warnings", "off"])
        .args(["--max-examples", &cases.to_string(), "--seed", &seed, "--request-timeout", "60"])
        .arg("--tls-verify")
        .arg(&ca)
        .current_dir(folder.path())
        .env("SCHEMATHESIS_HOOKS", "keyfleet_login")
        .env("PYTHONPATH", concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fuzz"))
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .env("KEYFLEET_URL", url)
        .env("KEYFLEET_CA", &ca)
        .env("KEYFLEET_USER", &admin.name)
        .env("KEYFLEET_PASSWORD", &admin.password)
        .stdin(Stdio::null());
    let run = tokio::task::spawn_blocking(move || command.output()).await.unwrap();
    let run = run.unwrap_or_else(|error| {
        panic!(
            "schemathesis cannot be started as {program} ({error}): scripts/install-schemathesis installs it; set \
             SCHEMATHESIS to the path it prints"
        )
    });
    println!("{}{}", String::from_utf8_lossy(&run.stdout), String::from_utf8_lossy(&run.stderr));
    assert!(run.status.success(), "schemathesis found something, above (seed {seed}): {}", run.status);
}
