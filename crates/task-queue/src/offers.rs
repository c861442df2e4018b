//! Tasks offered to a worker.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use futures_util::Stream;
use job_model::TaskRef;
use tokio::sync::{mpsc, oneshot};

use crate::{
    Broker,
    consumer::{Command, Ends, Event, Source, Tag},
    envelope::Envelope,
};

/// One offer. It is the worker's until its channel is lost or it is acknowledged or given back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OfferDelivery {
    /// The task.
    pub task: TaskRef,
    /// It was delivered before, here or elsewhere; that delivery's work may still be under way.
    pub redelivered: bool,
    /// The channel it came by; see [`OfferEvent::ChannelLost`].
    pub channel_generation: u64,
    /// Its number on that channel.
    pub tag: u64,
}

/// What an offer stream tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OfferEvent {
    /// A task is offered.
    Delivered(OfferDelivery),
    /// The channel of this generation is dead and the broker offers its deliveries to others: drop those that have not
    /// started. Acks for them go nowhere.
    ChannelLost(u64),
}

/// A stream of offers that survives reconnects. It ends only when it or the broker was closed. Dropping it gives back
/// what is unacknowledged.
#[derive(Debug)]
pub struct Offers(Ends<TaskRef>);

/// Answers offers; clones answer for the same stream.
#[derive(Clone, Debug)]
pub struct OfferAcker(mpsc::WeakUnboundedSender<Command>);

impl Broker {
    /// Consumes offers, at most `prefetch` unacknowledged ones at a time.
    pub fn consume_offers(&self, prefetch: u16) -> Offers {
        Offers(self.consume(Source::Tasks, prefetch, |delivery| TaskRef::from_bytes(&delivery.data)))
    }
}

impl Offers {
    /// The next event; `None` when closed.
    pub async fn next(&mut self) -> Option<OfferEvent> {
        self.0.events.recv().await.map(event)
    }

    /// Acknowledges deliveries by (generation, tag), in any order: their work is done for good. Those of a dead channel
    /// are skipped. Never waits; many together are cheapest.
    pub fn ack(&self, deliveries: &[(u64, u64)]) {
        send(&self.0.commands, Command::Ack, deliveries);
    }

    /// Gives deliveries back by (generation, tag), to be offered again, here or elsewhere.
    pub fn give_back(&self, deliveries: &[(u64, u64)]) {
        send(&self.0.commands, Command::GiveBack, deliveries);
    }

    /// Takes no further offers; those delivered are still to be acknowledged or given back. For a clean drain.
    pub fn pause(&self) {
        // An error says that the stream has ended.
        let _ended = self.0.commands.send(Command::Pause);
    }

    /// Answers offers from elsewhere. It does not keep the stream alive.
    pub fn acker(&self) -> OfferAcker {
        OfferAcker(self.0.commands.downgrade())
    }

    /// Sends the acks given so far, gives everything else back, and ends. Within seconds, whatever the broker does.
    pub async fn close(self) {
        let (done, closed) = oneshot::channel();
        if self.0.commands.send(Command::Close(done)).is_ok() {
            // An error says that the stream has ended.
            let _ended = closed.await;
        }
    }
}

impl OfferAcker {
    /// As [`Offers::ack`].
    pub fn ack(&self, deliveries: &[(u64, u64)]) {
        if let Some(commands) = self.0.upgrade() {
            send(&commands, Command::Ack, deliveries);
        }
    }

    /// As [`Offers::give_back`].
    pub fn give_back(&self, deliveries: &[(u64, u64)]) {
        if let Some(commands) = self.0.upgrade() {
            send(&commands, Command::GiveBack, deliveries);
        }
    }
}

impl Stream for Offers {
    type Item = OfferEvent;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<OfferEvent>> {
        self.0.events.poll_recv(context).map(|next| next.map(event))
    }
}

fn event(event: Event<TaskRef>) -> OfferEvent {
    match event {
        Event::Delivered { message: task, redelivered, tag: (channel_generation, tag) } => {
            OfferEvent::Delivered(OfferDelivery { task, redelivered, channel_generation, tag })
        }
        Event::Lost(generation) => OfferEvent::ChannelLost(generation),
    }
}

fn send(commands: &mpsc::UnboundedSender<Command>, command: fn(Vec<Tag>) -> Command, deliveries: &[Tag]) {
    if !deliveries.is_empty() {
        // An error says that the stream has ended, and with it the deliveries.
        let _ended = commands.send(command(deliveries.to_vec()));
    }
}
