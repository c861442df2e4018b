//! Abort commands: to the leader through a durable queue, to every worker by a broadcast.
//!
//! The leader acknowledges after its commit, so none is lost; the queue has a single active consumer, so a leader that
//! was replaced gets none. A worker's broadcast is the fast path only: it misses what is sent while it reconnects, and
//! the session with the leader makes up for it.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use futures_util::{Stream, StreamExt};
use job_model::WorkerId;
use tokio::sync::mpsc;

use crate::{
    AbortCommand, Broker,
    consumer::{Command, Ends, Source, Tag},
    envelope::Envelope,
};

/// Unacknowledged abort commands at a time. A commit takes several together.
const PREFETCH: u16 = 256;

/// An abort command that the leader owes an answer to. Dropped unacknowledged, it comes again after a reconnect or to
/// the next leader.
#[derive(Debug)]
pub struct AbortDelivery {
    /// The command.
    pub command: AbortCommand,
    tag: Tag,
    commands: mpsc::WeakUnboundedSender<Command>,
}

impl AbortDelivery {
    /// The abort is committed. An ack that gets lost brings the command again, which changes nothing.
    pub fn ack(self) {
        if let Some(commands) = self.commands.upgrade() {
            // An error says that the stream has ended.
            let _ended = commands.send(Command::Ack(vec![self.tag]));
        }
    }
}

/// The leader's stream of abort commands; survives reconnects, ends when the broker was closed. Drop it when the
/// leadership is lost: another leader's stream takes over.
#[derive(Debug)]
pub struct LeaderAborts(Ends<AbortCommand>);

/// A worker's stream of abort commands; survives reconnects, ends when the broker was closed.
#[derive(Debug)]
pub struct WorkerAborts(Ends<AbortCommand>);

impl Broker {
    /// Consumes the abort commands from the leader's durable queue.
    pub fn consume_aborts_as_leader(&self) -> LeaderAborts {
        LeaderAborts(self.consume(Source::LeaderAborts, PREFETCH, |delivery| AbortCommand::from_bytes(&delivery.data)))
    }

    /// Hears the broadcast of abort commands on a queue of this worker's own.
    pub fn consume_aborts_as_worker(&self, worker: WorkerId) -> WorkerAborts {
        let source = Source::WorkerAborts(worker);
        WorkerAborts(self.consume(source, PREFETCH, |delivery| AbortCommand::from_bytes(&delivery.data)))
    }
}

impl LeaderAborts {
    /// The next command; `None` when the broker was closed.
    pub async fn next(&mut self) -> Option<AbortDelivery> {
        StreamExt::next(self).await
    }
}

impl WorkerAborts {
    /// The next command; `None` when the broker was closed.
    pub async fn next(&mut self) -> Option<AbortCommand> {
        StreamExt::next(self).await
    }
}

impl Stream for LeaderAborts {
    type Item = AbortDelivery;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<AbortDelivery>> {
        let next = ready!(self.0.poll_delivery(context));
        let commands = self.0.commands.downgrade();
        Poll::Ready(next.map(|(command, tag)| AbortDelivery { command, tag, commands }))
    }
}

impl Stream for WorkerAborts {
    type Item = AbortCommand;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<AbortCommand>> {
        self.0.poll_delivery(context).map(|next| next.map(|(command, _)| command))
    }
}
