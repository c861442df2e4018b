//! Abort commands reach the leader for certain and every worker at once.

use job_model::WorkerId;
use uuid::Uuid;

use crate::{Rig, abort, connect, in_time, until};

fn worker(number: u128) -> WorkerId {
    WorkerId::from_uuid(Uuid::from_u128(number))
}

/// A worker's queue exists from some moment on that it is not told; commands are sent until it hears one.
async fn hears(rig: &Rig, aborts: &mut task_queue::WorkerAborts, job: u128) {
    let publisher = rig.broker.publisher();
    let mut heard = None;
    in_time(async {
        while heard.is_none() {
            publisher.publish_abort(abort(job)).await.unwrap();
            let wait = std::time::Duration::from_millis(50);
            heard = tokio::time::timeout(wait, aborts.next()).await.unwrap_or(None);
        }
    })
    .await;
    assert_eq!(heard, Some(abort(job)));
}

#[tokio::test]
async fn leader_and_workers_all_hear_a_command() {
    let rig = Rig::new().await;
    let mut first = rig.broker.consume_aborts_as_worker(worker(1));
    let mut second = rig.broker.consume_aborts_as_worker(worker(2));
    hears(&rig, &mut first, 1).await;
    hears(&rig, &mut second, 1).await;
    in_time(rig.broker.publisher().publish_abort(abort(2))).await.unwrap();
    for aborts in [&mut first, &mut second] {
        in_time(async { while aborts.next().await.unwrap() != abort(2) {} }).await;
    }
    let mut leader = rig.broker.consume_aborts_as_leader();
    loop {
        let delivery = in_time(leader.next()).await.unwrap();
        let last = delivery.command == abort(2);
        delivery.ack();
        if last {
            break;
        }
    }
}

#[tokio::test]
async fn what_a_leader_did_not_commit_goes_to_the_next() {
    let rig = Rig::new().await;
    let publisher = rig.broker.publisher();
    // Sent while nobody leads.
    in_time(publisher.publish_abort(abort(1))).await.unwrap();
    let mut first = rig.broker.consume_aborts_as_leader();
    let committed = in_time(first.next()).await.unwrap();
    assert_eq!(committed.command, abort(1));

    let (standby, part) = connect(rig.host.url());
    until(|| part.is_ready()).await;
    let mut second = standby.consume_aborts_as_leader();
    in_time(publisher.publish_abort(abort(2))).await.unwrap();
    in_time(publisher.publish_abort(abort(3))).await.unwrap();
    let lost = [in_time(first.next()).await.unwrap(), in_time(first.next()).await.unwrap()];
    assert_eq!([&lost[0].command, &lost[1].command], [&abort(2), &abort(3)]);
    committed.ack();
    drop(first);
    let got = [in_time(second.next()).await.unwrap(), in_time(second.next()).await.unwrap()];
    assert_eq!([&got[0].command, &got[1].command], [&abort(2), &abort(3)]);
    // Too late: its stream is gone.
    for delivery in lost {
        delivery.ack();
    }
}
