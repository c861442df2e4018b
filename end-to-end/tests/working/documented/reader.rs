//! Runs the examples like a reader who copies one after the other into a shell.

use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use end_to_end::Keyfleet;
use end_to_end::kms_end::REGION;
use end_to_end::patience::HANG;

use super::examples::Example;

/// What parts the output of one example from that of the next.
const END: char = '\u{1e}';

/// Each call is noted beside what it prints. No settings of whoever runs the test count, and no proxy is between.
const CURL: &str = r#"
exec 3>calls
curl() { command curl -q --noproxy '*' -w '%{stderr}%{method} %{http_code} %{url_effective}\n' "$@" 2>&3; }
"#;

/// What became of an example.
pub(crate) struct Printed {
    pub(crate) output: String,
    pub(crate) calls: Vec<Call>,
}

/// A request that was sent.
#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) method: String,
    pub(crate) status: u16,
    /// Without the query; of others than Keyfleet the whole URL.
    pub(crate) path: String,
}

/// Runs all, in a folder with the file that `make up` writes.
pub(crate) async fn run(stack: &Keyfleet, examples: &[Example]) -> Result<Vec<Printed>> {
    let folder = tempfile::tempdir()?;
    std::fs::create_dir(folder.path().join(".dev"))?;
    std::fs::write(folder.path().join(".dev/stack.env"), settings(stack))?;

    let ends = format!("printf '{END}'; printf '{END}' >&3\n");
    let script = examples.iter().map(|example| format!("{}{ends}", example.commands)).collect::<String>();
    let mut bash = Command::new("timeout");
    bash.arg(HANG.as_secs().to_string()).args(["bash", "-c", &format!("{CURL}{script}")]).current_dir(folder.path());
    let ran = tokio::task::spawn_blocking(move || bash.output()).await?.context("bash and timeout")?;
    let (output, complaints) = (String::from_utf8(ran.stdout)?, String::from_utf8(ran.stderr)?);
    ensure!(ran.status.success() && complaints.is_empty(), "{}: {complaints}; printed was\n{output}", ran.status);

    let calls = std::fs::read_to_string(folder.path().join("calls"))?;
    let url = stack.parts.url();
    let printed: Vec<_> = output.split_terminator(END).zip(calls.split_terminator(END)).collect();
    ensure!(printed.len() == examples.len(), "{} of {} examples were run", printed.len(), examples.len());
    printed
        .into_iter()
        .map(|(output, calls)| {
            let calls = calls.lines().map(|line| call(line, url).with_context(|| format!("curl: {line}")));
            Ok(Printed { output: output.to_owned(), calls: calls.collect::<Result<_>>()? })
        })
        .collect()
}

fn settings(stack: &Keyfleet) -> String {
    let admin = stack.admin.user();
    let ca = stack.parts.tls_file("ca.pem");
    [
        ("KEYFLEET_URL", stack.parts.url()),
        ("KEYFLEET_CA", &ca.display().to_string()),
        ("KEYFLEET_USER", &admin.name),
        ("KEYFLEET_PASSWORD", &admin.password),
        ("AWS_ENDPOINT_URL_KMS", stack.parts.sim_url()),
        ("AWS_REGION", REGION),
        ("AWS_ACCESS_KEY_ID", "AKIADEVELOPMENTONLY0"),
        ("AWS_SECRET_ACCESS_KEY", "development-only"),
    ]
    .map(|(name, value)| format!("{name}='{value}'\n"))
    .concat()
}

fn call(line: &str, keyfleet: &str) -> Option<Call> {
    let mut words = line.splitn(3, ' ');
    let (method, status, url) = (words.next()?, words.next()?, words.next()?);
    let path = url.strip_prefix(keyfleet).unwrap_or(url).split('?').next()?;
    Some(Call { method: method.to_owned(), status: status.parse().ok()?, path: path.to_owned() })
}
