//! Offers that are lost, or lie with a worker that is frozen.

use std::time::Duration;

use job_model::{AgainReason, Outcome, quota::Quotas};

use super::{SUCCESS, world::World};

const TENTH: Duration = Duration::from_millis(100);

/// The broker's turns: as good as by chance, or one task's copies might all go the same way.
struct Turns {
    workers: [usize; 2],
    next: u32,
}

impl Turns {
    fn next(&mut self) -> usize {
        self.next += 1;
        self.workers[usize::from(self.next.wrapping_mul(2_654_435_769) >> 31 == 1)]
    }
}

/// Lets a tenth of a second pass; offers go to the workers in turns, and those that are not silent run what they may.
fn tenth(world: &mut World, turns: &mut Turns) -> usize {
    let workers = turns.workers;
    let mut acted = 0;
    while let Some(task) = world.take_published() {
        let worker = turns.next();
        if !world.is_silent(worker) {
            world.deliver(worker, task);
        }
    }
    for worker in workers {
        if world.is_silent(worker) {
            continue;
        }
        for go in world.gos(worker) {
            acted += usize::from(go.acting);
            let needs = Outcome::Again { reason: AgainReason::NeedsActing, said: super::refusal("NeedsActing") };
            world.report(worker, &go, if go.acting { SUCCESS } else { needs });
        }
    }
    world.pass(TENTH);
    acted
}

fn seconds(world: &mut World, turns: &mut Turns, seconds: u32) -> usize {
    (0..seconds * 10).map(|_| tenth(world, turns)).sum()
}

#[test]
fn a_lane_goes_on_beside_a_frozen_worker_that_takes_its_share_of_the_offers() {
    let mut world = World::new("{\"EnableKey\": 20}".parse().unwrap());
    let turns = &mut Turns { workers: [world.worker(), world.worker()], next: 0 };
    let small = world.paced_job(&["a", "b", "c", "d", "e", "f", "g", "h"], 1.0);
    world.job(10_000);
    seconds(&mut world, turns, 3);
    world.silence(turns.workers[0]);
    // Until the lane notices it may stand still, for less than a lease.
    seconds(&mut world, turns, 3);
    let acted = seconds(&mut world, turns, 10);
    assert!(acted >= 195, "{acted} of 200");
    seconds(&mut world, turns, 120);
    let ended = world.finals(small).iter().filter(|state| **state == job_model::TaskState::Succeeded).count();
    assert_eq!(ended, 8, "a job of a small window goes on too");
}

#[test]
fn a_lost_offer_is_published_again_and_then_less_and_less_often() {
    let mut world = World::new(Quotas::off());
    let worker = world.worker();
    world.job(1);
    let mut copies = Vec::new();
    for tenth in 0..2_000 {
        while world.take_published().is_some() {
            copies.push(tenth / 10);
        }
        world.pass(TENTH);
    }
    assert_eq!(copies, [0, 5, 15, 35, 75, 135, 195]);
    let job = world.job(1);
    world.deliver_published(worker);
    assert!(world.gos(worker).iter().any(|go| go.task.job == job));
}

#[test]
fn nothing_is_published_again_while_nobody_could_ask_for_it() {
    let mut world = World::new(Quotas::off());
    let worker = world.worker();
    world.silence(worker);
    world.pass(Duration::from_secs(10));
    world.job(3);
    while world.take_published().is_some() {}
    world.pass(Duration::from_secs(200));
    assert_eq!(world.take_published(), None);
    world.worker();
    world.pass(Duration::from_secs(1));
    assert!(world.take_published().is_some());
}
