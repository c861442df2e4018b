//! The gRPC stream to the leading scheduler: waited for, being opened, or up.
//!
//! One frame is on its way and one waits; what gathers behind them stays with the session, which makes one frame of it
//! when there is room. A leader that says nothing for as long as a lease lasts counts as lost, whatever TCP thinks.

use std::{future::Future, pin::Pin, time::Duration};

use keyfleet_proto::workers::v1 as wire;
use scheduler_client::Leader;
use tokio::{
    sync::mpsc,
    time::{Instant, sleep_until, timeout},
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;

/// How long the opening of a session may take.
const OPENING: Duration = Duration::from_secs(3);

/// The stream, or the way to it.
pub(crate) enum Link {
    /// To be opened at this time.
    Down {
        /// When.
        until: Instant,
    },
    /// Looks for the leader and says Hello.
    Opening(Pin<Box<dyn Future<Output = Result<Box<Open>, String>> + Send>>),
    /// A session is open.
    Up(Box<Open>),
}

/// An open session.
pub(crate) struct Open {
    frames: mpsc::Sender<wire::FromWorker>,
    incoming: Streaming<wire::FromLeader>,
    heard: Instant,
}

/// What happens to the link.
pub(crate) enum LinkEvent {
    /// It is time to open it.
    Due,
    /// It is open, or could not be opened.
    Opened(Result<Box<Open>, String>),
    /// The leader said something.
    Frame(Box<wire::FromLeader>),
    /// There is room for a frame again.
    Room,
    /// The session has ended.
    Lost(String),
}

impl Link {
    /// Looks for the leader and opens a session that begins with this frame.
    pub(crate) fn open(leader: Leader, hello: wire::FromWorker) -> Self {
        Self::Opening(Box::pin(open(leader, hello)))
    }

    /// Whether a session is open.
    pub(crate) const fn is_up(&self) -> bool {
        matches!(self, Self::Up(_))
    }

    /// Room for one frame, if there is a session that can take one.
    pub(crate) fn room(&self) -> Option<mpsc::Permit<'_, wire::FromWorker>> {
        match self {
            Self::Up(open) => open.frames.try_reserve().ok(),
            Self::Down { .. } | Self::Opening(_) => None,
        }
    }

    /// Waits for what happens next; nothing is lost when it is dropped. `room_from` is from when on room for a frame is
    /// wanted, `silence` how long a leader may say nothing.
    pub(crate) async fn event(&mut self, room_from: Option<Instant>, silence: Duration) -> LinkEvent {
        match self {
            Self::Down { until } => {
                sleep_until(*until).await;
                LinkEvent::Due
            }
            Self::Opening(opening) => LinkEvent::Opened(opening.await),
            Self::Up(open) => tokio::select! {
                frame = open.incoming.message() => match frame {
                    Ok(Some(frame)) => {
                        open.heard = Instant::now();
                        LinkEvent::Frame(Box::new(frame))
                    }
                    Ok(None) => LinkEvent::Lost("the scheduler ended the session".to_owned()),
                    Err(status) => LinkEvent::Lost(status.message().to_owned()),
                },
                room = room(&open.frames, room_from), if room_from.is_some() => match room {
                    Ok(_room) => LinkEvent::Room,
                    Err(_closed) => LinkEvent::Lost("the stream to the scheduler was closed".to_owned()),
                },
                () = sleep_until(open.heard + silence) => LinkEvent::Lost(format!("silent for {silence:?}")),
            },
        }
    }
}

async fn room(
    frames: &mpsc::Sender<wire::FromWorker>,
    from: Option<Instant>,
) -> Result<mpsc::Permit<'_, wire::FromWorker>, mpsc::error::SendError<()>> {
    if let Some(from) = from {
        sleep_until(from).await;
    }
    frames.reserve().await
}

async fn open(leader: Leader, hello: wire::FromWorker) -> Result<Box<Open>, String> {
    let mut client = match timeout(OPENING, leader.workers()).await {
        Ok(client) => client.map_err(|error| error.to_string())?,
        Err(_) => return Err("no scheduler was found in time".to_owned()),
    };
    let (frames, outgoing) = mpsc::channel(1);
    frames.try_send(hello).map_err(|error| error.to_string())?;
    match timeout(OPENING, client.session(ReceiverStream::new(outgoing))).await {
        Ok(Ok(answer)) => Ok(Box::new(Open { frames, incoming: answer.into_inner(), heard: Instant::now() })),
        Ok(Err(status)) => {
            leader.note(&status);
            Err(format!("{}: {}", status.code(), status.message()))
        }
        Err(_) => {
            leader.lost();
            Err("the scheduler did not open a session in time".to_owned())
        }
    }
}
