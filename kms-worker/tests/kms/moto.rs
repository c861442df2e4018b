//! moto's server as a child process, ended by its id when the test ends.

use std::{
    net::{Ipv4Addr, TcpListener},
    process::{Child, Command, Stdio},
    time::Duration,
};

/// A running `moto_server`.
pub(crate) struct Moto {
    child: Child,
    url: String,
}

impl Moto {
    /// Starts one on a free port and waits until it answers.
    pub(crate) async fn start() -> Self {
        let program = std::env::var("MOTO_SERVER").unwrap_or_else(|_| "moto_server".to_owned());
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port();
        let child = Command::new(&program)
            .args(["-H", "127.0.0.1", "-p", &port.to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        let child = child.unwrap_or_else(|error| {
            panic!(
                "moto's server cannot be started as {program} ({error}): install the Python package moto[server] and \
                 set MOTO_SERVER to its moto_server, or have it on PATH"
            )
        });
        let mut moto = Self { child, url: format!("http://127.0.0.1:{port}") };
        moto.wait().await;
        moto
    }

    pub(crate) fn url(&self) -> String {
        self.url.clone()
    }

    async fn wait(&mut self) {
        let address = self.url.trim_start_matches("http://").to_owned();
        let answers = async {
            while tokio::net::TcpStream::connect(&address).await.is_err() {
                if let Some(status) = self.child.try_wait().unwrap() {
                    panic!("moto's server ended with {status}");
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(60), answers).await.expect("moto's server does not answer");
    }
}

impl Drop for Moto {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ended = self.child.kill();
        let _status = self.child.wait();
    }
}
