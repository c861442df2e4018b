//! Stopping: the flag by each of its ways, and what it does to tries and deliveries.

use job_model::{JobId, Request};
use keyfleet_proto::workers::v1::report::Outcome;
use kms_sim::{KeyState, Operation, When};

use crate::{
    leader::Session,
    setup::{Setup, task},
};

/// How the worker hears of an abort.
#[derive(Clone, Copy)]
enum Way {
    Broadcast,
    Session,
    Lease,
}

impl Way {
    /// Aborts the job. The session goes on, or a new one does.
    async fn abort(self, setup: &mut Setup, session: Session, job: JobId) -> Session {
        match self {
            Self::Broadcast => {
                setup.broadcast_abort(job).await;
                session
            }
            Self::Session => {
                session.abort(job).await;
                session
            }
            Self::Lease => {
                // A new session begins with a heartbeat, and asks again for what waits.
                drop(session);
                let (mut session, hello) = setup.leader.session().await;
                assert_eq!(hello.open_gos.len(), 2);
                assert_eq!(session.start().await, task(1, 2));
                session.grant(3_600_000, &[job]).await;
                session
            }
        }
    }
}

/// An abort while one try observes, another acts, and a third waits as a delivery.
async fn abort_midway(way: Way) {
    let mut setup = Setup::new().await;
    let mut session = setup.leader.leased().await;
    let job = task(1, 0).job;
    setup.offer(&[task(1, 0), task(1, 1), task(1, 2)]).await;
    for _ in 0..3 {
        session.start().await;
    }
    let (observing, acting) = (setup.key(KeyState::Disabled), setup.key(KeyState::Disabled));
    setup.sim.hold(Operation::DescribeKey, When::After, Some(observing.clone()));
    setup.sim.hold(Operation::EnableKey, When::Before, Some(acting.clone()));
    session.go(1, task(1, 0), &observing, &Request::EnableKey).await;
    session.go(2, task(1, 1), &acting, &Request::EnableKey).await;
    setup.sim.held(2).await;
    let mut session = way.abort(&mut setup, session, job).await;
    session.stop_ack(job, 2).await;
    setup.sim.release(None);
    for _ in 0..2 {
        let report = session.report().await;
        match report.task.as_ref().unwrap().seq {
            0 => assert!(matches!(report.outcome, Some(Outcome::Unstarted(_))) && !report.acted, "{report:?}"),
            _ => assert!(matches!(report.outcome, Some(Outcome::Succeeded(_))) && report.acted, "{report:?}"),
        }
        session.acknowledge(&report, report.acted).await;
    }
    session.stop_ack(job, 0).await;
    assert_eq!(setup.made(&observing), ["DescribeKey"]);
    assert_eq!(setup.made(&acting), ["DescribeKey", "EnableKey"]);
    // A Go and a delivery that come late start nothing.
    session.go(3, task(1, 3), &observing, &Request::EnableKey).await;
    let report = session.report().await;
    assert!(matches!(report.outcome, Some(Outcome::Unstarted(_))), "{report:?}");
    session.acknowledge(&report, true).await;
    session.stop_ack(job, 0).await;
    setup.offer(&[task(1, 4), task(2, 0)]).await;
    assert_eq!(session.start().await, task(2, 0));
    session.heard().await;
    setup.stop().await;
    assert_eq!(setup.left_over().await, [task(2, 0)], "the aborted job's were acknowledged unstarted");
    assert_eq!(setup.made(&observing), ["DescribeKey"]);
}

#[tokio::test]
async fn an_abort_by_broadcast_stops_what_has_not_acted() {
    abort_midway(Way::Broadcast).await;
}

#[tokio::test]
async fn an_abort_by_the_session_stops_what_has_not_acted() {
    abort_midway(Way::Session).await;
}

#[tokio::test]
async fn an_abort_named_by_a_lease_stops_what_has_not_acted() {
    abort_midway(Way::Lease).await;
}

/// The first leader may be lost before it has committed what it told of.
#[tokio::test]
async fn the_next_leader_is_told_of_an_abort() {
    let mut setup = Setup::new().await;
    let session = setup.leader.leased().await;
    let job = task(1, 0).job;
    setup.broadcast_abort(job).await;
    drop(session);
    let mut session = setup.leader.leased().await;
    session.stop_ack(job, 0).await;
}

#[tokio::test]
async fn an_abort_of_an_unknown_job_is_acknowledged_and_told_with_heartbeats() {
    let mut setup = Setup::new().await;
    let (mut session, _) = setup.leader.session().await;
    let job = task(9, 0).job;
    session.grant(3_000, &[job]).await;
    session.stop_ack(job, 0).await;
    // The heartbeats after it tell it again for as long as leases name it.
    session.grant(3_000, &[job]).await;
    session.stop_ack(job, 0).await;
    session.abort(job).await;
    session.stop_ack(job, 0).await;
}
