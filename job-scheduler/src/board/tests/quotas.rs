//! Quotas that change while jobs run.

use std::time::Duration;

use job_model::{AgainReason, JobId, Outcome, places::PlaceQuotas, quota::Quotas};

use super::{SUCCESS, world::World};

/// Runs what goes for so long, each key needing the call, and tells how often it acted.
fn acted(world: &mut World, worker: usize, span: Duration) -> usize {
    let end = world.now + span;
    let mut acted = 0;
    while world.now < end {
        world.deliver_published(worker);
        for go in world.gos(worker) {
            acted += usize::from(go.acting);
            let needs = Outcome::Again { reason: AgainReason::NeedsActing, said: super::refusal("NeedsActing") };
            world.report(worker, &go, if go.acting { SUCCESS } else { needs });
        }
        world.pass(Duration::from_millis(10));
    }
    acted
}

fn granted(places: &str) -> PlaceQuotas {
    PlaceQuotas::with(Quotas::aws(), places.parse().unwrap())
}

fn busy(world: &mut World) -> JobId {
    world.job(5_000)
}

#[test]
fn a_running_job_keeps_each_new_pace() {
    let mut world = World::new(Quotas::aws());
    let worker = world.worker();
    busy(&mut world);
    let span = Duration::from_secs(10);
    // Around each pace there is what a bucket holds.
    for (places, around) in [
        ("{}", 50),
        (r#"{"111122223333/us-east-1": {"EnableKey": 50}}"#, 500),
        (r#"{"111122223333/us-east-1": {"DisableKey": 50}}"#, 50),
        (r#"{"111122223333/us-east-1": {"EnableKey": 1}}"#, 10),
        (r#"{"111122223333/eu-west-1": {"EnableKey": 50}}"#, 50),
    ] {
        world.requote(granted(places));
        let acted = acted(&mut world, worker, span);
        assert!((around - 3..=around + 6).contains(&acted), "{acted} in 10 s with {places}");
    }
    world.requote(granted(r#"{"111122223333/us-east-1": "off"}"#));
    assert!(acted(&mut world, worker, Duration::from_secs(2)) > 1_000, "nothing holds it back");
}

#[test]
fn a_lane_that_begins_later_has_the_new_pace() {
    let mut world = World::new(Quotas::aws());
    let worker = world.worker();
    world.requote(granted(r#"{"111122223333/us-east-1": {"EnableKey": 50}}"#));
    busy(&mut world);
    let acted = acted(&mut world, worker, Duration::from_secs(10));
    assert!((490..=510).contains(&acted), "{acted}");
}
