//! Tasks the broker gave up on.
//!
//! A dead letter is a doubt, not a verdict: RabbitMQ 3.10 counts lost connections as deliveries, and a message that
//! outlives a time to live (operators may set one) dies too. The leader publishes the task again if it still wants it.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use futures_util::{Stream, StreamExt};
use job_model::TaskRef;
use lapin::{message::Delivery, types::AMQPValue};
use tokio::sync::mpsc;

use crate::{
    Broker,
    consumer::{Command, Ends, Source, Tag},
    envelope::Envelope,
};

/// Unacknowledged dead letters at a time.
const PREFETCH: u16 = 256;

/// Why the broker gave up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DeadReason {
    /// Delivered too often (`delivery_limit`).
    DeliveryLimit,
    /// Waited too long (`expired`).
    Expired,
    /// Another word of the broker's, or none.
    Other(String),
}

impl DeadReason {
    fn of(delivery: &Delivery) -> Self {
        let headers = delivery.properties.headers().as_ref();
        let word = match headers.and_then(|headers| headers.inner().get("x-first-death-reason")) {
            Some(AMQPValue::LongString(word)) => String::from_utf8_lossy(word.as_bytes()).into_owned(),
            Some(_) | None => String::new(),
        };
        match word.as_str() {
            "delivery_limit" => Self::DeliveryLimit,
            "expired" => Self::Expired,
            _ => Self::Other(word),
        }
    }
}

/// A dead letter. Dropped unacknowledged, it comes again after a reconnect or to the next leader.
#[derive(Debug)]
pub struct DeadDelivery {
    /// The task.
    pub task: TaskRef,
    /// Why the broker gave up on it.
    pub reason: DeadReason,
    tag: Tag,
    commands: mpsc::WeakUnboundedSender<Command>,
}

impl DeadDelivery {
    /// The task was published again, or is not wanted any more.
    pub fn ack(self) {
        if let Some(commands) = self.commands.upgrade() {
            // An error says that the stream has ended.
            let _ended = commands.send(Command::Ack(vec![self.tag]));
        }
    }
}

/// A stream of dead letters; survives reconnects, ends when the broker was closed.
#[derive(Debug)]
pub struct DeadLetters(Ends<(TaskRef, DeadReason)>);

impl Broker {
    /// Consumes the dead letters.
    pub fn consume_dead(&self) -> DeadLetters {
        DeadLetters(self.consume(Source::Dead, PREFETCH, |delivery| {
            Ok((TaskRef::from_bytes(&delivery.data)?, DeadReason::of(delivery)))
        }))
    }
}

impl DeadLetters {
    /// The next dead letter; `None` when the broker was closed.
    pub async fn next(&mut self) -> Option<DeadDelivery> {
        StreamExt::next(self).await
    }
}

impl Stream for DeadLetters {
    type Item = DeadDelivery;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<DeadDelivery>> {
        let next = ready!(self.0.poll_delivery(context));
        let commands = self.0.commands.downgrade();
        Poll::Ready(next.map(|((task, reason), tag)| DeadDelivery { task, reason, tag, commands }))
    }
}

#[cfg(test)]
mod tests {
    use lapin::{BasicProperties, types::FieldTable};
    use proptest::prelude::*;

    use super::*;

    fn reason(value: Option<AMQPValue>) -> DeadReason {
        let mut delivery = Delivery::mock(1, "".into(), "".into(), false, Vec::new());
        let mut headers = FieldTable::default();
        if let Some(value) = value {
            headers.insert("x-first-death-reason".into(), value);
        }
        delivery.properties = BasicProperties::default().with_headers(headers);
        DeadReason::of(&delivery)
    }

    #[test]
    fn the_brokers_words_are_understood() {
        let word = |word: &str| reason(Some(AMQPValue::LongString(word.into())));
        assert_eq!(word("delivery_limit"), DeadReason::DeliveryLimit);
        assert_eq!(word("expired"), DeadReason::Expired);
        assert_eq!(word("maxlen"), DeadReason::Other("maxlen".to_owned()));
        assert_eq!(reason(Some(AMQPValue::Boolean(true))), DeadReason::Other(String::new()));
        assert_eq!(reason(None), DeadReason::Other(String::new()));
    }

    /// Any header value of AMQP's.
    fn value() -> impl Strategy<Value = AMQPValue> {
        let leaf = prop_oneof![
            any::<bool>().prop_map(AMQPValue::Boolean),
            any::<i64>().prop_map(AMQPValue::LongLongInt),
            any::<f64>().prop_map(AMQPValue::Double),
            any::<u64>().prop_map(AMQPValue::Timestamp),
            Just(AMQPValue::Void),
            prop::collection::vec(any::<u8>(), 0..20).prop_map(|bytes| AMQPValue::LongString(bytes.into())),
            prop::collection::vec(any::<u8>(), 0..20).prop_map(|bytes| AMQPValue::ByteArray(bytes.into())),
            "[a-z_]{0,20}".prop_map(|text| AMQPValue::ShortString(text.into())),
        ];
        leaf.prop_recursive(3, 12, 4, |inner| {
            let list = prop::collection::vec(inner.clone(), 0..4).prop_map(|list| AMQPValue::FieldArray(list.into()));
            let table = prop::collection::vec(("[a-z-]{0,9}", inner), 0..4).prop_map(|pairs| {
                let mut table = FieldTable::default();
                for (name, value) in pairs {
                    table.insert(name.into(), value);
                }
                AMQPValue::FieldTable(table)
            });
            prop_oneof![list, table]
        })
    }

    proptest! {
        #[test]
        fn a_header_of_any_form_is_a_reason(value in value()) {
            let mut word = String::new();
            if let AMQPValue::LongString(bytes) = &value {
                word = String::from_utf8_lossy(bytes.as_bytes()).into_owned();
            }
            let expected = match word.as_str() {
                "delivery_limit" => DeadReason::DeliveryLimit,
                "expired" => DeadReason::Expired,
                _ => DeadReason::Other(word),
            };
            prop_assert_eq!(reason(Some(value)), expected);
        }
    }
}
