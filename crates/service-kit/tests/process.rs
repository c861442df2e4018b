//! A whole service process: how it starts, answers, stops, and what it says when it cannot start.
//!
//! Started with `KIT_TEST_CHILD` set this program is such a service; else it starts itself and looks from outside.

#![expect(clippy::unwrap_used, reason = "in a test, also in what its steps share, a failure is to end it")]

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    process::{Child, Command, ExitCode, ExitStatus, Output, Stdio},
};

use anyhow::Context;
use service_kit::settings::{self, AdminSettings, Invalid, SecretUrl};

#[derive(Debug, clap::Parser)]
struct Settings {
    /// The database, as postgres://user:password@host:port/name
    #[arg(long, env = "DATABASE_URL")]
    database_url: SecretUrl,
    #[command(flatten)]
    admin: AdminSettings,
}

fn main() -> ExitCode {
    if let Ok(child) = std::env::var("KIT_TEST_CHILD") {
        return service(&child);
    }
    a_missing_setting_is_one_sentence_and_exit_code_2();
    an_occupied_admin_port_is_one_sentence_and_exit_code_2();
    a_setting_that_shows_wrong_later_is_one_sentence_and_exit_code_2();
    a_service_answers_until_it_is_told_to_stop();
    a_second_signal_drops_what_does_not_end();
    println!("5 tests passed");
    ExitCode::SUCCESS
}

fn service(kind: &str) -> ExitCode {
    let settings = settings::parse::<Settings>();
    service_kit::service::run("sample", service_kit::Threads::Cores, &settings.admin, async |service| {
        match kind {
            "invalid" => return Err(Invalid::new("TLS_CERT", "no such file")).context("reading the certificate"),
            "stuck" => std::future::pending::<()>().await,
            _ => {
                service.readiness.part("sample").ready();
                service.shutdown.requested().cancelled().await;
            }
        }
        Ok(())
    })
}

fn command(kind: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.env_clear().env("KIT_TEST_CHILD", kind).env("DATABASE_URL", "postgres://u:hunter2@h/d");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

#[track_caller]
fn assert_one_sentence(output: &Output, sentence: &str) {
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    assert_eq!(String::from_utf8_lossy(&output.stderr), format!("{sentence}\n"));
}

fn a_missing_setting_is_one_sentence_and_exit_code_2() {
    let output = command("").env_remove("DATABASE_URL").output().unwrap();
    assert_one_sentence(
        &output,
        "The setting DATABASE_URL is missing: The database, as postgres://user:password@host:port/name.",
    );
}

fn an_occupied_admin_port_is_one_sentence_and_exit_code_2() {
    let occupied = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = occupied.local_addr().unwrap().to_string();
    let output = command("").env("ADMIN_LISTEN", &address).output().unwrap();
    assert_one_sentence(
        &output,
        &format!("The setting ADMIN_LISTEN cannot be used: {address}: Address already in use (os error 98)."),
    );
}

fn a_setting_that_shows_wrong_later_is_one_sentence_and_exit_code_2() {
    let output = command("invalid").output().unwrap();
    assert_one_sentence(&output, "The setting TLS_CERT cannot be used: no such file.");
}

fn a_service_answers_until_it_is_told_to_stop() {
    let mut service = Running::start("");
    assert!(service.get("/healthz").starts_with("HTTP/1.1 200 "));
    service.wait_for("A part of the service is ready.");
    assert!(service.get("/metrics").contains("\nkeyfleet_ready 1\n"));
    service.signal(rustix::process::Signal::TERM);
    let (status, log) = service.end();
    assert!(status.success(), "{status} {log}");
    assert!(log.contains("Stopping") && log.contains("postgres://u:[redacted]@h/d"), "{log}");
    assert!(!log.contains("hunter2"), "{log}");
}

fn a_second_signal_drops_what_does_not_end() {
    let mut service = Running::start("stuck");
    assert!(service.get("/metrics").contains("\nkeyfleet_ready 0\n"), "it has named no part yet");
    service.signal(rustix::process::Signal::TERM);
    service.wait_for("SIGTERM");
    service.signal(rustix::process::Signal::INT);
    let (status, log) = service.end();
    assert_eq!(status.code(), Some(1), "{log}");
    assert!(log.contains("asked a second time"), "{log}");
}

/// A started service, ended with the test.
struct Running {
    child: Child,
    stdout: BufReader<std::process::ChildStdout>,
    log: String,
    admin: String,
}

impl Running {
    fn start(kind: &str) -> Self {
        let mut child = command(kind).stderr(Stdio::null()).spawn().unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let mut running = Self { child, stdout, log: String::new(), admin: String::new() };
        let line = running.wait_for("The service starts.");
        let admin = line.split_once("admin=").unwrap().1;
        running.admin = admin.split(' ').next().unwrap().to_owned();
        running
    }

    /// Reads the log up to a line with this text. Ends with the log, so the caller need not count the time.
    fn wait_for(&mut self, text: &str) -> String {
        loop {
            let mut line = String::new();
            assert_ne!(self.stdout.read_line(&mut line).unwrap(), 0, "no {text:?} in {}", self.log);
            self.log.push_str(&line);
            if line.contains(text) {
                return line;
            }
        }
    }

    fn get(&self, path: &str) -> String {
        let mut stream = TcpStream::connect(&self.admin).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    fn signal(&self, signal: rustix::process::Signal) {
        let id = i32::try_from(self.child.id()).unwrap();
        rustix::process::kill_process(rustix::process::Pid::from_raw(id).unwrap(), signal).unwrap();
    }

    fn end(&mut self) -> (ExitStatus, String) {
        self.stdout.read_to_string(&mut self.log).unwrap();
        (self.child.wait().unwrap(), std::mem::take(&mut self.log))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ended_already = self.child.kill();
        let _ended_already = self.child.wait();
    }
}
