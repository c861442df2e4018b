//! What the broker gives up on arrives as a dead letter.

use futures_util::StreamExt;
use lapin::options::{BasicConsumeOptions, BasicRejectOptions};
use task_queue::DeadReason;

use crate::{Rig, connect, in_time, tasks, until};

#[tokio::test]
async fn a_rejected_task_arrives_as_a_dead_letter_until_it_is_acknowledged() {
    let rig = Rig::new().await;
    in_time(rig.broker.publisher().publish_offers(&tasks(2))).await.unwrap();
    let channel = rig.channel().await;
    let options = BasicConsumeOptions::default();
    let mut consumer =
        channel.basic_consume("keyfleet.tasks.v1".into(), "".into(), options, Default::default()).await.unwrap();
    for _ in 0..2 {
        let delivery = in_time(consumer.next()).await.unwrap().unwrap();
        delivery.reject(BasicRejectOptions { requeue: false }).await.unwrap();
    }

    let mut dead = rig.broker.consume_dead();
    let first = in_time(dead.next()).await.unwrap();
    let second = in_time(dead.next()).await.unwrap();
    assert_eq!(first.reason, DeadReason::Other("rejected".to_owned()));
    let mut seqs = [first.task.seq, second.task.seq];
    seqs.sort_unstable();
    assert_eq!(seqs, [0, 1]);
    let left = second.task;
    first.ack();
    drop((second, dead));

    let (next_leader, part) = connect(rig.host.url());
    until(|| part.is_ready()).await;
    let again = in_time(next_leader.consume_dead().next()).await.unwrap();
    assert_eq!(again.task, left);
}
