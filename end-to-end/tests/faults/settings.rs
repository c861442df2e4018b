//! A service with a missing or wrong setting says so in one sentence and ends with exit code 2.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use end_to_end::patience::until;

/// A service's settings.
type Settings = BTreeMap<&'static str, String>;

/// Settings with which each service would start, and wait for servers where nothing listens.
fn good(service: &str, files: &Files) -> Settings {
    let amqp_url = ("AMQP_URL", "amqp://user:hunter2@127.0.0.1:9/%2f");
    let file = |name: &str| files.0.path().join(name).display().to_string();
    let (cert, key, users) = (file("cert.pem"), file("key.pem"), file("users.json"));
    let own: &[(&str, &str)] = match service {
        "job-scheduler" => &[
            ("DATABASE_URL", "postgres://user:hunter2@127.0.0.1:9/keyfleet"),
            amqp_url,
            ("GRPC_LISTEN", "127.0.0.1:0"),
            ("AWS_ACCOUNT_ID", "111122223333"),
        ],
        "kms-worker" => &[amqp_url, ("SCHEDULER_URLS", "http://127.0.0.1:9")],
        "api-gateway" => &[
            amqp_url,
            ("SCHEDULER_URLS", "http://127.0.0.1:9"),
            ("LISTEN", "127.0.0.1:0"),
            ("TLS_CERT", &cert),
            ("TLS_KEY", &key),
            ("USERS_FILE", &users),
            ("TOKEN_KEY_FILE", &key),
        ],
        _ => &[("LISTEN", "127.0.0.1:0")],
    };
    own.iter().map(|(name, value)| (*name, (*value).to_owned())).collect()
}

/// The files that the gateway reads at its start.
struct Files(tempfile::TempDir);

impl Files {
    fn make() -> Result<Self> {
        let files = Self(tempfile::tempdir()?);
        let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()])?;
        std::fs::write(files.0.path().join("cert.pem"), made.cert.pem())?;
        std::fs::write(files.0.path().join("key.pem"), made.signing_key.serialize_pem())?;
        std::fs::write(files.0.path().join("users.json"), "[]")?;
        Ok(files)
    }
}

/// Settings that nobody has to give.
const HAVE_DEFAULTS: [(&str, &str); 1] = [("api-gateway", "LISTEN")];

/// Wrong values, each of which must be found at the start.
const WRONG: [(&str, &str, &str); 28] = [
    ("job-scheduler", "DATABASE_URL", "hunter2"),
    ("job-scheduler", "AMQP_URL", "http://user:hunter2@127.0.0.1"),
    ("job-scheduler", "GRPC_LISTEN", "nowhere"),
    ("job-scheduler", "AWS_ACCOUNT_ID", "1234"),
    ("job-scheduler", "AWS_REGION", "the moon"),
    ("job-scheduler", "KEYFLEET_QUOTA", "fast"),
    ("job-scheduler", "KEYFLEET_QUOTA", "{\"EnableKey\": -5}"),
    ("job-scheduler", "KEYFLEET_QUOTAS_FILE", "/nowhere/quotas.json"),
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
    let files = Files::make()?;
    for service in ["job-scheduler", "kms-worker", "api-gateway", "kms-sim"] {
        let good = good(service, &files);
        for missing in good.keys().filter(|name| !HAVE_DEFAULTS.contains(&(service, name))) {
            let mut given = good.clone();
            given.remove(missing);
            let named = missing.trim_end_matches("_FILE");
            ends_with_one_sentence(service, &given, named).await.context(format!("{service} without {missing}"))?;
        }
    }
    Ok(())
}

#[tokio::test]
async fn a_wrong_setting_is_named_in_one_sentence() -> Result<()> {
    let files = Files::make()?;
    for (service, wrong, value) in WRONG {
        let mut given = good(service, &files);
        if wrong == "TOKEN_KEY" {
            given.remove("TOKEN_KEY_FILE");
        }
        given.insert(wrong, value.to_owned());
        ends_with_one_sentence(service, &given, wrong).await.context(format!("{service} with {wrong}={value}"))?;
    }
    Ok(())
}

/// Runs a service with these settings alone.
async fn ends_with_one_sentence(service: &str, settings: &Settings, named: &str) -> Result<()> {
    let mut command = Command::new(executable(service)?);
    command.env_clear().env("ADMIN_LISTEN", "127.0.0.1:0").envs(settings);
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn()?;
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
