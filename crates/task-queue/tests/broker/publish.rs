//! Publishing: what is confirmed is there, what is not is told.

use lapin::options::{BasicPublishOptions, QueueDeleteOptions};
use task_queue::{BATCH, PublishError};

use crate::{Rig, deliveries, in_time, seqs, tasks};

#[tokio::test]
async fn more_than_a_batch_arrives_whole() {
    let rig = Rig::new().await;
    let publisher = rig.broker.publisher();
    let count = BATCH * 2 + 500;
    let all = tasks(u32::try_from(count).unwrap());
    in_time(publisher.publish_offers(&all)).await.unwrap();
    in_time(publisher.publish_offers(&[])).await.unwrap();
    let mut offers = rig.broker.consume_offers(5000);
    let got = deliveries(&mut offers, count).await;
    assert_eq!(seqs(&got), all.iter().map(|task| task.seq).collect::<Vec<_>>());
    assert!(got.iter().all(|delivery| !delivery.redelivered && delivery.task.job == all[0].job));
}

#[tokio::test]
async fn a_missing_queue_is_told_and_comes_back() {
    let rig = Rig::new().await;
    let publisher = rig.broker.publisher();
    in_time(publisher.publish_offers(&tasks(1))).await.unwrap();
    let channel = rig.channel().await;
    channel.queue_delete("keyfleet.tasks.v1".into(), QueueDeleteOptions::default()).await.unwrap();
    let error = in_time(publisher.publish_offers(&tasks(10))).await.unwrap_err();
    assert!(matches!(error, PublishError::Unroutable(_)), "{error}");
    in_time(publisher.publish_offers(&tasks(10))).await.unwrap();
    assert_eq!(deliveries(&mut rig.broker.consume_offers(100), 10).await.len(), 10);
}

#[tokio::test]
async fn a_caller_that_leaves_midway_harms_nobody() {
    let rig = Rig::new().await;
    let publisher = rig.broker.publisher();
    let many = tasks(1000);
    for _ in 0..3 {
        // Polled once: everything is on its way, no confirm is back.
        let publishing = publisher.publish_offers(&many);
        tokio::select! {
            biased;
            _ = publishing => {}
            () = tokio::task::yield_now() => {}
        }
    }
    in_time(publisher.publish_offers(&tasks(1))).await.unwrap();
}

#[tokio::test]
async fn publishers_do_not_mix_their_answers() {
    let rig = Rig::new().await;
    let publisher = rig.broker.publisher();
    let many = tasks(500);
    let (a, b, c) = in_time(async {
        tokio::join!(
            publisher.publish_offers(&many),
            publisher.publish_offers(&many),
            publisher.publish_abort(crate::abort(1)),
        )
    })
    .await;
    a.and(b).and(c).unwrap();
    deliveries(&mut rig.broker.consume_offers(2000), 1000).await;
}

#[tokio::test]
async fn what_makes_no_sense_is_dropped_and_the_rest_goes_on() {
    let rig = Rig::new().await;
    let channel = rig.channel().await;
    for bytes in [&b"\xff\xff\xff"[..], b"", b"\x0a\x03abc"] {
        let options = BasicPublishOptions::default();
        let queue = "keyfleet.tasks.v1".into();
        channel.basic_publish("".into(), queue, options, bytes, Default::default()).await.unwrap();
    }
    in_time(rig.broker.publisher().publish_offers(&tasks(1))).await.unwrap();
    // A prefetch of one: each must be acknowledged for the next to come.
    let mut offers = rig.broker.consume_offers(1);
    assert_eq!(deliveries(&mut offers, 1).await[0].task, tasks(1)[0]);
}
