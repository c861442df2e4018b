//! Consuming offers: what is acknowledged is gone, everything else comes back.

use std::collections::BTreeSet;

use task_queue::OfferEvent;

use crate::{Rig, deliveries, delivery, in_time, seqs, tags, tasks};

#[tokio::test]
async fn closing_gives_back_what_was_not_acknowledged() {
    let rig = Rig::new().await;
    in_time(rig.broker.publisher().publish_offers(&tasks(10))).await.unwrap();
    let mut offers = rig.broker.consume_offers(100);
    let got = deliveries(&mut offers, 10).await;
    // Out of order, twice, and one that never was.
    let odd: Vec<_> = got.iter().filter(|delivery| delivery.task.seq % 2 == 1).copied().rev().collect();
    offers.ack(&tags(&odd));
    offers.ack(&tags(&odd[..2]));
    offers.ack(&[(got[0].channel_generation, 999), (got[0].channel_generation + 1, 1)]);
    in_time(offers.close()).await;

    let mut again = rig.broker.consume_offers(100);
    let back = deliveries(&mut again, 5).await;
    assert_eq!(seqs(&back), [0, 2, 4, 6, 8]);
    assert!(back.iter().all(|delivery| delivery.redelivered));
    again.ack(&tags(&back));
    in_time(again.close()).await;

    in_time(rig.broker.publisher().publish_offers(&tasks(1))).await.unwrap();
    let last = delivery(&mut rig.broker.consume_offers(100)).await;
    assert!(!last.redelivered, "the queue was empty before");
}

#[tokio::test]
async fn a_dropped_stream_gives_everything_back() {
    let rig = Rig::new().await;
    in_time(rig.broker.publisher().publish_offers(&tasks(3))).await.unwrap();
    let mut offers = rig.broker.consume_offers(100);
    deliveries(&mut offers, 3).await;
    let acker = offers.acker();
    drop(offers);
    acker.ack(&[(1, 1)]);
    let mut again = rig.broker.consume_offers(100);
    assert_eq!(seqs(&deliveries(&mut again, 3).await), [0, 1, 2]);
}

#[tokio::test]
async fn acks_make_room_for_more_than_the_prefetch() {
    let rig = Rig::new().await;
    let count = 3000;
    in_time(rig.broker.publisher().publish_offers(&tasks(count))).await.unwrap();
    let mut offers = rig.broker.consume_offers(50);
    let acker = offers.acker();
    let mut seen = BTreeSet::new();
    let mut held: Vec<(u64, u64)> = Vec::new();
    while seen.len() < count as usize {
        let delivery = delivery(&mut offers).await;
        assert!(!delivery.redelivered);
        seen.insert(delivery.task.seq);
        // Answer in another order than they came in: every third at once, the others in heaps from the end.
        let tag = (delivery.channel_generation, delivery.tag);
        if delivery.tag % 3 == 0 {
            acker.ack(&[tag]);
        } else {
            held.push(tag);
        }
        if held.len() == 20 {
            held.reverse();
            acker.ack(&std::mem::take(&mut held));
        }
    }
    offers.ack(&held);
    in_time(offers.close()).await;
    in_time(rig.broker.publisher().publish_offers(&tasks(1))).await.unwrap();
    assert!(!delivery(&mut rig.broker.consume_offers(10)).await.redelivered, "all were acknowledged");
}

#[tokio::test]
async fn what_is_given_back_is_offered_again_at_once() {
    let rig = Rig::new().await;
    in_time(rig.broker.publisher().publish_offers(&tasks(4))).await.unwrap();
    let mut offers = rig.broker.consume_offers(100);
    let got = deliveries(&mut offers, 4).await;
    offers.give_back(&tags(&got[1..3]));
    let back = deliveries(&mut offers, 2).await;
    assert_eq!(seqs(&back), seqs(&got[1..3]));
    // All of them, the given back ones by their new tags; the old tags mean nothing any more.
    offers.ack(&tags(&got));
    offers.ack(&tags(&back));
    in_time(offers.close()).await;
    in_time(rig.broker.publisher().publish_offers(&tasks(1))).await.unwrap();
    assert!(!delivery(&mut rig.broker.consume_offers(10)).await.redelivered, "all were acknowledged");
}

#[tokio::test]
async fn a_paused_stream_takes_nothing_new_and_still_answers() {
    let rig = Rig::new().await;
    let publisher = rig.broker.publisher();
    in_time(publisher.publish_offers(&tasks(2))).await.unwrap();
    let mut offers = rig.broker.consume_offers(100);
    let got = deliveries(&mut offers, 2).await;
    offers.pause();
    // Another consumer gets what comes now; were the first still consuming, it would get every second one.
    let mut other = rig.broker.consume_offers(100);
    offers.ack(&tags(&got[..1]));
    offers.give_back(&tags(&got[1..]));
    let back = delivery(&mut other).await;
    assert_eq!(back.task, got[1].task);
    in_time(publisher.publish_offers(&tasks(20))).await.unwrap();
    assert_eq!(deliveries(&mut other, 20).await.len(), 20);
    in_time(offers.close()).await;
}

#[tokio::test]
async fn the_stream_ends_when_the_broker_is_closed() {
    let rig = Rig::new().await;
    in_time(rig.broker.publisher().publish_offers(&tasks(1))).await.unwrap();
    let mut offers = rig.broker.consume_offers(10);
    delivery(&mut offers).await;
    in_time(rig.broker.close()).await;
    assert!(matches!(in_time(offers.next()).await, Some(OfferEvent::ChannelLost(_)) | None));
    assert_eq!(in_time(offers.next()).await, None);
    in_time(rig.broker.publisher().publish_offers(&tasks(1))).await.unwrap_err();
}
