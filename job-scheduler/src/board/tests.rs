//! The board, walked with a clock of its own: single rules here, whole schedules in `schedules`.

mod dry_run;
mod nonsense;
mod paced;
mod quotas;
mod schedules;
mod unheard;
mod walks;
mod world;

use std::time::Duration;

use job_model::{AgainReason, JobState, Outcome, TaskState, quota::Quotas};
use world::{LEASE, TIMEOUT, World, refusal};

const SUCCESS: Outcome = Outcome::Succeeded { already: false };

fn unlimited() -> World {
    World::new(Quotas::off())
}

#[test]
fn a_job_runs_to_its_end() {
    let mut world = unlimited();
    let worker = world.worker();
    let job = world.job(3);
    world.deliver_all(worker);
    for go in world.gos(worker) {
        world.report(worker, &go, SUCCESS);
    }
    assert_eq!(world.state(job), JobState::Finished);
    assert_eq!(world.finals(job), vec![TaskState::Succeeded; 3]);
}

#[test]
fn the_finish_goes_to_the_writer_right_behind_the_last_status() {
    let mut world = unlimited();
    let worker = world.worker();
    let job = world.job(2);
    world.deliver_all(worker);
    let [first, last] = &world.gos(worker)[..] else { panic!("not two") };
    world.tell(worker, first, SUCCESS);
    let effects = world.effects();
    assert_eq!((effects.writes.len(), effects.finish), (1, vec![]));
    world.tell(worker, last, SUCCESS);
    let effects = world.effects();
    assert_eq!((effects.writes.len(), effects.finish), (1, vec![job]));
}

#[test]
fn what_is_final_gets_never() {
    let mut world = unlimited();
    let worker = world.worker();
    let job = world.job(1);
    world.deliver_all(worker);
    let go = world.gos(worker).remove(0);
    world.report(worker, &go, SUCCESS);
    world.deliver(worker, go.task);
    assert!(world.gos(worker).is_empty());
    assert_eq!(world.nevers(worker), vec![go.task]);
    assert_eq!(world.state(job), JobState::Finished);
}

#[test]
fn an_abort_cancels_what_was_not_begun_and_awaits_what_was() {
    let mut world = unlimited();
    world.concurrency = 1;
    let worker = world.worker();
    let job = world.job(3);
    world.deliver_all(worker);
    let go = world.gos(worker).remove(0);
    world.abort(job);
    assert_eq!(world.state(job), JobState::Stopping);
    world.report(worker, &go, SUCCESS);
    assert_eq!(world.state(job), JobState::Finished);
    assert_eq!(world.finals(job), vec![TaskState::Succeeded, TaskState::Canceled, TaskState::Canceled]);
}

#[test]
fn nothing_goes_once_a_worker_has_heard_of_an_abort() {
    let mut world = unlimited();
    let (worker, _another) = (world.worker(), world.worker());
    let job = world.job(2);
    world.deliver_one(worker);
    assert_eq!(world.gos(worker).len(), 1);
    assert_eq!(world.stop_ack(job), vec![job], "the abort is to be committed");
    assert_eq!(world.told_of_abort(job), 2, "and nobody has to wait for that");
    assert_eq!(world.stop_ack(job), vec![], "once");
    world.deliver_all(worker);
    assert!(world.gos(worker).is_empty());
    world.abort(job);
    assert_eq!(world.state(job), JobState::Stopping);
}

#[test]
fn a_lost_workers_task_is_looked_at_before_it_is_told() {
    let mut world = unlimited();
    let lost = world.worker();
    let job = world.job(1);
    world.deliver_all(lost);
    assert_eq!(world.gos(lost).len(), 1);
    world.silence(lost);
    world.abort(job);
    world.pass(LEASE + TIMEOUT - Duration::from_millis(1));
    assert_eq!(world.state(job), JobState::Stopping, "the worker may still be at it");
    world.pass(Duration::from_secs(20));
    assert_eq!(world.state(job), JobState::Stopping, "nobody lives to look");
    let other = world.worker();
    world.pass(Duration::from_millis(10));
    let look = world.looks(other).remove(0);
    world.look_result(&look, true);
    assert_eq!(world.finals(job), vec![TaskState::Succeeded]);
}

#[test]
fn a_redelivery_to_a_live_worker_wakes_a_lane_whose_offers_were_a_lost_ones() {
    let mut world = unlimited();
    let (lost, other) = (world.worker(), world.worker());
    // More than a lane tries in vain before it waits for a worker to have room.
    let job = world.job(100);
    world.deliver_published(lost);
    world.silence(lost);
    world.pass(LEASE + TIMEOUT + Duration::from_millis(20));
    assert!(world.gos(other).is_empty(), "it has no delivery yet");
    world.redeliver(job);
    world.deliver_published(other);
    assert_eq!(world.gos(other).len(), 64, "as many as it takes at once");
}

#[test]
fn an_unanswered_try_is_looked_at_not_before_the_operation_timeout() {
    let mut world = unlimited();
    let worker = world.worker();
    let job = world.job(1);
    world.deliver_all(worker);
    let go = world.gos(worker).remove(0);
    world.abort(job);
    world.report(worker, &go, Outcome::Again { reason: AgainReason::Unanswered, said: refusal("Unanswered") });
    world.pass(TIMEOUT - Duration::from_millis(1));
    assert!(world.looks(worker).is_empty());
    world.pass(Duration::from_millis(10));
    let look = world.looks(worker).remove(0);
    world.look_result(&look, false);
    assert_eq!(world.finals(job), vec![TaskState::Canceled]);
}

#[test]
fn a_go_voided_by_a_new_session_is_given_again_and_one_declared_is_not() {
    let mut world = unlimited();
    let worker = world.worker();
    world.job(2);
    world.deliver_all(worker);
    let gos = world.gos(worker);
    assert_eq!(gos.len(), 2);
    world.reconnect(worker, &gos[..1]);
    world.deliver_all(worker);
    let again = world.gos(worker);
    assert_eq!(again.len(), 1);
    assert_eq!(again[0].task, gos[1].task);
}

#[test]
fn two_jobs_never_hold_one_key_at_once() {
    let mut world = unlimited();
    let worker = world.worker();
    let first = world.job_of(&["k"], job_model::Request::DisableKey);
    let second = world.job_of(&["k"], job_model::Request::EnableKey);
    world.deliver_all(worker);
    let go = world.gos(worker).remove(0);
    assert_eq!(go.task.job, first);
    assert!(world.gos(worker).is_empty());
    world.report(worker, &go, SUCCESS);
    let go = world.gos(worker).remove(0);
    assert_eq!(go.task.job, second);
    assert!(!go.trust_reading, "the key was written a moment ago and may read as it was");
}

#[test]
fn five_lost_workers_make_a_task_poison() {
    let mut world = unlimited();
    let job = world.job(1);
    for _ in 0..5 {
        let worker = world.worker();
        world.deliver_published(worker);
        assert_eq!(world.gos(worker).len(), 1);
        world.silence(worker);
        world.pass(LEASE + TIMEOUT + Duration::from_millis(10));
        world.redeliver(job);
    }
    let worker = world.worker();
    world.deliver_published(worker);
    world.pass(Duration::from_millis(10));
    assert!(world.gos(worker).is_empty());
    let look = world.looks(worker).remove(0);
    world.look_result(&look, false);
    assert_eq!(world.finals(job), vec![TaskState::Failed]);
}

#[test]
fn a_small_job_does_not_wait_behind_a_large_one() {
    let mut world = World::new("{\"EnableKey\": 10}".parse().unwrap());
    let worker = world.worker();
    let large = world.job(10_000);
    world.deliver_all(worker);
    world.pass(Duration::from_secs(3));
    for go in world.gos(worker) {
        world.report(worker, &go, SUCCESS);
    }
    let small = world.job(5);
    let mut seconds = 0;
    while world.state(small) != JobState::Finished {
        world.deliver_all(worker);
        world.pass(Duration::from_millis(100));
        for go in world.gos(worker) {
            let outcome = if go.acting {
                SUCCESS
            } else {
                Outcome::Again { reason: AgainReason::NeedsActing, said: refusal("NeedsActing") }
            };
            world.report(worker, &go, outcome);
        }
        seconds += 1;
        assert!(seconds < 30, "five keys at half of ten a second, in tenths of a second");
    }
    assert_eq!(world.state(large), JobState::Running);
}

#[test]
fn without_a_token_a_task_may_only_be_looked_at() {
    let mut world = World::new("{\"EnableKey\": 1}".parse().unwrap());
    let worker = world.worker();
    let job = world.job(2);
    world.deliver_all(worker);
    world.pass(Duration::from_millis(20));
    let gos = world.gos(worker);
    assert!(gos.iter().all(|go| !go.acting) && gos.len() == 2);
    for go in gos {
        world.report(worker, &go, Outcome::Succeeded { already: true });
    }
    assert_eq!(world.state(job), JobState::Finished);
}

#[test]
fn a_new_leader_holds_back_what_was_dispatched_before_it() {
    let mut world = unlimited();
    world.inherit(TIMEOUT);
    let worker = world.worker();
    let job = world.inherited_job(2);
    world.deliver_all(worker);
    world.pass(TIMEOUT - Duration::from_millis(10));
    assert!(world.gos(worker).is_empty());
    world.pass(Duration::from_millis(20));
    let gos = world.gos(worker);
    assert_eq!(gos.len(), 2);
    assert!(gos.iter().all(|go| go.doubted));
    for go in gos {
        world.report(worker, &go, SUCCESS);
    }
    assert_eq!(world.state(job), JobState::Finished);
}

#[test]
fn a_new_leader_holds_back_keys_and_not_only_tasks() {
    let mut world = unlimited();
    world.inherit(TIMEOUT);
    let worker = world.worker();
    world.inherited_job(1);
    let other = world.job_of(&["old-0", "free"], job_model::Request::DisableKey);
    world.deliver_published(worker);
    let gos = world.gos(worker);
    assert_eq!(gos.len(), 1, "a worker of the old leader may be writing to the inherited key");
    assert_eq!((gos[0].task.job, &*gos[0].key.id), (other, "free"));
    world.pass(TIMEOUT + Duration::from_millis(20));
    assert_eq!(world.gos(worker).len(), 1, "one of the two that want the key");
}

#[test]
fn a_lease_never_outlives_the_term() {
    let mut world = unlimited();
    let worker = world.worker();
    world.end_term_in(Duration::from_millis(700));
    assert_eq!(world.heartbeat(worker), Some(Duration::from_millis(700)));
    world.pass_silently(Duration::from_millis(700));
    assert_eq!(world.heartbeat(worker), None);
    world.job(1);
    world.deliver_all(worker);
    assert!(world.gos(worker).is_empty());
}
