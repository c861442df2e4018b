//! The program itself: its settings, its signals, its exit codes.

use std::process::{Child, Command, ExitStatus, Output, Stdio};

use job_model::KeyAddress;
use keyfleet_proto::{
    convert,
    workers::v1::{FromLeader, Reach, Reaches, report::Outcome},
};

use crate::{
    leader::{with_go, within},
    setup::Setup,
};

const PROGRAM: &str = env!("CARGO_BIN_EXE_kms-worker");

/// The program without the caller's settings.
fn program() -> Command {
    let mut command = Command::new(PROGRAM);
    command.env_clear().stdin(Stdio::null());
    command
}

fn refused(command: &mut Command) -> String {
    let Output { status, stderr, .. } = command.output().unwrap();
    assert_eq!(status.code(), Some(2));
    let text = String::from_utf8(stderr).unwrap();
    assert_eq!(text.trim_end().lines().count(), 1, "{text}");
    text
}

#[test]
fn a_missing_or_wrong_setting_is_told_in_one_sentence() {
    const AMQP: (&str, &str) = ("AMQP_URL", "amqp://guest:secret@127.0.0.1:1/%2f");
    const SCHEDULERS: (&str, &str) = ("SCHEDULER_URLS", "http://127.0.0.1:1");
    for (given, wrong) in [
        (vec![SCHEDULERS], "AMQP_URL"),
        (vec![AMQP], "SCHEDULER_URLS"),
        (vec![AMQP, ("SCHEDULER_URLS", "nowhere")], "SCHEDULER_URLS"),
        (vec![("AMQP_URL", "nowhere"), SCHEDULERS], "AMQP_URL"),
        (vec![AMQP, SCHEDULERS, ("CONCURRENCY", "0")], "CONCURRENCY"),
        (vec![AMQP, SCHEDULERS, ("OPERATION_TIMEOUT", "soon")], "OPERATION_TIMEOUT"),
        (vec![AMQP, SCHEDULERS, ("AWS_ENDPOINT_URL_KMS", "nowhere")], "AWS_ENDPOINT_URL_KMS"),
        (vec![AMQP, SCHEDULERS, ("AWS_ENDPOINT_URL_STS", "nowhere")], "AWS_ENDPOINT_URL_STS"),
        (vec![AMQP, SCHEDULERS, ("CONNECTIONS_FILE", "/nowhere/connections.json")], "CONNECTIONS_FILE"),
    ] {
        let text = refused(program().envs(given));
        assert!(text.contains(wrong), "{wrong}: {text}");
        assert!(!text.contains("secret"), "{text}");
    }
}

/// Killed, should the test fail before it has ended by itself.
struct Running(Child);

impl Running {
    async fn wait(&mut self) -> ExitStatus {
        within("the process's end", async {
            loop {
                if let Some(status) = self.0.try_wait().unwrap() {
                    return status;
                }
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            }
        })
        .await
    }

    fn terminate(&self) {
        let id = self.0.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &id]).status().unwrap().success());
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended.
        let _killed = self.0.kill();
        let _status = self.0.wait();
    }
}

#[tokio::test]
async fn sigterm_ends_a_worker_in_peace() {
    let mut setup = Setup::without_worker().await;
    let mut command = program();
    command
        .env("AMQP_URL", setup.amqp_url())
        .env("SCHEDULER_URLS", setup.leader.url())
        .env("AWS_ENDPOINT_URL_KMS", setup.sim.url())
        .env("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
        .env("AWS_SECRET_ACCESS_KEY", "secret")
        .stdout(Stdio::null());
    let mut process = Running(command.spawn().unwrap());
    let mut session = setup.leader.leased().await;
    let key = setup.key(kms_sim::KeyState::Disabled);
    let task = crate::setup::task(1, 0);
    session.go(1, task, &key, &job_model::Request::EnableKey).await;
    let report = session.report().await;
    session.acknowledge(&report, true).await;
    assert_eq!(setup.made(&key), ["DescribeKey", "EnableKey"]);
    session.heard().await;
    process.terminate();
    assert!(process.wait().await.success());
}

#[tokio::test]
async fn a_connection_s_profile_and_role_reach_an_account_and_no_secret_is_logged() {
    const THEIRS: &str = "222233334444";
    let mut setup = Setup::without_worker().await;
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let profiles = "[profile hub]\naws_access_key_id = AKIDHUB\naws_secret_access_key = hunter2\n";
    std::fs::write(path("config"), profiles).unwrap();
    let role = format!("arn:aws:iam::{THEIRS}:role/keyfleet");
    std::fs::write(path("connections"), r#"{"hub": {"profile": "hub"}, "nobody": {"profile": "nobody"}}"#).unwrap();
    let mut command = program();
    command
        .env("AMQP_URL", setup.amqp_url())
        .env("SCHEDULER_URLS", setup.leader.url())
        .env("AWS_ENDPOINT_URL_KMS", setup.sim.url())
        .env("AWS_ENDPOINT_URL_STS", setup.sim.url())
        .env("AWS_CONFIG_FILE", path("config"))
        .env("CONNECTIONS_FILE", path("connections"))
        .env("LOG", "debug")
        .stdout(std::fs::File::create(path("log")).unwrap());
    let mut process = Running(command.spawn().unwrap());
    let mut session = setup.leader.leased().await;
    let reach = |account: &str, connection: &str, role_arn: &str| Reach {
        account: account.to_owned(),
        connection: connection.to_owned(),
        role_arn: role_arn.to_owned(),
        external_id: String::new(),
        tenant: "kylo:kylo".to_owned(),
    };
    let accounts = vec![reach(THEIRS, "hub", &role), reach("111122223333", "nobody", "")];
    session.say(FromLeader { reaches: Some(Reaches { accounts }), ..FromLeader::default() }).await;
    let mut tried = async |number: u64, account: &str| {
        let key = setup.key_of(account, kms_sim::KeyState::Disabled);
        let address = KeyAddress { account: account.into(), region: "us-east-1".into(), id: key.as_str().into() };
        let task = crate::setup::task(number.into(), 0);
        let spec = convert::spec(task.job, &job_model::Request::EnableKey, false, false);
        session.say(with_go(number, task, &address, spec)).await;
        let report = session.report().await;
        session.acknowledge(&report, true).await;
        (setup.made(&key), report.outcome)
    };
    assert_eq!(tried(1, THEIRS).await.0, ["DescribeKey", "EnableKey"]);
    let Some(Outcome::Refused(refused)) = tried(2, "111122223333").await.1 else { panic!("not refused") };
    assert_eq!(refused.code, "CredentialsError");
    assert!(refused.text.contains("\"nobody\""), "{refused:?}");
    session.heard().await;
    process.terminate();
    assert!(process.wait().await.success());
    let log = std::fs::read_to_string(path("log")).unwrap();
    assert!(log.contains("There are no AWS credentials") && !log.contains("hunter2"), "{log}");
}
