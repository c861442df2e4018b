//! A network that can be cut and frozen: a TCP relay in front of the broker.

use std::net::SocketAddr;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::watch,
};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Net {
    /// Passes everything.
    Whole,
    /// Connections stay, nothing passes.
    Frozen,
    /// Connections end, new ones too.
    Cut,
}

pub(crate) struct Proxy {
    address: SocketAddr,
    net: watch::Sender<Net>,
}

impl Proxy {
    /// A relay to where the URL points, and the URL that leads through it.
    pub(crate) async fn before(url: &str) -> (Self, String) {
        let (user, place) = url.rsplit_once('@').unwrap();
        let (upstream, host) = place.split_once('/').unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let proxy = Self { address: listener.local_addr().unwrap(), net: watch::Sender::new(Net::Whole) };
        let through = format!("{user}@{}/{host}", proxy.address);
        let (upstream, net) = (upstream.to_owned(), proxy.net.subscribe());
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(relay(client, upstream.clone(), net.clone()));
            }
        });
        (proxy, through)
    }

    pub(crate) fn cut(&self) {
        self.net.send_replace(Net::Cut);
    }

    pub(crate) fn freeze(&self) {
        self.net.send_replace(Net::Frozen);
    }

    pub(crate) fn mend(&self) {
        self.net.send_replace(Net::Whole);
    }
}

async fn relay(client: TcpStream, upstream: String, mut net: watch::Receiver<Net>) {
    if *net.borrow_and_update() == Net::Cut {
        return;
    }
    let Ok(server) = TcpStream::connect(upstream).await else { return };
    let ((from_client, to_client), (from_server, to_server)) = (client.into_split(), server.into_split());
    let passing = (net.clone(), net.clone());
    tokio::select! {
        () = pass(from_client, to_server, passing.0) => {}
        () = pass(from_server, to_client, passing.1) => {}
        _ = net.wait_for(|net| *net == Net::Cut) => {}
    }
}

async fn pass(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, mut net: watch::Receiver<Net>) {
    let mut buffer = vec![0; 64 << 10];
    while let Ok(read @ 1..) = from.read(&mut buffer).await {
        if net.wait_for(|net| *net != Net::Frozen).await.is_err() || to.write_all(&buffer[..read]).await.is_err() {
            return;
        }
    }
}
