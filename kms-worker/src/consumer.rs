//! The worker's end of the task queue: opened and closed with the lease.
//!
//! Problem: a worker without a lease must not sit on deliveries that others could run, and one that leaves still owes
//! acknowledgements for what runs. Channels are numbered on over openings, so that a late acknowledgement never meets a
//! delivery of a younger channel. Nothing here waits for RabbitMQ: the session's loop renews the lease.

use futures_util::FutureExt;
use job_model::TaskRef;
use task_queue::{Broker, OfferEvent, Offers};

use crate::offers::Tag;

/// What the queue tells the session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QueueEvent {
    /// A task is offered.
    Delivered(TaskRef, Tag),
    /// All channels up to this one have died; their deliveries come back to somebody.
    ChannelLost(u64),
}

/// Events taken at once at the most.
const GATHER: usize = 1_000;

/// Consumes task offers while it is open.
#[derive(Debug)]
pub struct Consumer {
    broker: Broker,
    prefetch: u16,
    open: Option<Offers>,
    /// The number of the first channel of this opening.
    base: u64,
    /// The number of the youngest channel.
    newest: u64,
    draining: bool,
}

impl Consumer {
    /// Closed at first. Takes up to `prefetch` deliveries before they are acknowledged.
    pub const fn new(broker: Broker, prefetch: u16) -> Self {
        Self { broker, prefetch, open: None, base: 0, newest: 0, draining: false }
    }

    /// Consumes, if it does not already or is to end.
    pub fn open(&mut self) {
        if self.open.is_none() && !self.draining {
            tracing::info!("Consuming tasks.");
            self.base = self.newest + 1;
            self.newest = self.base;
            self.open = Some(self.broker.consume_offers(self.prefetch));
        }
    }

    /// Gives everything back. Tells up to which channel deliveries are lost, if it was open.
    pub fn close(&mut self) -> Option<QueueEvent> {
        let offers = self.open.take()?;
        tracing::info!("Consuming no tasks, what was held is given back.");
        tokio::spawn(offers.close());
        Some(QueueEvent::ChannelLost(self.newest))
    }

    /// Takes nothing new from here on; these are given back, the rest is still acknowledged.
    pub fn drain(&mut self, give_back: &[Tag]) {
        self.draining = true;
        if let Some(offers) = &self.open {
            offers.pause();
            offers.give_back(&self.live(give_back));
        }
    }

    /// Sends the last acknowledgements. Within seconds, whatever the broker does.
    pub async fn finish(mut self) {
        if let Some(offers) = self.open.take() {
            offers.close().await;
        }
        self.broker.close().await;
    }

    /// Acknowledges deliveries; those of dead channels are passed over.
    pub fn acknowledge(&self, tags: &[Tag]) {
        if let Some(offers) = &self.open {
            offers.ack(&self.live(tags));
        }
    }

    /// Waits for what happens next and takes all that has gathered. Nothing is lost when it is dropped.
    pub async fn events(&mut self) -> Vec<QueueEvent> {
        let Some(offers) = &mut self.open else { return std::future::pending().await };
        let mut next = offers.next().await;
        let mut events = Vec::new();
        while let Some(event) = next {
            events.push(match event {
                OfferEvent::Delivered(delivery) => {
                    let channel = self.base + delivery.channel_generation;
                    self.newest = self.newest.max(channel);
                    QueueEvent::Delivered(delivery.task, Tag { channel, number: delivery.tag })
                }
                OfferEvent::ChannelLost(generation) => QueueEvent::ChannelLost(self.base + generation),
            });
            next = if events.len() < GATHER { offers.next().now_or_never().flatten() } else { None };
        }
        if events.is_empty() {
            // The broker was closed: the process ends.
            self.open = None;
        }
        events
    }

    fn live(&self, tags: &[Tag]) -> Vec<(u64, u64)> {
        let live = tags.iter().filter(|tag| tag.channel >= self.base);
        live.map(|tag| (tag.channel - self.base, tag.number)).collect()
    }
}
