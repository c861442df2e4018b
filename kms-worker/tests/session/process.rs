//! The program itself: its settings, its signals, its exit codes.

use std::process::{Child, Command, ExitStatus, Output, Stdio};

use crate::{leader::within, setup::Setup};

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
