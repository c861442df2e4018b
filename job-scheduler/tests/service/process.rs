//! A scheduler's process.

use std::{
    io::{BufRead, BufReader},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Arc, Mutex},
};

use rustix::process::{Pid, Signal, kill_process};
use tokio::sync::oneshot;

use super::{LOOK_EVERY, in_time};

/// The program with these settings and no others.
pub(crate) fn command(settings: &[(&str, &str)]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_job-scheduler"));
    command.env_clear().envs(settings.iter().copied()).stdin(Stdio::null());
    command
}

/// One that runs; killed when dropped.
pub(crate) struct Scheduler {
    child: Child,
    /// Where it serves gRPC.
    pub(crate) url: String,
    log: Arc<Mutex<String>>,
}

impl Scheduler {
    /// Starts it on a free port and waits until it serves.
    pub(crate) async fn start(settings: &[(&str, &str)]) -> Self {
        let mut child = command(settings).env("GRPC_LISTEN", "127.0.0.1:0").stdout(Stdio::piped()).spawn().unwrap();
        let (log, lines) = (Arc::new(Mutex::new(String::new())), BufReader::new(child.stdout.take().unwrap()).lines());
        let (serves, served) = oneshot::channel();
        let (into, mut serves) = (log.clone(), Some(serves));
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                let address = line.split(" listen=").nth(1).and_then(|rest| rest.split(' ').next());
                if let Some(address) = address
                    && let Some(serves) = serves.take()
                {
                    let _ = serves.send(address.to_owned());
                }
                let mut into = into.lock().unwrap();
                into.push_str(&line);
                into.push('\n');
            }
        });
        let mut scheduler = Self { child, url: String::new(), log };
        scheduler.url = format!("http://{}", in_time(served).await.unwrap());
        scheduler
    }

    /// Waits until its log has this.
    pub(crate) async fn says(&self, text: &str) {
        in_time(async {
            while !self.log.lock().unwrap().contains(text) {
                tokio::time::sleep(LOOK_EVERY).await;
            }
        })
        .await;
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    pub(crate) async fn ended(&mut self) -> ExitStatus {
        in_time(async {
            loop {
                if let Some(status) = self.child.try_wait().unwrap() {
                    return status;
                }
                tokio::time::sleep(LOOK_EVERY).await;
            }
        })
        .await
    }
}

impl Drop for Scheduler {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking()
            && let Ok(log) = self.log.lock()
        {
            println!("The log of the scheduler at {}:\n{log}", self.url);
        }
    }
}
