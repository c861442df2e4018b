//! Messages that nobody of Keyfleet's has written, on every queue: each is dropped for good, and what comes behind it
//! arrives.

use lapin::{
    BasicProperties, Channel,
    options::BasicPublishOptions,
    types::{AMQPValue, FieldTable},
};
use proptest::{
    collection::vec,
    prelude::*,
    strategy::{Strategy, ValueTree as _},
    test_runner::TestRunner,
};
use task_queue::DeadReason;

use crate::{Rig, abort, delivery, in_time, tags, tasks};

/// A body that is no message, and properties that no publisher of Keyfleet's sets.
fn message() -> impl Strategy<Value = (Vec<u8>, BasicProperties)> {
    // The first byte asks for a field of a kind that no message has.
    let body = prop_oneof![
        vec(any::<u8>(), 0..200).prop_map(|rest| [vec![0xff], rest].concat()),
        // An id of the wrong length.
        vec(any::<u8>(), 0..16).prop_map(|id| [vec![0x0a, u8::try_from(id.len()).unwrap()], id].concat()),
        (1_usize..100_000).prop_map(|length| vec![0xff; length]),
    ];
    let value = prop_oneof![
        any::<i64>().prop_map(AMQPValue::LongLongInt),
        vec(any::<u8>(), 0..30).prop_map(|bytes| AMQPValue::LongString(bytes.into())),
        any::<bool>().prop_map(AMQPValue::Boolean),
        Just(AMQPValue::Void),
    ];
    let names = prop::sample::select(vec!["x-first-death-reason", "x-death", "x-delivery-count", "traceparent", "a"]);
    (body, vec((names, value), 0..4), "[a-z./]{0,30}", any::<u8>(), any::<u64>()).prop_map(
        |(body, pairs, word, small, large)| {
            let mut headers = FieldTable::default();
            for (name, value) in pairs {
                headers.insert(name.into(), value);
            }
            let properties = BasicProperties::default()
                .with_headers(headers)
                .with_content_type(word.clone().into())
                .with_content_encoding(word.clone().into())
                .with_type(word.into())
                .with_delivery_mode(1 + small % 2)
                .with_priority(small)
                .with_timestamp(large);
            (body, properties)
        },
    )
}

fn messages() -> Vec<(Vec<u8>, BasicProperties)> {
    let mut runner = TestRunner::deterministic();
    let count = usize::try_from(runner.config().cases).unwrap();
    vec(message(), count).new_tree(&mut runner).unwrap().current()
}

async fn send(channel: &Channel, exchange: &str, key: &str, body: &[u8], properties: BasicProperties) {
    let options = BasicPublishOptions { mandatory: true, ..BasicPublishOptions::default() };
    channel.basic_publish(exchange.into(), key.into(), options, body, properties).await.unwrap();
}

/// Sends all of them there.
async fn flood(channel: &Channel, exchange: &str, key: &str) {
    for (body, properties) in messages() {
        send(channel, exchange, key, &body, properties).await;
    }
}

#[tokio::test]
async fn offers_that_are_none_are_dropped_for_good() {
    let rig = Rig::new().await;
    let channel = rig.channel().await;
    flood(&channel, "", "keyfleet.tasks.v1").await;
    in_time(rig.broker.publisher().publish_offers(&tasks(1))).await.unwrap();
    // A prefetch of one: each must be acknowledged for the next to come.
    let mut offers = rig.broker.consume_offers(1);
    let good = delivery(&mut offers).await;
    assert_eq!((good.task, good.redelivered), (tasks(1)[0], false));
    offers.ack(&tags(&[good]));
    in_time(offers.close()).await;
    in_time(rig.broker.publisher().publish_offers(&tasks(1))).await.unwrap();
    let next = delivery(&mut rig.broker.consume_offers(1)).await;
    assert!(!next.redelivered, "the queue was empty before");
}

#[tokio::test]
async fn dead_letters_that_are_none_are_dropped_for_good() {
    let rig = Rig::new().await;
    let channel = rig.channel().await;
    flood(&channel, "", "keyfleet.tasks.dead.v1").await;
    // What a task is, with headers of a kind that the broker does not write.
    let mut headers = FieldTable::default();
    headers.insert("x-first-death-reason".into(), AMQPValue::LongString(vec![0xff, 0].into()));
    let offer = [vec![0x0a, 16], vec![7; 16], vec![0x10, 3]].concat();
    send(&channel, "", "keyfleet.tasks.dead.v1", &offer, BasicProperties::default().with_headers(headers)).await;
    let mut dead = rig.broker.consume_dead();
    let letter = in_time(dead.next()).await.unwrap();
    assert_eq!((letter.task.seq, &letter.reason), (3, &DeadReason::Other("\u{fffd}\0".to_owned())));
    letter.ack();
}

#[tokio::test]
async fn commands_that_are_none_keep_nobody_from_hearing_the_next() {
    let rig = Rig::new().await;
    let channel = rig.channel().await;
    let id = job_model::WorkerId::from_uuid(uuid::Uuid::from_u128(1));
    let mut worker = rig.broker.consume_aborts_as_worker(id);
    let mut leader = rig.broker.consume_aborts_as_leader();
    flood(&channel, "keyfleet.abort", "").await;
    // A worker's queue exists from some moment on that it is not told; the command is sent until it hears one.
    in_time(async {
        loop {
            rig.broker.publisher().publish_abort(abort(1)).await.unwrap();
            let wait = std::time::Duration::from_millis(50);
            if let Ok(heard) = tokio::time::timeout(wait, worker.next()).await {
                break assert_eq!(heard, Some(abort(1)));
            }
        }
    })
    .await;
    flood(&channel, "keyfleet.abort", "").await;
    in_time(rig.broker.publisher().publish_abort(abort(2))).await.unwrap();
    in_time(async { while worker.next().await.unwrap() != abort(2) {} }).await;
    loop {
        let delivery = in_time(leader.next()).await.unwrap();
        let last = delivery.command == abort(2);
        delivery.ack();
        if last {
            break;
        }
    }
}
