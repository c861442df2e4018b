//! Sends KMS requests: a pool of connections that never repeats a request by itself.
//!
//! A request first gets a connected, ready connection; then its permit is checked; then it is written, to one
//! connection only. The exception is a pooled connection that turns out to have ended before a byte was written: it is
//! replaced, and the permit checked again.

use std::{
    cell::RefCell,
    collections::{HashMap, VecDeque},
    io,
    sync::{Arc, OnceLock},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderValue, Request, Response, Uri, header::HOST, uri::Scheme};
use http_body_util::Full;
use thread_local::ThreadLocal;
use tokio_rustls::TlsConnector;

use super::{
    connection::{Connection, NoAnswer, chain},
    flight::{Flight, Grounded, Progress},
};
use crate::permit::Clock;

/// How long a connection may rest: well below the minute or so after which servers close theirs, because a request
/// that crosses with the closing goes unanswered.
const REST: Duration = Duration::from_secs(10);

/// Connections kept at rest per thread and KMS end; more would be above any sensible number of tries at once.
const KEPT: usize = 1024;

/// A pool. Clones share it.
#[derive(Clone)]
pub struct Transport(Arc<Pool>);

struct Pool {
    silence: Duration,
    clock: Clock,
    /// Of each thread its own: a connection is driven by the runtime that it was made on.
    resting: ThreadLocal<RefCell<HashMap<Origin, VecDeque<Connection>>>>,
    tls: OnceLock<TlsConnector>,
}

/// Why a request has no answer. [`Flight::progress`] tells whether it left.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    /// The address cannot be used.
    #[error("{0} is no address of a KMS end")]
    Address(Uri),
    /// It may not be sent.
    #[error(transparent)]
    Grounded(#[from] Grounded),
    /// No connection could be made.
    #[error("no connection to {0}: {1}")]
    Unconnected(Origin, String),
    /// The connection broke.
    #[error("{0}")]
    Broken(String),
}

impl Transport {
    /// An empty pool. Sent bytes that go unacknowledged for `silence` break their connection (`TCP_USER_TIMEOUT`).
    pub fn new(silence: Duration, clock: Clock) -> Self {
        Self(Arc::new(Pool { silence, clock, resting: ThreadLocal::new(), tls: OnceLock::new() }))
    }

    /// Sends one request and gives its answer, body and all. Dropping the future closes its connection.
    ///
    /// # Errors
    /// See [`SendError`].
    pub async fn send(&self, flight: Arc<Flight>, request: Request<Bytes>) -> Result<Response<Bytes>, SendError> {
        let origin = Origin::of(request.uri()).ok_or_else(|| SendError::Address(request.uri().clone()))?;
        let mut request = to_origin_form(request, &origin);
        loop {
            let (connection, fresh) = match self.rested(&origin).await {
                Some(connection) => (connection, false),
                None => (self.connect(&origin).await?, true),
            };
            if let Err(grounded) = flight.check() {
                self.rest(origin, connection);
                return Err(grounded.into());
            }
            let (answer, connection) = connection.exchange(flight.clone(), request).await;
            if let Some(connection) = connection {
                self.rest(origin.clone(), connection);
            }
            match answer {
                Ok(answer) => return Ok(answer),
                Err(NoAnswer::Untouched(again)) if !fresh && flight.progress() == Progress::Waiting => request = *again,
                Err(NoAnswer::Untouched(_)) => {
                    return Err(SendError::Broken("the connection was closed at once".to_owned()));
                }
                Err(NoAnswer::Broken(why)) => return Err(SendError::Broken(why)),
            }
        }
    }

    /// A connection at rest that is still good.
    async fn rested(&self, origin: &Origin) -> Option<Connection> {
        loop {
            let mut connection = self.resting().borrow_mut().get_mut(origin)?.pop_back()?;
            if !self.is_stale(&connection) && connection.is_usable().await {
                return Some(connection);
            }
        }
    }

    async fn connect(&self, origin: &Origin) -> Result<Connection, SendError> {
        let unconnected = |error: io::Error| SendError::Unconnected(origin.clone(), chain(&error));
        let tls = match origin.secure {
            true => Some(self.tls().map_err(unconnected)?),
            false => None,
        };
        Connection::open(origin, tls, self.0.silence).await.map_err(unconnected)
    }

    fn rest(&self, origin: Origin, mut connection: Connection) {
        connection.idle_since = (self.0.clock)();
        let mut resting = self.resting().borrow_mut();
        let resting = resting.entry(origin).or_default();
        // The oldest stand in front; after a burst nobody else would ever close them.
        while resting.front().is_some_and(|oldest| self.is_stale(oldest)) {
            resting.pop_front();
        }
        if resting.len() < KEPT {
            resting.push_back(connection);
        }
    }

    fn is_stale(&self, connection: &Connection) -> bool {
        (self.0.clock)().since(connection.idle_since) >= REST
    }

    fn resting(&self) -> &RefCell<HashMap<Origin, VecDeque<Connection>>> {
        self.0.resting.get_or_default()
    }

    /// The system's own certificate authorities; reading them takes a while, so only when needed.
    fn tls(&self) -> io::Result<TlsConnector> {
        if let Some(tls) = self.0.tls.get() {
            return Ok(tls.clone());
        }
        let mut roots = rustls::RootCertStore::empty();
        let found = rustls_native_certs::load_native_certs();
        let (added, _ignored) = roots.add_parsable_certificates(found.certs);
        if added == 0 {
            return Err(io::Error::other("this machine has no certificate authorities (package ca-certificates)"));
        }
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(io::Error::other)?
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(self.0.tls.get_or_init(|| TlsConnector::from(Arc::new(config))).clone())
    }
}

impl std::fmt::Debug for Transport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Transport")
    }
}

/// A KMS end: where connections go.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Origin {
    secure: bool,
    host: Arc<str>,
    port: u16,
}

impl Origin {
    fn of(uri: &Uri) -> Option<Self> {
        let scheme = uri.scheme()?;
        let secure = *scheme == Scheme::HTTPS;
        if !secure && *scheme != Scheme::HTTP {
            return None;
        }
        let host = uri.host()?.trim_start_matches('[').trim_end_matches(']');
        Some(Self { secure, host: host.into(), port: uri.port_u16().unwrap_or(if secure { 443 } else { 80 }) })
    }

    pub(super) fn host(&self) -> &str {
        &self.host
    }

    pub(super) const fn port(&self) -> u16 {
        self.port
    }
}

impl std::fmt::Display for Origin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

/// As a server (not a proxy) takes it: the path alone, and the host beside it.
fn to_origin_form(request: Request<Bytes>, origin: &Origin) -> Request<Full<Bytes>> {
    let (mut head, body) = request.into_parts();
    let host = head.uri.authority().map_or_else(|| origin.to_string(), ToString::to_string);
    if let Ok(host) = HeaderValue::try_from(host) {
        head.headers.entry(HOST).or_insert(host);
    }
    head.uri = head.uri.path_and_query().cloned().map_or_else(|| Uri::from_static("/"), Uri::from);
    Request::from_parts(head, Full::new(body))
}

#[cfg(test)]
mod tests {
    use rcgen::{CertifiedKey, generate_simple_self_signed};
    use rustls::{
        ClientConfig, RootCertStore, ServerConfig,
        crypto::aws_lc_rs,
        pki_types::{CertificateDer, PrivateKeyDer},
    };
    use service_kit::clock;
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpListener,
    };
    use tokio_rustls::TlsAcceptor;

    use super::*;
    use crate::{
        lease::{Heartbeats, Lease},
        permit::Permit,
    };

    const PATIENCE: Duration = Duration::from_secs(20);

    fn flight() -> Arc<Flight> {
        let lease = Arc::new(Lease::default());
        let mut beats = Heartbeats::new(lease.clone());
        let number = beats.beat(clock::boottime());
        beats.granted(number, PATIENCE, clock::boottime());
        Arc::new(Flight::new(Arc::new(Permit::for_look(&lease, clock::boottime)), PATIENCE))
    }

    /// A pool that trusts this certificate, or none.
    fn trusting(certificate: Option<CertificateDer<'static>>) -> Transport {
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(certificate);
        let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let transport = Transport::new(PATIENCE, clock::boottime);
        transport.0.tls.set(TlsConnector::from(Arc::new(config))).ok().unwrap();
        transport
    }

    /// A server with a certificate for 127.0.0.1: answers one request, if one comes.
    async fn server() -> (Uri, CertificateDer<'static>) {
        let CertifiedKey { cert, signing_key } = generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
        let key = PrivateKeyDer::try_from(signing_key.serialize_der()).unwrap();
        let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![cert.der().clone()], key)
            .unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let uri = format!("https://{}/", listener.local_addr().unwrap()).parse().unwrap();
        tokio::spawn(async move {
            let (stream, _) = listener.accept().await.unwrap();
            let Ok(mut stream) = TlsAcceptor::from(Arc::new(config)).accept(stream).await else { return };
            let mut bytes = Vec::new();
            while !bytes.ends_with(b"body") {
                assert_ne!(stream.read_buf(&mut bytes).await.unwrap(), 0);
            }
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}").await.unwrap();
            stream.shutdown().await.unwrap();
        });
        (uri, cert.der().clone())
    }

    fn request(uri: Uri) -> Request<Bytes> {
        Request::post(uri).header("content-length", "4").body(Bytes::from_static(b"body")).unwrap()
    }

    #[tokio::test]
    async fn a_trusted_end_is_spoken_to_in_secret() {
        let (uri, certificate) = server().await;
        let flight = flight();
        let answer = trusting(Some(certificate)).send(flight.clone(), request(uri)).await.unwrap();
        assert_eq!((answer.status().as_u16(), &answer.body()[..]), (200, &b"{}"[..]));
        assert_eq!(flight.progress(), Progress::Sent);
    }

    #[tokio::test]
    async fn an_end_that_is_not_trusted_is_told_nothing() {
        let (uri, _) = server().await;
        let flight = flight();
        let error = trusting(None).send(flight.clone(), request(uri)).await.unwrap_err();
        assert!(matches!(error, SendError::Unconnected(..)), "{error}");
        assert_eq!(flight.progress(), Progress::Waiting);
    }

    #[tokio::test]
    async fn what_is_no_address_is_told_so() {
        for address in ["/", "ftp://127.0.0.1/"] {
            let transport = Transport::new(PATIENCE, clock::boottime);
            let error = transport.send(flight(), request(address.parse().unwrap())).await.unwrap_err();
            assert!(matches!(error, SendError::Address(_)), "{address}");
        }
    }
}
