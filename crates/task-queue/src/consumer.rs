//! A consumer that outlives its channels.
//!
//! One task owns the channel, the lapin consumer and the [`Ledger`] of what is owed; the handle speaks to it through two
//! queues. A channel ends in many ways (an error item, a plain end when its queue was deleted, silence when the
//! connection is gone); all of them mean the same: tell the handle that its deliveries died, and make a new channel
//! with a new *generation*. Acks name generation and number, so one for a dead channel is recognised and dropped.
//! What arrives is bounded by the prefetch, so the queues need no bound of their own.

use std::{
    task::{Context, Poll, ready},
    time::Duration,
};

use futures_util::{StreamExt, future::try_join_all};
use job_model::WorkerId;
use lapin::{
    Channel, Consumer,
    message::Delivery,
    options::{BasicAckOptions, BasicCancelOptions, BasicConsumeOptions, BasicNackOptions, BasicQosOptions},
    types::{FieldTable, ShortString},
};
use service_kit::retry::Backoff;
use tokio::{
    sync::{mpsc, oneshot},
    time::{MissedTickBehavior, interval, timeout},
};

use crate::{
    Broker, Undecodable,
    broker::{ANSWER_TIMEOUT, LOOK, NoChannel},
    ledger::{Ack, Ledger},
};

/// The most commands taken together: their acks share frames.
const COMMANDS: usize = 1024;

/// What ended behind a delivery that is still open is acknowledged after one to two of these.
const HOLD: Duration = Duration::from_millis(50);

/// What is consumed.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Source {
    Tasks,
    Dead,
    LeaderAborts,
    /// A queue of the channel's own; its deliveries need no ack.
    WorkerAborts(WorkerId),
}

impl Source {
    /// The label of metrics.
    const fn label(self) -> &'static str {
        match self {
            Self::Tasks => "tasks",
            Self::Dead => "dead",
            Self::LeaderAborts => "abort.leader",
            Self::WorkerAborts(_) => "abort.worker",
        }
    }

    const fn needs_acks(self) -> bool {
        match self {
            Self::Tasks | Self::Dead | Self::LeaderAborts => true,
            Self::WorkerAborts(_) => false,
        }
    }
}

/// A delivery: which channel's, and its number there.
pub(crate) type Tag = (u64, u64);

/// What the handle hears.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Event<T> {
    Delivered {
        message: T,
        redelivered: bool,
        tag: Tag,
    },
    /// All deliveries of this generation died.
    Lost(u64),
}

/// What the handle says.
#[derive(Debug)]
pub(crate) enum Command {
    Ack(Vec<Tag>),
    GiveBack(Vec<Tag>),
    /// Take no further deliveries.
    Pause,
    /// Give everything back and end.
    Close(oneshot::Sender<()>),
}

/// The two ends the handle holds.
#[derive(Debug)]
pub(crate) struct Ends<T> {
    pub(crate) events: mpsc::UnboundedReceiver<Event<T>>,
    pub(crate) commands: mpsc::UnboundedSender<Command>,
}

impl<T> Ends<T> {
    /// The next delivery, for those whose work does not begin before it is acknowledged: that a channel was lost means
    /// only that its deliveries come again.
    pub(crate) fn poll_delivery(&mut self, context: &mut Context<'_>) -> Poll<Option<(T, Tag)>> {
        loop {
            match ready!(self.events.poll_recv(context)) {
                Some(Event::Delivered { message, tag, .. }) => return Poll::Ready(Some((message, tag))),
                Some(Event::Lost(_)) => {}
                None => return Poll::Ready(None),
            }
        }
    }
}

/// How a delivery is read.
pub(crate) type Read<T> = fn(&Delivery) -> Result<T, Undecodable>;

impl Broker {
    /// Begins to consume, at most `prefetch` unacknowledged deliveries at a time.
    pub(crate) fn consume<T: Send + 'static>(&self, source: Source, prefetch: u16, read: Read<T>) -> Ends<T> {
        let (events_in, events) = mpsc::unbounded_channel();
        let (commands, commands_out) = mpsc::unbounded_channel();
        let actor = Actor { broker: self.clone(), source, prefetch, read, events: events_in, generation: 0 };
        tokio::spawn(actor.run(commands_out));
        Ends { events, commands }
    }
}

struct Actor<T> {
    broker: Broker,
    source: Source,
    prefetch: u16,
    read: Read<T>,
    events: mpsc::UnboundedSender<Event<T>>,
    /// Of the channel there is, or of the last.
    generation: u64,
}

/// A channel with its consumer.
struct Open {
    channel: Channel,
    /// `None` once paused.
    consumer: Option<Consumer>,
    ledger: Ledger,
}

/// Why the work on a channel ended.
enum End {
    Lost(String),
    Closed(Option<oneshot::Sender<()>>),
}

impl<T> Actor<T> {
    async fn run(mut self, mut commands: mpsc::UnboundedReceiver<Command>) {
        let mut backoff = Backoff::reconnect();
        let mut paused = false;
        loop {
            let opened = tokio::select! {
                opened = self.open(), if !paused => opened,
                command = commands.recv() => match command {
                    // There is no channel these could speak of.
                    Some(Command::Ack(_) | Command::GiveBack(_)) => continue,
                    Some(Command::Pause) => { paused = true; continue }
                    Some(Command::Close(done)) => { let _nobody_waits = done.send(()); return }
                    None => return,
                },
            };
            let queue = self.source.label();
            match opened {
                Ok(Some(mut open)) => {
                    backoff.reset();
                    let end = self.serve(&mut open, &mut commands, &mut paused).await;
                    // Its deliveries go to somebody else from here on; a dead one refuses, which is as good.
                    let _closed = timeout(LOOK, open.channel.close(200, "done".into())).await;
                    match end {
                        End::Lost(why) => {
                            metrics::counter!("keyfleet_channels_lost_total", "queue" => queue).increment(1);
                            let open = open.ledger.open();
                            tracing::warn!(queue, why, open, "A consumer's channel was lost; opening another.");
                            if self.events.send(Event::Lost(self.generation)).is_err() {
                                return;
                            }
                        }
                        End::Closed(done) => {
                            let _nobody_waits = done.map(|done| done.send(()));
                            return;
                        }
                    }
                }
                // The broker was closed for good.
                Ok(None) => return,
                Err(error) => tracing::warn!(queue, %error, "A consumer's channel could not be opened."),
            }
            backoff.wait().await;
        }
    }

    /// Waits for a connection and opens a channel on it. `None` when there will be no connection any more.
    async fn open(&mut self) -> Result<Option<Open>, NoChannel> {
        if !self.broker.connected().await {
            return Ok(None);
        }
        // A number for each try: a late answer to a dropped one cannot be taken for this one's.
        self.generation += 1;
        match timeout(ANSWER_TIMEOUT, self.open_channel()).await {
            Ok(open) => open.map(Some),
            Err(_) => Err(NoChannel::TimedOut),
        }
    }

    async fn open_channel(&self) -> Result<Open, NoChannel> {
        let channel = self.broker.channel().await?;
        let topology = self.broker.topology();
        // The last channel may have ended because its queue was deleted.
        topology.declare(&channel).await?;
        channel.basic_qos(self.prefetch, BasicQosOptions { global: false }).await?;
        let queue = match self.source {
            Source::Tasks => topology.tasks.clone(),
            Source::Dead => topology.dead.clone(),
            Source::LeaderAborts => topology.abort_leader.clone(),
            Source::WorkerAborts(worker) => topology.declare_worker(&channel, worker, self.generation).await?,
        };
        let options = BasicConsumeOptions { no_ack: !self.source.needs_acks(), ..Default::default() };
        let consumer = channel.basic_consume(queue, ShortString::default(), options, FieldTable::default()).await?;
        Ok(Open { channel, consumer: Some(consumer), ledger: Ledger::default() })
    }

    /// Works on one channel until it ends.
    async fn serve(&self, open: &mut Open, commands: &mut mpsc::UnboundedReceiver<Command>, paused: &mut bool) -> End {
        let mut batch = Vec::new();
        let mut look = interval(LOOK);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut hold = interval(HOLD);
        hold.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let Open { consumer, ledger, .. } = &mut *open;
            let done = tokio::select! {
                next = async { consumer.as_mut()?.next().await }, if consumer.is_some() => match next {
                    Some(Ok(delivery)) => self.deliver(open, &delivery).await,
                    Some(Err(error)) => Err(End::Lost(error.to_string())),
                    None => Err(End::Lost("the broker ended the consumer".to_owned())),
                },
                _ = commands.recv_many(&mut batch, COMMANDS) => {
                    let closed = batch.is_empty();
                    let end = self.obey(open, batch.drain(..), paused).await;
                    end.and(if closed { Err(End::Closed(None)) } else { Ok(()) })
                }
                _ = hold.tick(), if ledger.waiting() > 0 => self.acknowledge(open, Ledger::flush_old).await,
                _ = look.tick() => {
                    if open.channel.status().connected() { Ok(()) } else { Err(End::Lost("the channel is dead".to_owned())) }
                }
            };
            if let Err(end) = done {
                return end;
            }
        }
    }

    async fn deliver(&self, open: &mut Open, delivery: &Delivery) -> Result<(), End> {
        let queue = self.source.label();
        let redelivered = delivery.redelivered;
        metrics::counter!("keyfleet_deliveries_total", "queue" => queue, "redelivered" => if redelivered { "true" } else { "false" })
            .increment(1);
        let number = delivery.delivery_tag;
        if self.source.needs_acks() {
            open.ledger.delivered(number);
        }
        match (self.read)(delivery) {
            Ok(message) => {
                let tag = (self.generation, number);
                let event = Event::Delivered { message, redelivered, tag };
                self.events.send(event).map_err(|_| End::Closed(None))
            }
            Err(error) => {
                metrics::counter!("keyfleet_undecodable_total", "queue" => queue).increment(1);
                tracing::error!(queue, %error, bytes = delivery.data.len(), "A message makes no sense and is dropped.");
                open.ledger.ended(number);
                self.acknowledge(open, Ledger::flush_all).await
            }
        }
    }

    async fn obey(
        &self,
        open: &mut Open,
        commands: impl Iterator<Item = Command>,
        paused: &mut bool,
    ) -> Result<(), End> {
        let mut end = Ok(());
        for command in commands {
            match command {
                Command::Ack(tags) => self.of_this_channel(&tags).for_each(|number| {
                    open.ledger.ended(number);
                }),
                Command::GiveBack(tags) => {
                    let numbers: Vec<_> =
                        self.of_this_channel(&tags).filter(|number| open.ledger.given_back(*number)).collect();
                    give_back(&open.channel, &numbers).await?;
                }
                Command::Pause => {
                    *paused = true;
                    if let Some(consumer) = open.consumer.take() {
                        let canceling = open.channel.basic_cancel(consumer.tag(), BasicCancelOptions::default());
                        in_time(canceling).await?;
                    }
                }
                Command::Close(done) => end = Err(End::Closed(Some(done))),
            }
        }
        // Who closes leaves nothing unsaid, and ended work must not fill the prefetch.
        let most = if end.is_err() { 0 } else { usize::from(self.prefetch / 4) };
        let flush = |ledger: &mut Ledger| {
            let run = ledger.flush_run();
            let rest = if ledger.waiting() > most { ledger.flush_all() } else { Vec::new() };
            run.into_iter().chain(rest).collect()
        };
        self.acknowledge(open, flush).await?;
        end
    }

    fn of_this_channel<'a>(&self, tags: &'a [Tag]) -> impl Iterator<Item = u64> + use<'a, T> {
        let here = self.generation;
        tags.iter().filter(move |(generation, _)| *generation == here).map(|(_, number)| *number)
    }

    async fn acknowledge(&self, open: &mut Open, flush: impl FnOnce(&mut Ledger) -> Vec<Ack>) -> Result<(), End> {
        let before = open.ledger.waiting();
        let acks = flush(&mut open.ledger);
        if acks.is_empty() {
            return Ok(());
        }
        let sending = acks.iter().map(|ack| {
            let options = BasicAckOptions { multiple: ack.multiple };
            open.channel.basic_ack(ack.number, options)
        });
        in_time(try_join_all(sending)).await?;
        let queue = self.source.label();
        metrics::counter!("keyfleet_acks_total", "queue" => queue).increment((before - open.ledger.waiting()) as u64);
        metrics::counter!("keyfleet_ack_frames_total", "queue" => queue).increment(acks.len() as u64);
        Ok(())
    }
}

async fn give_back(channel: &Channel, numbers: &[u64]) -> Result<(), End> {
    let options = BasicNackOptions { multiple: false, requeue: true };
    in_time(try_join_all(numbers.iter().map(|number| channel.basic_nack(*number, options)))).await.map(drop)
}

/// What cannot be said in time is said to a dead channel.
async fn in_time<T>(saying: impl Future<Output = lapin::Result<T>>) -> Result<T, End> {
    match timeout(ANSWER_TIMEOUT, saying).await {
        Ok(said) => said.map_err(|error| End::Lost(error.to_string())),
        Err(_) => Err(End::Lost("the broker does not answer".to_owned())),
    }
}
