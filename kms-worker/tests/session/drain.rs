//! Leaving: what has begun ends and is reported, nothing else begins.

use job_model::Request;
use keyfleet_proto::workers::v1::report::Outcome;
use kms_sim::{KeyState, Operation, When};

use crate::{
    leader::{go, within},
    setup::{Setup, task},
};

#[tokio::test]
async fn a_worker_that_leaves_finishes_what_it_has_begun_and_begins_nothing() {
    let mut setup = Setup::new().await;
    let mut session = setup.leader.leased().await;
    let key = setup.key(KeyState::Disabled);
    setup.offer(&[task(1, 0), task(1, 1)]).await;
    for _ in 0..2 {
        session.start().await;
    }
    setup.sim.hold(Operation::EnableKey, When::Before, None);
    session.go(1, task(1, 0), &key, &Request::EnableKey).await;
    setup.sim.held(1).await;
    setup.service.shutdown.request();

    session.ended().await;
    let (mut session, hello) = setup.leader.session().await;
    assert_eq!(hello.concurrency, 0, "it takes no more Gos");
    assert_eq!(hello.open_gos.iter().map(|open| open.go).collect::<Vec<_>>(), [go(1).as_u64()]);
    let other = setup.key(KeyState::Disabled);
    session.go(2, task(1, 1), &other, &Request::EnableKey).await;
    let report = session.report().await;
    assert!(matches!(report.outcome, Some(Outcome::Unstarted(_))), "{report:?}");
    session.acknowledge(&report, false).await;
    setup.sim.release(None);
    let report = session.report().await;
    assert!(matches!(report.outcome, Some(Outcome::Succeeded(_))), "{report:?}");
    assert!(!setup.worker.is_finished(), "it waits for the acknowledgement");
    session.acknowledge(&report, true).await;
    within("the worker's end", &mut setup.worker).await.unwrap();
    assert!(setup.made(&other).is_empty());
    assert_eq!(setup.left_over().await, [task(1, 1)]);
}

#[tokio::test]
async fn a_worker_without_work_leaves_at_once() {
    let mut setup = Setup::new().await;
    let session = setup.leader.leased().await;
    setup.stop().await;
    session.ended().await;
}
