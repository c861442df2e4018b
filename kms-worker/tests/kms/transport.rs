//! The connection to a KMS end, against raw sockets: what left, what did not, and what that means.

use std::{
    sync::{
        Arc, Mutex, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use job_model::{Moment, Request, outcome::Failure};
use kms_worker::{
    kms::{Answer, Kms},
    lease::{Heartbeats, Lease},
    permit::Permit,
};
use service_kit::clock;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

use crate::end::{address, flag, kms, permit};

/// Long enough for anything on this machine, short enough to fail by.
const PATIENCE: Duration = Duration::from_secs(20);

async fn listen() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    (listener, url)
}

async fn act(kms: &Kms) -> Answer<()> {
    kms.key(&address("some-key")).act(&Request::EnableKey, &permit()).await
}

/// Reads one whole request.
async fn read_request(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length =
                head.lines().find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length: ")?.parse().ok());
            if body.len() >= length.unwrap_or(0) {
                return text;
            }
        }
        assert_ne!(stream.read_buf(&mut bytes).await.unwrap(), 0, "closed within a request: {text}");
    }
}

async fn answer(stream: &mut TcpStream, status: &str, body: &str) {
    let text = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    stream.write_all(text.as_bytes()).await.unwrap();
}

/// What a client makes of one answer.
async fn told(status: &'static str, body: &'static str) -> Answer<()> {
    let (listener, url) = listen().await;
    let server = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        read_request(&mut stream).await;
        answer(&mut stream, status, body).await;
    });
    let told = act(&kms(&url, PATIENCE, clock::boottime)).await;
    server.await.unwrap();
    told
}

#[tokio::test]
async fn a_refused_connection_sends_nothing() {
    let (listener, url) = listen().await;
    drop(listener);
    let answer = act(&kms(&url, PATIENCE, clock::boottime)).await;
    assert!(matches!(answer.result, Err(Failure::Unsent(_))), "{answer:?}");
    assert!(!answer.sent);
}

#[tokio::test]
async fn an_answer_that_never_comes_is_doubtful() {
    let (listener, url) = listen().await;
    let server = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let request = read_request(&mut stream).await;
        // The client gives up by closing.
        let mut rest = Vec::new();
        stream.read_to_end(&mut rest).await.unwrap();
        (request, rest)
    });
    let answer = act(&kms(&url, Duration::from_millis(300), clock::boottime)).await;
    assert!(matches!(answer.result, Err(Failure::Unanswered(_))), "{answer:?}");
    assert!(answer.sent);
    let (request, rest) = server.await.unwrap();
    assert!(request.contains("TrentService.EnableKey"));
    assert!(rest.is_empty(), "it is sent once");
}

#[tokio::test]
async fn a_connection_that_ends_after_the_request_is_doubtful_and_not_tried_again() {
    let (listener, url) = listen().await;
    let kms = kms(&url, PATIENCE, clock::boottime);
    let server = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        read_request(&mut stream).await;
        answer(&mut stream, "200 OK", "").await;
        read_request(&mut stream).await;
        drop(stream);
        listener
    });
    assert_eq!(act(&kms).await.result, Ok(()));
    let answer = act(&kms).await;
    assert!(matches!(answer.result, Err(Failure::Unanswered(_))), "{answer:?}");
    let listener = server.await.unwrap();
    drop(kms);
    assert!(listener.into_std().unwrap().accept().is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock));
}

#[tokio::test]
async fn a_pooled_connection_that_has_ended_is_replaced() {
    let (listener, url) = listen().await;
    let kms = kms(&url, PATIENCE, clock::boottime);
    let (closed, is_closed) = tokio::sync::oneshot::channel();
    let server = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        read_request(&mut stream).await;
        answer(&mut stream, "200 OK", "").await;
        drop(stream);
        closed.send(()).unwrap();
        let (mut stream, _) = listener.accept().await.unwrap();
        read_request(&mut stream).await;
        answer(&mut stream, "200 OK", "").await;
    });
    assert_eq!(act(&kms).await.result, Ok(()));
    is_closed.await.unwrap();
    assert_eq!(act(&kms).await.result, Ok(()));
    server.await.unwrap();
}

#[tokio::test]
async fn connections_are_used_again() {
    let (listener, url) = listen().await;
    let kms = kms(&url, PATIENCE, clock::boottime);
    let server = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        for _ in 0..3 {
            read_request(&mut stream).await;
            answer(&mut stream, "200 OK", "{}").await;
        }
    });
    for _ in 0..3 {
        assert_eq!(act(&kms).await.result, Ok(()));
    }
    server.await.unwrap();
}

#[tokio::test]
async fn a_success_that_is_not_kmss_is_doubtful() {
    let answer = told("200 OK", "<html>Welcome to the hotel's network</html>").await;
    assert!(matches!(answer.result, Err(Failure::Unanswered(_))), "{answer:?}");
    assert!(answer.sent);
    assert_eq!(told("200 OK", "").await.result, Ok(()));
}

#[tokio::test]
async fn refusals_are_told_in_kmss_words_or_by_their_status() {
    let body = r#"{"__type": "KMSInvalidStateException", "message": "it is pending deletion"}"#;
    for (status, body, code, text) in [
        ("400 Bad Request", body, "KMSInvalidStateException", "it is pending deletion"),
        ("503 Service Unavailable", "<html>busy</html>", "Http503", "HTTP status 503 without an explanation"),
        ("413 Payload Too Large", "", "Http413", "HTTP status 413 without an explanation"),
    ] {
        let Err(Failure::Refused(refusal)) = told(status, body).await.result else { panic!("{status}") };
        assert_eq!((refusal.code.as_str(), refusal.text.as_str()), (code, text));
        assert_eq!(refusal.status.to_string(), status[..3]);
    }
}

/// The listener of the test below, and whether its lease has lapsed. The client's clock asks them: a plain function.
static LISTENER: OnceLock<Mutex<Option<std::net::TcpListener>>> = OnceLock::new();
static ACCEPTED: Mutex<Option<std::net::TcpStream>> = Mutex::new(None);
static LAPSED: AtomicBool = AtomicBool::new(false);

/// Stands still, and jumps past the lease at the moment when a connection is there.
fn clock_until_connected() -> Moment {
    if let Some(listener) = LISTENER.get().and_then(|listener| listener.lock().unwrap().take()) {
        match listener.accept() {
            Ok((stream, _)) => {
                *ACCEPTED.lock().unwrap() = Some(stream);
                LAPSED.store(true, Ordering::SeqCst);
            }
            Err(_not_yet) => *LISTENER.get().unwrap().lock().unwrap() = Some(listener),
        }
    }
    Moment::from_nanos(if LAPSED.load(Ordering::SeqCst) { 1_000 } else { 10 })
}

#[tokio::test]
async fn a_permit_that_lapses_while_connecting_sends_nothing() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let lease = Arc::new(Lease::default());
    let mut beats = Heartbeats::new(lease.clone());
    let number = beats.beat(Moment::from_nanos(10));
    beats.granted(number, Duration::from_nanos(100), Moment::from_nanos(10));
    let permit = Arc::new(Permit::for_go(&lease, flag(), clock_until_connected));
    permit.begin().unwrap();
    LISTENER.set(Mutex::new(Some(listener))).unwrap();
    let kms = kms(&url, PATIENCE, clock_until_connected);
    let answer = kms.key(&address("some-key")).act(&Request::EnableKey, &permit).await;
    assert_eq!(answer.result, Err(Failure::Void));
    assert!(!answer.sent);
    drop(kms);
    let stream = ACCEPTED.lock().unwrap().take().expect("it had connected");
    let mut stream = TcpStream::from_std({
        stream.set_nonblocking(true).unwrap();
        stream
    })
    .unwrap();
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).await.unwrap();
    assert_eq!(bytes, b"");
}
