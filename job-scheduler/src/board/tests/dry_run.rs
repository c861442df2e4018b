//! Jobs that observe and decide only.

use std::time::Duration;

use job_model::{AgainReason, Forecast, JobState, Outcome, Request, TaskState, quota::Quotas};

use super::{
    LEASE, SUCCESS, TIMEOUT,
    world::{World, refusal},
};

const WOULD: Outcome = Outcome::Foretold(Forecast::Would);

fn impossible() -> Outcome {
    Outcome::Foretold(Forecast::Impossible("why".to_owned()))
}

#[test]
fn what_is_foretold_is_the_end() {
    let mut world = World::new(Quotas::aws());
    let worker = world.worker();
    let job = world.dry_job(&["would", "already", "impossible", "unreadable"], 0);
    world.pass(Duration::from_secs(1));
    world.deliver_all(worker);
    let gos = world.gos(worker);
    let outcomes = [WOULD, Outcome::Foretold(Forecast::Already), impossible(), Outcome::Refused(refusal("Denied"))];
    for (go, outcome) in gos.iter().zip(outcomes) {
        assert!(!go.acting);
        world.report(worker, go, outcome);
    }
    assert_eq!(world.state(job), JobState::Finished);
    use TaskState::{Failed, Succeeded};
    assert_eq!(world.finals(job), [Succeeded, Succeeded, Failed, Failed]);
    assert_eq!(
        world.details(job),
        ["Would enable the key", "Already enabled", "Impossible: why", "Denied: said"]
            .map(|text| Some(text.to_owned()))
    );
    assert_eq!(world.already(job), 1);
}

/// 5 keys a second are enabled at the most, and nobody who acts leaves a token.
#[test]
fn it_waits_for_no_acting_token() {
    let mut world = World::new(Quotas::aws());
    let worker = world.worker();
    let keys: Vec<String> = (0..500).map(|number| format!("key-{number}")).collect();
    let busy = world.job_of(&keys.iter().map(String::as_str).collect::<Vec<_>>(), Request::EnableKey);
    let dry = world.dry_job(&keys.iter().map(String::as_str).collect::<Vec<_>>(), 0);
    let end = world.now + Duration::from_secs(10);
    let mut acted = 0;
    while world.now < end {
        world.deliver_published(worker);
        for go in world.gos(worker) {
            assert!(!(go.acting && go.task.job == dry));
            acted += usize::from(go.acting);
            let needs = Outcome::Again { reason: AgainReason::NeedsActing, said: refusal("NeedsActing") };
            let outcome = match (go.task.job == dry, go.acting) {
                (true, _) => WOULD,
                (false, true) => SUCCESS,
                (false, false) => needs,
            };
            world.report(worker, &go, outcome);
        }
        world.pass(Duration::from_millis(10));
    }
    assert_eq!(world.state(dry), JobState::Finished);
    assert_eq!(world.state(busy), JobState::Running);
    assert!((48..=52).contains(&acted), "{acted} in 10 s at 5/s: none was lost to the dry run");
}

#[test]
fn it_neither_holds_a_key_nor_waits_for_one() {
    let mut world = World::new(Quotas::off());
    let worker = world.worker();
    let real = world.job_of(&["key"], Request::EnableKey);
    world.deliver_all(worker);
    let acts = world.gos(worker).remove(0);
    let dry = world.dry_job(&["key"], 0);
    world.deliver_published(worker);
    let reads = world.gos(worker).remove(0);
    let other = world.job_of(&["key"], Request::DisableKey);
    world.deliver_published(worker);
    assert!(world.gos(worker).is_empty(), "the one that acts holds the key");
    world.report(worker, &acts, SUCCESS);
    assert_eq!(world.gos(worker).len(), 1, "and frees it, whoever reads");
    world.report(worker, &reads, impossible());
    assert_eq!([real, dry].map(|job| world.state(job)), [JobState::Finished; 2]);
    assert_eq!(world.state(other), JobState::Running);
}

#[test]
fn what_its_lost_worker_was_at_is_read_again_and_never_looked_at() {
    let mut world = World::new(Quotas::off());
    let job = world.dry_job(&["key"], 0);
    for _ in 0..4 {
        let lost = world.worker();
        world.deliver_all(lost);
        assert_eq!(world.gos(lost).len(), 1);
        world.kill(lost);
        world.pass(LEASE + TIMEOUT);
    }
    let last = world.worker();
    world.deliver_all(last);
    world.kill(last);
    world.pass(LEASE + TIMEOUT);
    assert_eq!(world.state(job), JobState::Finished);
    assert_eq!(world.finals(job), [TaskState::Failed]);
}

#[test]
fn it_stops_like_any_other() {
    let mut world = World::new(Quotas::off());
    world.concurrency = 1;
    let worker = world.worker();
    let job = world.dry_job(&["begun", "next", "last"], 0);
    world.deliver_all(worker);
    let go = world.gos(worker).remove(0);
    world.abort(job);
    assert_eq!(world.state(job), JobState::Stopping);
    world.report(worker, &go, WOULD);
    assert_eq!(world.state(job), JobState::Finished);
    assert_eq!(world.finals(job), [TaskState::Succeeded, TaskState::Canceled, TaskState::Canceled]);
}

#[test]
fn a_new_leader_goes_on_with_it_at_once() {
    let mut world = World::new(Quotas::off());
    world.inherit(LEASE + TIMEOUT);
    let worker = world.worker();
    let job = world.dry_job(&["key"], 1);
    world.deliver_published(worker);
    let go = world.gos(worker).remove(0);
    world.report(worker, &go, WOULD);
    world.pass(LEASE + TIMEOUT);
    assert_eq!(world.state(job), JobState::Finished);
    // Nothing of it is remembered as a write that a reading could lag behind.
    let next = world.job_of(&["key"], Request::DisableKey);
    world.deliver_published(worker);
    assert!(world.gos(worker).remove(0).trust_reading);
    assert_eq!(world.state(next), JobState::Running);
}

#[test]
fn a_worker_that_knows_no_dry_runs_changes_nothing_and_foretells_no_call() {
    let mut world = World::new(Quotas::off());
    let worker = world.worker();
    let job = world.dry_job(&["key", "there"], 0);
    world.deliver_all(worker);
    let gos = world.gos(worker);
    let needs = Outcome::Again { reason: AgainReason::NeedsActing, said: refusal("NeedsActing") };
    world.report(worker, &gos[0], needs);
    world.report(worker, &gos[1], Outcome::Succeeded { already: true });
    world.pass(Duration::from_secs(1));
    let again = world.gos(worker).remove(0);
    assert!(again.task == gos[0].task && !again.acting);
    world.report(worker, &again, WOULD);
    assert_eq!(world.state(job), JobState::Finished);
    assert_eq!(world.details(job)[1].as_deref(), Some("Already enabled"));
}

#[test]
fn a_forecast_of_a_run_is_no_end() {
    let mut world = World::new(Quotas::off());
    let worker = world.worker();
    let job = world.job(1);
    world.deliver_all(worker);
    let go = world.gos(worker).remove(0);
    world.report(worker, &go, WOULD);
    assert_eq!(world.finals(job), [TaskState::Pending]);
    world.pass(Duration::from_secs(1));
    let go = world.gos(worker).remove(0);
    world.report(worker, &go, SUCCESS);
    assert_eq!(world.finals(job), [TaskState::Succeeded]);
}
