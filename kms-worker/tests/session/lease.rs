//! The dead-man's switch: without a lease nothing begins.

use job_model::{Moment, Request};
use keyfleet_proto::{
    convert,
    workers::v1::{FromLeader, Go, Look, look_result, report::Outcome},
};
use kms_sim::{KeyState, Operation, When};

use crate::{
    leader::{Session, go, within},
    setup::{Ahead, Setup, address, task},
};

async fn unstarted(session: &mut Session) {
    let report = session.report().await;
    assert!(matches!(report.outcome, Some(Outcome::Unstarted(_))), "{report:?}");
    assert!(!report.acted);
}

#[tokio::test]
async fn a_go_without_a_lease_starts_nothing() {
    let mut setup = Setup::new().await;
    let (mut session, hello) = setup.leader.session().await;
    assert_eq!((hello.concurrency, hello.open_gos.len()), (128, 0));
    let key = setup.key(KeyState::Disabled);
    session.go(1, task(1, 0), &key, &Request::EnableKey).await;
    unstarted(&mut session).await;
    assert!(setup.made(&key).is_empty());
}

#[tokio::test]
async fn a_lease_that_lapses_midway_stops_the_try_before_it_acts_and_a_renewed_one_does_not_revive_it() {
    static AHEAD: Ahead = Ahead::new();
    fn clock() -> Moment {
        AHEAD.now()
    }
    let mut setup = Setup::with_clock(clock).await;
    let mut session = setup.leader.leased().await;
    let key = setup.key(KeyState::Disabled);
    setup.sim.hold(Operation::DescribeKey, When::After, Some(key.clone()));
    session.go(1, task(1, 0), &key, &Request::EnableKey).await;
    setup.sim.held(1).await;
    AHEAD.sleep_for_a_day();
    session.grant(3_600_000, &[]).await;
    // A Go given under the renewed lease runs, so it has arrived.
    let other = setup.key(KeyState::Disabled);
    session.go(2, task(2, 0), &other, &Request::EnableKey).await;
    let report = session.report().await;
    assert_eq!(report.go, go(2).as_u64());
    assert!(matches!(report.outcome, Some(Outcome::Succeeded(_))), "{report:?}");
    setup.sim.release(None);
    unstarted(&mut session).await;
    assert_eq!(setup.made(&key), ["DescribeKey"]);
}

#[tokio::test]
async fn a_worker_without_a_lease_gives_its_deliveries_to_others() {
    static AHEAD: Ahead = Ahead::new();
    fn clock() -> Moment {
        AHEAD.now()
    }
    let mut setup = Setup::with_clock(clock).await;
    let mut session = setup.leader.leased().await;
    setup.offer(&[task(1, 0)]).await;
    assert_eq!(session.start().await, task(1, 0));
    AHEAD.sleep_for_a_day();
    let mut others = setup.broker.consume_offers(10);
    let event = within("the delivery that comes back", others.next()).await.unwrap();
    assert!(matches!(event, task_queue::OfferEvent::Delivered(delivery) if delivery.task == task(1, 0)), "{event:?}");
}

#[tokio::test]
async fn a_look_reads_under_the_lease_whatever_the_flag_says() {
    let mut setup = Setup::new().await;
    let (mut session, _) = setup.leader.session().await;
    let (key, job) = (setup.key(KeyState::Enabled), task(1, 0).job);
    let look = |look: u64, key: &str| FromLeader {
        specs: vec![convert::spec(job, &Request::EnableKey, false, false)],
        looks: vec![Look { look, job_id: job.to_vec().into(), key: Some((&address(key)).into()) }],
        ..FromLeader::default()
    };
    session.say(look(1, &key)).await;
    let result = session.looked().await;
    assert!(matches!(result.outcome, Some(look_result::Outcome::Unavailable(_))), "no lease yet: {result:?}");
    assert!(setup.made(&key).is_empty());
    session.grant(3_600_000, &[job]).await;
    session.say(look(2, &key)).await;
    let result = session.looked().await;
    let Some(look_result::Outcome::Seen(seen)) = &result.outcome else { panic!("{result:?}") };
    assert_eq!((result.look, seen.there, seen.state.as_str()), (2, true, "Enabled"));
    session.say(look(3, "nobody-knows-me")).await;
    let result = session.looked().await;
    let Some(look_result::Outcome::Refused(refused)) = &result.outcome else { panic!("{result:?}") };
    assert_eq!(refused.code, "NotFoundException");
    assert_eq!(setup.made(&key), ["DescribeKey"]);
}

#[tokio::test]
async fn a_go_that_may_not_act_observes_and_tells_that_the_call_is_needed() {
    let mut setup = Setup::new().await;
    let mut session = setup.leader.leased().await;
    let key = setup.key(KeyState::Disabled);
    let spec = convert::spec(task(1, 0).job, &Request::EnableKey, false, false);
    let observe = Go {
        go: go(1).as_u64(),
        task: Some(task(1, 0).into()),
        key: Some((&address(&key)).into()),
        acting: false,
        doubted: false,
        trust_reading: true,
    };
    session.say(FromLeader { specs: vec![spec], gos: vec![observe], ..FromLeader::default() }).await;
    let report = session.report().await;
    let Some(Outcome::Again(again)) = &report.outcome else { panic!("{report:?}") };
    assert_eq!(again.reason(), keyfleet_proto::workers::v1::AgainReason::NeedsActing);
    assert_eq!((report.state_before.as_str(), report.acted), ("Disabled", false));
    assert_eq!(setup.made(&key), ["DescribeKey"]);
}
