//! A service with a missing or wrong setting says so in one sentence and ends with exit code 2.

use std::io::Read as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use end_to_end::patience::until;

/// Settings with which each service would start (and wait for its servers), where nothing listens.
const GOOD: [(&str, &[(&str, &str)]); 4] = [
    (
        "job-scheduler",
        &[
            ("ADMIN_LISTEN", "127.0.0.1:0"),
            ("DATABASE_URL", "postgres://user:hunter2@127.0.0.1:9/keyfleet"),
            ("AMQP_URL", "amqp://user:hunter2@127.0.0.1:9/%2f"),
            ("GRPC_LISTEN", "127.0.0.1:0"),
            ("AWS_ACCOUNT_ID", "111122223333"),
        ],
    ),
    (
        "kms-worker",
        &[
            ("ADMIN_LISTEN", "127.0.0.1:0"),
            ("AMQP_URL", "amqp://user:hunter2@127.0.0.1:9/%2f"),
            ("SCHEDULER_URLS", "http://127.0.0.1:9"),
        ],
    ),
    (
        "api-gateway",
        &[
            ("ADMIN_LISTEN", "127.0.0.1:0"),
            ("AMQP_URL", "amqp://user:hunter2@127.0.0.1:9/%2f"),
            ("SCHEDULER_URLS", "http://127.0.0.1:9"),
            ("LISTEN", "127.0.0.1:0"),
            ("TLS_CERT", "/dev/null"),
            ("TLS_KEY", "/dev/null"),
            ("USERS_FILE", "/dev/null"),
            ("TOKEN_KEY", "hunter2"),
        ],
    ),
    ("kms-sim", &[("ADMIN_LISTEN", "127.0.0.1:0"), ("LISTEN", "127.0.0.1:0")]),
];

/// Settings that nobody has to give.
const HAVE_DEFAULTS: [(&str, &str); 1] = [("api-gateway", "LISTEN")];

/// Wrong values, each of which must be found at the start.
const WRONG: [(&str, &str, &str); 27] = [
    ("job-scheduler", "DATABASE_URL", "hunter2"),
    ("job-scheduler", "AMQP_URL", "http://hunter2@127.0.0.1"),
    ("job-scheduler", "GRPC_LISTEN", "nowhere"),
    ("job-scheduler", "AWS_ACCOUNT_ID", "1234"),
    ("job-scheduler", "AWS_REGION", "the moon"),
    ("job-scheduler", "KEYFLEET_QUOTA", "fast"),
    ("job-scheduler", "KEYFLEET_QUOTA", "{\"EnableKey\": -5}"),
    ("job-scheduler", "LEASE", "3"),
    ("job-scheduler", "TERM_OF_LEADERSHIP", "1s"),
    ("job-scheduler", "OPERATION_TIMEOUT", "soon"),
    ("job-scheduler", "ADMIN_LISTEN", "127.0.0.1"),
    ("job-scheduler", "LOG_FORMAT", "xml"),
    ("kms-worker", "AMQP_URL", "hunter2"),
    ("kms-worker", "SCHEDULER_URLS", "127.0.0.1:9"),
    ("kms-worker", "AWS_ENDPOINT_URL_KMS", "kms"),
    ("kms-worker", "OPERATION_TIMEOUT", "0s"),
    ("kms-worker", "CONCURRENCY", "0"),
    ("api-gateway", "AMQP_URL", "hunter2"),
    ("api-gateway", "SCHEDULER_URLS", "ftp://x"),
    ("api-gateway", "USERS_FILE", "/nowhere/users.json"),
    ("api-gateway", "TLS_CERT", "/nowhere/cert.pem"),
    ("api-gateway", "TOKEN_KEY", "hunter2"),
    ("api-gateway", "MAX_KEYS", "many"),
    ("api-gateway", "CANCEL_WAIT", "-1s"),
    ("kms-sim", "LISTEN", "127.0.0.1"),
    ("kms-sim", "KEYFLEET_QUOTA", "[]"),
    ("kms-sim", "AWS_ACCOUNT_ID", "one"),
];

#[tokio::test]
async fn a_missing_setting_is_named_in_one_sentence() -> Result<()> {
    for (service, good) in GOOD {
        for (missing, _) in good {
            let given = good.iter().filter(|(name, _)| name != missing).copied();
            if HAVE_DEFAULTS.contains(&(service, *missing)) || *missing == "ADMIN_LISTEN" {
                continue;
            }
            ends_with_one_sentence(service, given, missing).await.context(format!("{service} without {missing}"))?;
        }
    }
    Ok(())
}

#[tokio::test]
async fn a_wrong_setting_is_named_in_one_sentence() -> Result<()> {
    for (service, wrong, value) in WRONG {
        let (_, good) = GOOD.iter().find(|(name, _)| *name == service).context("a service of the table")?;
        let given = good.iter().filter(|(name, _)| *name != wrong).copied().chain([(wrong, value)]);
        ends_with_one_sentence(service, given, wrong).await.context(format!("{service} with {wrong}={value}"))?;
    }
    Ok(())
}

/// Runs a service with these settings alone.
async fn ends_with_one_sentence<'a>(
    service: &str,
    settings: impl Iterator<Item = (&'a str, &'a str)>,
    named: &str,
) -> Result<()> {
    let mut command = Command::new(executable(service)?);
    command.env_clear().envs(settings).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = command.spawn()?;
    let ended = until(&format!("{service} to end"), async || Ok(child.try_wait()?)).await;
    if ended.is_err() {
        child.kill()?;
        child.wait()?;
    }
    let mut said = String::new();
    child.stderr.take().context("its standard error")?.read_to_string(&mut said)?;
    ensure!(ended?.code() == Some(2), "it ended otherwise: {said}");
    ensure!(said.lines().count() == 1 && said.trim_end().ends_with('.'), "no one sentence: {said}");
    ensure!(said.contains(named), "{named} is not named: {said}");
    ensure!(!said.contains("hunter2"), "a secret is told: {said}");
    Ok(())
}

/// Beside the folder of this test's own executable.
fn executable(service: &str) -> Result<PathBuf> {
    let own = std::env::current_exe()?;
    let folder = own.parent().and_then(|deps| deps.parent()).context("the folder of the executables")?;
    let found = folder.join(service);
    ensure!(found.is_file(), "{} is not built", found.display());
    Ok(found)
}
