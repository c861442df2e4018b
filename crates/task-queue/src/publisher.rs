//! Publishing with confirms, in batches.
//!
//! A batch is published whole and its confirms are awaited together: one at a time would cost a disk write each (1.8
//! thousand a second against 26 thousand, measured with batches of 1,000). One batch at a time on a channel, because
//! lapin attaches a returned (unroutable) message to any confirm of its channel: with two batches under way the wrong
//! one would be told. A channel on which anything went wrong, or whose caller left, is dropped with its open confirms.
//! An error means "not all are certain": publish again, the consumers cope with doubles.

use std::{future::Future, sync::Arc, time::Duration};

use futures_util::future::try_join_all;
use job_model::TaskRef;
use lapin::{
    BasicProperties, Channel, Confirmation,
    options::{BasicPublishOptions, ConfirmSelectOptions},
    types::ShortString,
};
use tokio::{
    sync::Mutex,
    time::{Instant, timeout},
};

use crate::{AbortCommand, Broker, broker::NoChannel, envelope::Envelope};

/// The most messages published before their confirms are awaited.
pub const BATCH: usize = 1000;
/// How long a batch may take until its last confirm: a hundred times what it takes on a healthy broker.
const BATCH_TIMEOUT: Duration = Duration::from_secs(5);
/// AMQP's number for messages that survive the broker.
const PERSISTENT: u8 = 2;

/// Not every message is certain to be in its queue. Always retryable.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    /// There is no connection now; it is being made.
    #[error("not connected to the broker")]
    NotConnected,
    /// The broker is short of memory or disk.
    #[error("the broker takes no messages now")]
    Blocked,
    /// No confirm in time.
    #[error("the broker did not confirm in time")]
    TimedOut,
    /// A queue was missing; it is declared before the next batch.
    #[error("a message had no queue to go to: {0}")]
    Unroutable(String),
    /// The broker said no.
    #[error("the broker did not take a message")]
    Refused,
    /// The channel or connection broke.
    #[error("the channel broke: {0}")]
    Channel(#[from] lapin::Error),
}

impl PublishError {
    const fn reason(&self) -> &'static str {
        match self {
            Self::NotConnected => "not_connected",
            Self::Blocked => "blocked",
            Self::TimedOut => "timed_out",
            Self::Unroutable(_) => "unroutable",
            Self::Refused => "refused",
            Self::Channel(_) => "channel",
        }
    }
}

impl From<NoChannel> for PublishError {
    fn from(error: NoChannel) -> Self {
        match error {
            NoChannel::NotConnected => Self::NotConnected,
            NoChannel::Refused(error) => Self::Channel(error),
            NoChannel::TimedOut => Self::TimedOut,
        }
    }
}

/// Publishes tasks and abort commands. Clones share the channels: one for each kind, so that an abort never waits for
/// a batch of tasks.
#[derive(Clone, Debug)]
pub struct Publisher {
    broker: Broker,
    offers: Arc<Mutex<Option<Channel>>>,
    aborts: Arc<Mutex<Option<Channel>>>,
}

impl Broker {
    /// A publisher with channels of its own.
    pub fn publisher(&self) -> Publisher {
        Publisher { broker: self.clone(), offers: Arc::default(), aborts: Arc::default() }
    }
}

impl Publisher {
    /// Offers these tasks to the workers: persistent, mandatory, confirmed. Any number; batches of [`BATCH`] one after
    /// the other.
    ///
    /// # Errors
    /// [`PublishError`] when not all are certain: publish all of them again. Within seconds, whatever the broker does.
    pub async fn publish_offers(&self, tasks: &[TaskRef]) -> Result<(), PublishError> {
        let queue = &self.broker.topology().tasks;
        for batch in tasks.chunks(BATCH) {
            self.batch(&self.offers, &ShortString::default(), queue, batch).await?;
        }
        Ok(())
    }

    /// Tells the leader and all workers to stop a job: persistent, mandatory, confirmed.
    ///
    /// # Errors
    /// [`PublishError`] when it is not certain to arrive.
    pub async fn publish_abort(&self, command: AbortCommand) -> Result<(), PublishError> {
        let exchange = &self.broker.topology().abort;
        self.batch(&self.aborts, exchange, &ShortString::default(), &[command]).await
    }

    async fn batch<M: Envelope>(
        &self,
        slot: &Mutex<Option<Channel>>,
        exchange: &ShortString,
        key: &ShortString,
        messages: &[M],
    ) -> Result<(), PublishError> {
        // Beside the wait for the batches before: a caller waits for its own deadline only.
        let begun = Instant::now();
        let sending = async {
            let mut slot = slot.lock().await;
            // Taken out: it comes back only if all went well, so a caller that leaves midway drops it.
            let channel = self.confirming_channel(slot.take()).await?;
            try_join_all(messages.iter().map(|message| publish(&channel, exchange, key, message))).await?;
            *slot = Some(channel);
            Ok(())
        };
        let sent = timeout(BATCH_TIMEOUT, sending).await.unwrap_or(Err(PublishError::TimedOut));
        match &sent {
            Ok(()) => {
                metrics::histogram!("keyfleet_publish_seconds", "kind" => M::KIND).record(begun.elapsed());
                metrics::counter!("keyfleet_published_total", "kind" => M::KIND).increment(messages.len() as u64);
            }
            Err(error) => {
                metrics::counter!("keyfleet_publish_failures_total", "reason" => error.reason()).increment(1);
            }
        }
        sent
    }

    async fn confirming_channel(&self, old: Option<Channel>) -> Result<Channel, PublishError> {
        // Whatever is written to a blocked connection stays in memory until it is unblocked.
        if self.broker.is_blocked() {
            return Err(PublishError::Blocked);
        }
        if let Some(channel) = old.filter(|channel| channel.status().connected()) {
            return Ok(channel);
        }
        let channel = self.broker.channel().await?;
        // The last channel may have been dropped because a queue was missing.
        self.broker.topology().declare(&channel).await?;
        channel.confirm_select(ConfirmSelectOptions::default()).await?;
        Ok(channel)
    }
}

/// Sends one message and waits for its confirm.
fn publish<'a, M: Envelope>(
    channel: &'a Channel,
    exchange: &'a ShortString,
    key: &'a ShortString,
    message: &M,
) -> impl Future<Output = Result<(), PublishError>> + use<'a, M> {
    let bytes = message.to_bytes();
    let properties = BasicProperties::default()
        .with_delivery_mode(PERSISTENT)
        .with_content_type("application/x-protobuf".into())
        .with_type(M::KIND.into());
    let options = BasicPublishOptions { mandatory: true, ..Default::default() };
    async move {
        let sent = channel.basic_publish(exchange.clone(), key.clone(), options, &bytes, properties).await?;
        match sent.await? {
            Confirmation::Ack(None) => Ok(()),
            // lapin's way of telling that it was returned.
            Confirmation::Ack(Some(returned)) => Err(PublishError::Unroutable(returned.reply_text.to_string())),
            Confirmation::Nack(_) | Confirmation::NotRequested => Err(PublishError::Refused),
        }
    }
}
