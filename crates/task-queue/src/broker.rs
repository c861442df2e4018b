//! The connection to RabbitMQ and the loop that keeps it.
//!
//! One connection a process, two where aborts must not wait behind tasks; publishers and consumers open channels on it and open them anew when it was replaced. The
//! loop never gives up: it connects, declares the topology, watches (lapin's events wake it, a timer makes it look
//! anyway), drops a lost connection whole and begins again after a short, jittered wait. lapin's own recovery is off.
//! `Broker` is cheap to clone; the connection closes with the last clone, publisher and consumer.

use std::{sync::Arc, time::Duration};

use futures_util::StreamExt;
use lapin::{Channel, Connection, ConnectionProperties, runtime::default_runtime, tcp::OwnedTLSConfig, uri::AMQPUri};
use service_kit::{Part, retry::Backoff, settings::Invalid};
use tokio::{sync::watch, time::timeout};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::{BrokerSettings, topology::Topology};

/// How long anything may take that is one question and one answer.
pub(crate) const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a TCP connect may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// AMQP heartbeat, in seconds: a peer that is silent for twice this is gone. Also how long the deliveries of a frozen
/// consumer stay with it.
const HEARTBEAT: u16 = 5;
/// The longest AMQP frame in bytes, where the URL says nothing. lapin keeps 64 of them in memory for each connection, which
/// are 8 MB of RabbitMQ's own 128 KB, and a message of this crate has a few hundred bytes; a longer one takes more frames.
const FRAME_MAX: u32 = 16 * 1024;
/// How often a connection or channel is looked at without being told to.
pub(crate) const LOOK: Duration = Duration::from_secs(1);

/// There is no connection now; it is being made.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NoChannel {
    #[error("not connected to the broker")]
    NotConnected,
    #[error("{0}")]
    Refused(#[from] lapin::Error),
    #[error("the broker does not answer")]
    TimedOut,
}

/// The broker, connected or being connected to.
#[derive(Clone, Debug)]
pub struct Broker(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    topology: Topology,
    link: watch::Receiver<Option<Arc<Connection>>>,
    _stop: DropGuard,
    stop: CancellationToken,
}

impl Broker {
    /// Begins to connect, and tells the part of the service's readiness whether it is connected. Does not wait: the
    /// broker may come later. Call it within the async runtime.
    ///
    /// # Errors
    /// [`Invalid`], naming `AMQP_URL` when it is no AMQP URL, `AMQP_CA` when it cannot be read.
    pub fn connect(settings: &BrokerSettings, part: Part) -> Result<Self, Invalid> {
        // The parser's own words may repeat the URL, password and all.
        let mut uri: AMQPUri = settings.url.expose().parse().map_err(|_| {
            Invalid::new("AMQP_URL", format!("{} is not written amqp://user:password@host:port/vhost", settings.url))
        })?;
        uri.query.heartbeat = Some(HEARTBEAT);
        uri.query.frame_max.get_or_insert(FRAME_MAX);
        uri.query.connection_timeout = Some(u64::try_from(CONNECT_TIMEOUT.as_millis()).unwrap_or(u64::MAX));
        let ca = match &settings.ca {
            Some(path) => Some(
                std::fs::read_to_string(path)
                    .map_err(|error| Invalid::new("AMQP_CA", format!("{}: {error}", path.display())))?,
            ),
            None => None,
        };
        let topology = Topology::named(&settings.prefix);
        let (sender, link) = watch::channel(None);
        let stop = CancellationToken::new();
        connected(&part).set(0.0);
        let keeper = Keeper { uri, ca, topology: topology.clone(), part, link: sender, stop: stop.clone() };
        tokio::spawn(keeper.run());
        Ok(Self(Arc::new(Inner { topology, link, _stop: stop.clone().drop_guard(), stop })))
    }

    /// The names on the broker.
    pub fn topology(&self) -> &Topology {
        &self.0.topology
    }

    /// Closes the connection and does not make it again. What was delivered and not acknowledged goes back.
    pub async fn close(&self) {
        self.0.stop.cancel();
        let mut link = self.0.link.clone();
        // An error says that the loop has ended.
        while link.changed().await.is_ok() {}
    }

    /// Whether the broker told this process not to publish (it is short of memory or disk).
    pub(crate) fn is_blocked(&self) -> bool {
        self.0.link.borrow().as_ref().is_some_and(|connection| connection.status().blocked())
    }

    /// Waits for a connection. False when there will be none any more.
    pub(crate) async fn connected(&self) -> bool {
        self.0.link.clone().wait_for(Option::is_some).await.is_ok()
    }

    /// A new channel on the connection there is.
    pub(crate) async fn channel(&self) -> Result<Channel, NoChannel> {
        let connection = self.0.link.borrow().clone().ok_or(NoChannel::NotConnected)?;
        match timeout(ANSWER_TIMEOUT, connection.create_channel()).await {
            Ok(channel) => Ok(channel?),
            Err(_) => Err(NoChannel::TimedOut),
        }
    }
}

fn connected(part: &Part) -> metrics::Gauge {
    metrics::gauge!("keyfleet_broker_connected", "part" => part.name().to_owned())
}

/// The loop.
struct Keeper {
    uri: AMQPUri,
    /// PEM.
    ca: Option<String>,
    topology: Topology,
    part: Part,
    link: watch::Sender<Option<Arc<Connection>>>,
    stop: CancellationToken,
}

impl Keeper {
    async fn run(self) {
        let mut backoff = Backoff::reconnect();
        loop {
            let opened = tokio::select! {
                () = self.stop.cancelled() => return,
                opened = self.open() => opened,
            };
            match opened {
                Ok(connection) => {
                    backoff.reset();
                    let connection = Arc::new(connection);
                    self.link.send_replace(Some(connection.clone()));
                    metrics::counter!("keyfleet_broker_connects_total", "part" => self.part.name().to_owned())
                        .increment(1);
                    connected(&self.part).set(1.0);
                    let why = tokio::select! {
                        () = self.stop.cancelled() => None,
                        why = self.until_lost(&connection) => Some(why),
                    };
                    connected(&self.part).set(0.0);
                    self.link.send_replace(None);
                    // A dead one closes by itself; what cannot be said in time is left unsaid.
                    let _closed = timeout(LOOK, connection.close(200, "stopping".into())).await;
                    match why {
                        Some(why) => self.part.not_ready(why),
                        None => return,
                    }
                }
                Err(error) => self.part.not_ready(error.to_string()),
            }
            tokio::select! {
                () = self.stop.cancelled() => return,
                () = backoff.wait() => {}
            }
        }
    }

    async fn open(&self) -> Result<Connection, NoChannel> {
        let connecting = async {
            let program = std::env::args().next().unwrap_or_default();
            let name = program.rsplit('/').next().unwrap_or_default();
            let tls = OwnedTLSConfig { cert_chain: self.ca.clone(), identity: None };
            let properties = ConnectionProperties::default().with_connection_name(name.into());
            let connection =
                Connection::connect_uri_with_config(self.uri.clone(), properties, tls, default_runtime()?).await?;
            let channel = connection.create_channel().await?;
            self.topology.declare(&channel).await?;
            channel.close(200, "declared".into()).await?;
            Ok(connection)
        };
        timeout(CONNECT_TIMEOUT + ANSWER_TIMEOUT, connecting).await.unwrap_or(Err(NoChannel::TimedOut))
    }

    /// Watches until the connection is lost, and tells why.
    async fn until_lost(&self, connection: &Connection) -> String {
        let mut why = "the connection was lost".to_owned();
        let mut events = std::pin::pin!(connection.events_listener());
        loop {
            if !connection.status().connected() {
                return why;
            }
            if connection.status().blocked() {
                self.part.not_ready("the broker is short of memory or disk and takes no messages");
            } else {
                self.part.ready();
            }
            // An event only makes it look earlier.
            match timeout(LOOK, events.next()).await {
                Ok(Some(lapin::Event::Error(error))) => why = error.to_string(),
                Ok(Some(_)) | Err(_) => {}
                Ok(None) => tokio::time::sleep(LOOK).await,
            }
        }
    }
}
