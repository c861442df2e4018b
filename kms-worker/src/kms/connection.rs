//! One HTTP/1.1 connection to a KMS end, driven by whoever uses it.
//!
//! Nothing drives a connection in the background: the future that makes the request also moves the bytes, so dropping
//! it (a timeout) closes the socket at once and nothing is written afterwards, and no other task stands between the
//! last check and the write. HTTP/1.1 rather than 2, because there one connection's fate is one request's.

use std::{
    future::{Future, poll_fn},
    io,
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use job_model::Moment;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
};
use tokio_rustls::TlsConnector;

use super::{
    flight::Flight,
    gate::{Gate, Guard},
    transport::Origin,
};

/// The longest answer taken, in bytes. KMS's longest here is a key policy of 32 KiB.
const LONGEST_ANSWER: usize = 1024 * 1024;

type Driver = http1::Connection<Gate<TokioIo<Box<dyn Stream>>>, Full<Bytes>>;

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// A connection with no request under way.
pub(super) struct Connection {
    sender: SendRequest<Full<Bytes>>,
    driver: Driver,
    guard: Guard,
    /// When its last request ended.
    pub(super) idle_since: Moment,
}

/// Why there is no answer.
pub(super) enum NoAnswer {
    /// The connection had ended before the request was taken up: it is given back, untouched.
    Untouched(Box<Request<Full<Bytes>>>),
    /// The connection broke.
    Broken(String),
}

impl Connection {
    /// Resolves, connects and shakes hands. `silence` is how long the kernel lets sent bytes go unacknowledged.
    pub(super) async fn open(origin: &Origin, tls: Option<TlsConnector>, silence: Duration) -> io::Result<Self> {
        let tcp = TcpStream::connect((origin.host(), origin.port())).await?;
        tcp.set_nodelay(true)?;
        socket2::SockRef::from(&tcp).set_tcp_user_timeout(Some(silence))?;
        let stream: Box<dyn Stream> = match tls {
            None => Box::new(tcp),
            Some(tls) => {
                let name =
                    rustls::pki_types::ServerName::try_from(origin.host().to_owned()).map_err(io::Error::other)?;
                Box::new(tls.connect(name, tcp).await?)
            }
        };
        let guard = Guard::default();
        let gate = Gate::new(TokioIo::new(stream), guard.clone());
        let (sender, driver) = http1::handshake(gate).await.map_err(io::Error::other)?;
        Ok(Self { sender, driver, guard, idle_since: Moment::default() })
    }

    /// Whether a request may be made on it: the other end has not closed it.
    pub(super) async fn is_usable(&mut self) -> bool {
        poll_fn(|cx| Poll::Ready(self.poll_usable(cx))).await
    }

    fn poll_usable(&mut self, cx: &mut Context<'_>) -> bool {
        Pin::new(&mut self.driver).poll(cx).is_pending() && matches!(self.sender.poll_ready(cx), Poll::Ready(Ok(())))
    }

    /// Makes one request. The connection comes back if it can serve another.
    pub(super) async fn exchange(
        self,
        flight: Arc<Flight>,
        request: Request<Full<Bytes>>,
    ) -> (Result<Response<Bytes>, NoAnswer>, Option<Self>) {
        let Self { mut sender, driver, guard, idle_since } = self;
        guard.arm(flight);
        let mut driver = Some(driver);
        let answer = {
            let mut work = pin!(ask(&mut sender, request));
            poll_fn(|cx| {
                if let Poll::Ready(answer) = work.as_mut().poll(cx) {
                    return Poll::Ready(answer);
                }
                if let Some(running) = &mut driver
                    && Pin::new(running).poll(cx).is_ready()
                {
                    // Dropping it tells the one who waits for its answer.
                    driver = None;
                }
                work.as_mut().poll(cx)
            })
            .await
        };
        guard.disarm();
        let Some(driver) = driver else { return (answer, None) };
        let mut connection = Self { sender, driver, guard, idle_since };
        let usable = answer.is_ok() && connection.is_usable().await;
        (answer, usable.then_some(connection))
    }
}

async fn ask(
    sender: &mut SendRequest<Full<Bytes>>,
    request: Request<Full<Bytes>>,
) -> Result<Response<Bytes>, NoAnswer> {
    let response = sender.try_send_request(request).await.map_err(|mut error| match error.take_message() {
        Some(request) => NoAnswer::Untouched(Box::new(request)),
        None => NoAnswer::Broken(chain(error.error())),
    })?;
    let (head, body) = response.into_parts();
    match Limited::new(body, LONGEST_ANSWER).collect().await {
        Ok(body) => Ok(Response::from_parts(head, body.to_bytes())),
        Err(error) => Err(NoAnswer::Broken(chain(error.as_ref()))),
    }
}

/// An error and what caused it, in one line.
pub(super) fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(error) = next {
        let said = error.to_string();
        if !text.ends_with(&said) {
            text.push_str(": ");
            text.push_str(&said);
        }
        next = error.source();
    }
    text
}
