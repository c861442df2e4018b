//! Jobs with a pace of their own.

use std::time::Duration;

use job_model::{AgainReason, JobId, JobState, Outcome, quota::Quotas};

use super::{SUCCESS, world::World};

const RATE: f64 = 4.0;

fn names(count: usize, prefix: &str) -> Vec<String> {
    (0..count).map(|number| format!("{prefix}-{number}")).collect()
}

fn paced(world: &mut World, keys: &[String], rate: f64) -> JobId {
    world.paced_job(&keys.iter().map(String::as_str).collect::<Vec<_>>(), rate)
}

/// Runs what goes for so long, each key needing the call, and tells how often `job` acted.
fn run(world: &mut World, worker: usize, job: JobId, span: Duration) -> usize {
    let end = world.now + span;
    let mut acted = 0;
    while world.now < end {
        world.deliver_published(worker);
        for go in world.gos(worker) {
            acted += usize::from(go.acting && go.task.job == job);
            world.report(worker, &go, if go.acting { SUCCESS } else { needs_acting() });
        }
        world.pass(Duration::from_millis(10));
    }
    acted
}

#[test]
fn a_job_keeps_its_own_pace_and_holds_up_no_other() {
    let mut world = World::new(Quotas::off());
    let worker = world.worker();
    let slow = paced(&mut world, &names(100, "slow"), RATE);
    let fast = world.job(100);
    let acted = run(&mut world, worker, slow, Duration::from_secs(10));
    assert_eq!(world.state(fast), JobState::Finished, "an unlimited lane has nothing to wait for");
    assert!((38..=42).contains(&acted), "{acted} in 10 s at {RATE}/s");
    run(&mut world, worker, slow, Duration::from_secs(20));
    assert_eq!(world.state(slow), JobState::Finished);
}

#[test]
fn a_pace_above_the_quota_leaves_the_quota() {
    let mut world = World::new(Quotas::aws());
    let worker = world.worker();
    let job = paced(&mut world, &names(100, "key"), 1_000.0);
    let acted = run(&mut world, worker, job, Duration::from_secs(10));
    assert!((48..=52).contains(&acted), "{acted} in 10 s at 5/s");
}

#[test]
fn a_look_and_the_act_after_it_cost_one_token_of_the_pace() {
    let mut world = World::new(Quotas::aws());
    let worker = world.worker();
    let job = paced(&mut world, &names(20, "key"), RATE);
    // The lane has 5 acting tokens a second, so all of the job's own can be used.
    run(&mut world, worker, job, Duration::from_secs(6));
    assert_eq!(world.state(job), JobState::Finished, "20 keys take 5 s at {RATE}/s");
}

#[test]
fn an_act_whose_look_has_paid_waits_for_the_lanes_token_alone() {
    let mut world = World::new(Quotas::aws());
    let worker = world.worker();
    let begun = world.now;
    let slow = paced(&mut world, &names(3, "slow"), 0.15);
    world.deliver_published(worker);
    // These take all acting tokens of the lane, so that the other job's look has none.
    let other = world.job(100);
    while run(&mut world, worker, slow, Duration::from_millis(100)) == 0 {
        assert_eq!(world.state(other), JobState::Running);
    }
    let passed = world.now.since(begun);
    assert!(passed <= Duration::from_secs(8), "{passed:?}, and its first token came after 6.7 s");
}

#[test]
fn a_job_that_waits_for_its_pace_can_be_stopped() {
    let mut world = World::new(Quotas::off());
    let worker = world.worker();
    let job = paced(&mut world, &names(10, "key"), 0.001);
    run(&mut world, worker, job, Duration::from_secs(1));
    world.abort(job);
    assert_eq!(world.state(job), JobState::Finished);
    let next = world.job(3);
    run(&mut world, worker, next, Duration::from_secs(1));
    assert_eq!(world.state(next), JobState::Finished);
}

fn needs_acting() -> Outcome {
    Outcome::Again { reason: AgainReason::NeedsActing, said: super::refusal("NeedsActing") }
}
