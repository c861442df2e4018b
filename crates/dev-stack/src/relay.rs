//! A network that can be cut, slowed down and held up: a TCP relay in front of one part.
//!
//! As with a real network, bytes are never lost from the middle of a connection: what is held up arrives late, or the
//! connection ends. A relay may be told how long it holds anything at the longest; what it has held longer ends its connection.
//! (KMS has no fencing token, and no network in front of it keeps a request for long: TCP_USER_TIMEOUT would have ended
//! its connection.)

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context as _, Result};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::{Instant, sleep};

/// What is read at once.
const PIECE: usize = 64 << 10;

/// How the network is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Net {
    /// Everything passes.
    Whole,
    /// Connections end, new ones at once.
    Cut,
    /// Connections stay, nothing passes.
    Held,
    /// Half open: what callers send is held, what they are sent passes.
    HeldThere,
    /// Half open: what callers are sent is held, what they send passes.
    HeldBack,
    /// Each piece takes so long, either way.
    Slow(Duration),
}

/// A relay. It ends, with its connections, when it is dropped.
#[derive(Debug)]
pub struct Relay {
    address: SocketAddr,
    net: watch::Sender<Net>,
}

/// The two directions of a connection.
#[derive(Clone, Copy, Debug)]
enum Way {
    There,
    Back,
}

impl Relay {
    /// A relay on a free port to `upstream`, which need not listen yet.
    ///
    /// # Errors
    /// When there is no port.
    pub async fn to(upstream: SocketAddr, longest_hold: Option<Duration>) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await.context("a relay's port")?;
        let relay =
            Self { address: listener.local_addr().context("a relay's port")?, net: watch::Sender::new(Net::Whole) };
        let mut net = relay.net.subscribe();
        tokio::spawn(async move {
            loop {
                tokio::select! {
                    accepted = listener.accept() => if let Ok((client, _)) = accepted {
                        tokio::spawn(relay_one(client, upstream, net.clone(), longest_hold));
                    },
                    // Only its end matters here.
                    changed = net.changed() => if changed.is_err() { return },
                }
            }
        });
        Ok(relay)
    }

    /// A relay to where the URL leads, and the URL that leads through it.
    ///
    /// # Errors
    /// When the URL names no address, or there is no port.
    pub async fn before(url: &str) -> Result<(Self, String)> {
        let (start, end) = host_of(url);
        let relay = Self::to(url[start..end].parse().context("a URL without an address")?, None).await?;
        let through = relay.url(url);
        Ok((relay, through))
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The URL that leads through it instead of straight to where it leads.
    #[must_use]
    pub fn url(&self, straight: &str) -> String {
        at(straight, self.address)
    }

    /// From now on the network is like this.
    pub fn set(&self, net: Net) {
        self.net.send_replace(net);
    }
}

/// The same URL with another host and port.
pub(crate) fn at(url: &str, address: SocketAddr) -> String {
    let (start, end) = host_of(url);
    format!("{}{address}{}", &url[..start], &url[end..])
}

/// Where host and port stand in a URL.
fn host_of(url: &str) -> (usize, usize) {
    let start = url.find("://").map_or(0, |at| at + 3);
    let end = url[start..].find(['/', '?']).map_or(url.len(), |at| start + at);
    (url[start..end].rfind('@').map_or(start, |at| start + at + 1), end)
}

async fn relay_one(client: TcpStream, upstream: SocketAddr, mut net: watch::Receiver<Net>, longest: Option<Duration>) {
    if *net.borrow_and_update() == Net::Cut {
        return reset(&client);
    }
    let Ok(server) = TcpStream::connect(upstream).await else { return };
    if client.set_nodelay(true).and_then(|()| server.set_nodelay(true)).is_err() {
        return;
    }
    let (there, back) = (net.clone(), net.clone());
    let ((mut from_client, mut to_client), (mut from_server, mut to_server)) =
        (client.into_split(), server.into_split());
    tokio::select! {
        () = pass(&mut from_client, &mut to_server, Way::There, there, longest) => {}
        () = pass(&mut from_server, &mut to_client, Way::Back, back, longest) => {}
        _ = net.wait_for(|net| *net == Net::Cut) => {}
    }
    if *net.borrow() == Net::Cut {
        reset(from_client.as_ref());
        reset(from_server.as_ref());
    }
}

/// Passes one direction on until it ends, or something was held for too long.
async fn pass(
    from: &mut OwnedReadHalf,
    to: &mut OwnedWriteHalf,
    way: Way,
    mut net: watch::Receiver<Net>,
    longest: Option<Duration>,
) {
    let mut buffer = vec![0; PIECE];
    while let Ok(read @ 1..) = from.read(&mut buffer).await {
        let (since, now) = (Instant::now(), *net.borrow());
        if let Net::Slow(delay) = now {
            sleep(delay).await;
        }
        // What is held when the cut comes is lost.
        if !net.wait_for(|net| !net.holds(way)).await.is_ok_and(|net| *net != Net::Cut) {
            return;
        }
        let hampered = matches!(now, Net::Slow(_)) || now.holds(way);
        if hampered && longest.is_some_and(|longest| since.elapsed() > longest) {
            return;
        }
        if to.write_all(&buffer[..read]).await.is_err() {
            return;
        }
    }
}

impl Net {
    fn holds(self, way: Way) -> bool {
        match self {
            Self::Held => true,
            Self::HeldThere => matches!(way, Way::There),
            Self::HeldBack => matches!(way, Way::Back),
            Self::Whole | Self::Cut | Self::Slow(_) => false,
        }
    }
}

/// Closing it will tell the other end that it is gone, not that it has ended.
fn reset(stream: &TcpStream) {
    // One that is gone already needs no more.
    let _ = socket2::SockRef::from(stream).set_linger(Some(Duration::ZERO));
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Echo {
        relay: Relay,
        /// Each piece that the server has got and sent back.
        seen: tokio::sync::mpsc::UnboundedReceiver<Vec<u8>>,
    }

    async fn echo(longest: Option<Duration>) -> Echo {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let relay = Relay::to(listener.local_addr().unwrap(), longest).await.unwrap();
        let (tell, seen) = tokio::sync::mpsc::unbounded_channel();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let tell = tell.clone();
                tokio::spawn(async move {
                    let mut piece = [0; 16];
                    while let Ok(read @ 1..) = stream.read(&mut piece).await {
                        let _ = stream.write_all(&piece[..read]).await;
                        let _ = tell.send(piece[..read].to_vec());
                    }
                });
            }
        });
        Echo { relay, seen }
    }

    async fn says(stream: &mut TcpStream, word: &[u8]) -> Vec<u8> {
        stream.write_all(word).await.unwrap();
        hears(stream).await
    }

    /// Nothing when the connection has ended, in either way.
    async fn hears(stream: &mut TcpStream) -> Vec<u8> {
        let mut piece = [0; 16];
        let read = stream.read(&mut piece).await.unwrap_or(0);
        piece[..read].to_vec()
    }

    /// A connection whose server has got a word that the relay keeps from coming back.
    async fn holding_b_back() -> (Echo, TcpStream) {
        let mut echo = echo(None).await;
        let mut stream = TcpStream::connect(echo.relay.address()).await.unwrap();
        assert_eq!(says(&mut stream, b"a").await, b"a");
        echo.seen.recv().await;
        echo.relay.set(Net::HeldBack);
        stream.write_all(b"b").await.unwrap();
        assert_eq!(echo.seen.recv().await.unwrap(), b"b");
        (echo, stream)
    }

    #[tokio::test]
    async fn a_cut_ends_old_and_new_connections_until_it_is_mended() {
        let echo = echo(None).await;
        let mut old = TcpStream::connect(echo.relay.address()).await.unwrap();
        assert_eq!(says(&mut old, b"a").await, b"a");
        echo.relay.set(Net::Cut);
        assert_eq!(hears(&mut old).await, b"");
        let mut new = TcpStream::connect(echo.relay.address()).await.unwrap();
        assert_eq!(hears(&mut new).await, b"");
        echo.relay.set(Net::Whole);
        let mut mended = TcpStream::connect(echo.relay.address()).await.unwrap();
        assert_eq!(says(&mut mended, b"b").await, b"b");
    }

    #[tokio::test]
    async fn a_half_open_connection_passes_one_way_and_the_rest_comes_late() {
        let (echo, mut stream) = holding_b_back().await;
        echo.relay.set(Net::Whole);
        assert_eq!(hears(&mut stream).await, b"b");
    }

    #[tokio::test]
    async fn what_is_held_when_the_cut_comes_never_arrives() {
        let (echo, mut stream) = holding_b_back().await;
        echo.relay.set(Net::Cut);
        assert_eq!(hears(&mut stream).await, b"");
    }

    #[tokio::test]
    async fn what_was_held_too_long_ends_its_connection() {
        let mut echo = echo(Some(Duration::ZERO)).await;
        let mut stream = TcpStream::connect(echo.relay.address()).await.unwrap();
        assert_eq!(says(&mut stream, b"a").await, b"a");
        echo.seen.recv().await;
        echo.relay.set(Net::Slow(Duration::from_millis(1)));
        assert_eq!(says(&mut stream, b"b").await, b"");
        assert!(echo.seen.try_recv().is_err(), "the server has got it all the same");
    }

    #[test]
    fn a_url_leads_elsewhere_and_stays_the_same_otherwise() {
        let there = SocketAddr::from(([127, 0, 0, 1], 7));
        for (straight, through) in [
            ("postgres://u:p@h:1/db?sslmode=disable", "postgres://u:p@127.0.0.1:7/db?sslmode=disable"),
            ("amqp://u:p@h:1/%2f", "amqp://u:p@127.0.0.1:7/%2f"),
            ("http://h:1", "http://127.0.0.1:7"),
        ] {
            assert_eq!(at(straight, there), through);
        }
    }
}
