//! Whether a part is ready, asked in its own protocol with the least that needs.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::part::{Kind, Part};
use crate::postgres;

/// All on this machine: who has not answered by then is not ready.
const ANSWER_WITHIN: Duration = Duration::from_secs(2);

/// Looks once.
///
/// # Errors
/// Says why it is not ready.
pub(crate) fn look(part: &Part) -> Result<()> {
    match &part.kind {
        Kind::Service => http(part.addr),
        Kind::Postgres { .. } => pg_isready(part.addr),
        Kind::RabbitMq => amqp(part.addr),
        Kind::Epmd => connect(part.addr).map(drop),
    }
}

/// Whether the scheduler with its metrics at `addr` says that it leads.
pub(crate) fn leads(addr: SocketAddr) -> bool {
    http_get(addr, "/metrics").is_ok_and(|(_, body)| body.lines().any(|line| line == "keyfleet_leading 1"))
}

fn http(addr: SocketAddr) -> Result<()> {
    match http_get(addr, "/readyz")? {
        (status, _) if status == "200" => Ok(()),
        (status, body) => bail!("/readyz answers {status}: {}", body.trim()),
    }
}

/// Status and body of a `GET` in the oldest HTTP, which needs no client.
fn http_get(addr: SocketAddr, path: &str) -> Result<(String, String)> {
    let mut stream = connect(addr)?;
    stream.write_all(format!("GET {path} HTTP/1.0\r\nHost: {addr}\r\n\r\n").as_bytes())?;
    let mut answer = Vec::new();
    // A peer that resets after its answer has still answered.
    let end = stream.read_to_end(&mut answer);
    let text = String::from_utf8_lossy(&answer);
    let Some(status) = text.split_whitespace().nth(1) else {
        end.with_context(|| path.to_owned())?;
        bail!("{path} answers nothing")
    };
    let body = text.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    Ok((status.to_owned(), body.to_owned()))
}

fn pg_isready(addr: SocketAddr) -> Result<()> {
    let output = Command::new(postgres::bin_dir()?.join("pg_isready"))
        .args(["-h", &addr.ip().to_string(), "-p", &addr.port().to_string(), "-t", "2"])
        .stdin(Stdio::null())
        .output()
        .context("pg_isready")?;
    if output.status.success() {
        return Ok(());
    }
    bail!("{}", String::from_utf8_lossy(&output.stdout).trim())
}

/// The server's first frame comes only after all its boot steps.
fn amqp(addr: SocketAddr) -> Result<()> {
    let mut stream = connect(addr)?;
    stream.write_all(b"AMQP\x00\x00\x09\x01")?;
    // Type 1 is a method frame (Connection.Start); a refusal begins with "AMQP" instead.
    let mut first = [0_u8; 1];
    stream.read_exact(&mut first)?;
    if first != [1] {
        bail!("does not speak AMQP 0-9-1");
    }
    Ok(())
}

fn connect(addr: SocketAddr) -> Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&addr, ANSWER_WITHIN)?;
    stream.set_read_timeout(Some(ANSWER_WITHIN))?;
    stream.set_write_timeout(Some(ANSWER_WITHIN))?;
    Ok(stream)
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::thread;

    use super::*;

    fn answer_once(answer: &'static str) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap();
        thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = [0_u8; 256];
            let read = stream.read(&mut request).unwrap();
            assert!(request[..read].starts_with(b"GET /"));
            stream.write_all(answer.as_bytes()).unwrap();
        });
        addr
    }

    #[test]
    fn only_200_is_ready_and_the_reason_is_told() {
        assert!(http(answer_once("HTTP/1.0 200 OK\r\n\r\nready")).is_ok());
        let error = http(answer_once("HTTP/1.1 503 Service Unavailable\r\n\r\nno database")).unwrap_err();
        assert_eq!(error.to_string(), "/readyz answers 503: no database");
        assert!(http(answer_once("")).is_err());
    }

    #[test]
    fn who_leads_says_so_in_its_metrics() {
        assert!(leads(answer_once("HTTP/1.0 200 OK\r\n\r\n# TYPE keyfleet_leading gauge\nkeyfleet_leading 1\n")));
        assert!(!leads(answer_once("HTTP/1.0 200 OK\r\n\r\nkeyfleet_leading 0\n")));
    }
}
