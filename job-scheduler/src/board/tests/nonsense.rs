//! Workers that report what they were never given, start what there is not, and declare what they do not hold: nothing
//! panics, every task still gets one status, and other jobs end as they would have.

use std::time::Duration;

use job_model::{AgainReason, Forecast, GoId, JobId, JobState, Outcome, TaskRef, TaskState, quota::Quotas};
use proptest::{collection::vec, prelude::*};
use uuid::Uuid;

use super::world::{World, refusal};
use crate::board::{Go, Report};

#[derive(Clone, Debug)]
enum Step {
    Deliver(usize),
    Answer(usize),
    Nonsense(usize, Report, u64, TaskRef),
    Declare(usize, Vec<(GoId, TaskRef)>),
    Abort,
    Pass(u64),
}

/// The world numbers its workers and jobs: two workers, then the jobs 3 and 4. All else there is not.
fn task() -> impl Strategy<Value = TaskRef> {
    let job = prop_oneof![4 => 3..5_u128, 1 => any::<u128>()];
    (job, prop_oneof![4 => 0..4_u32, 1 => any::<u32>()])
        .prop_map(|(job, seq)| TaskRef { job: JobId::from_uuid(Uuid::from_u128(job)), seq })
}

fn go() -> impl Strategy<Value = GoId> {
    prop_oneof![
        3 => (1..12_u64).prop_map(|number| GoId::new(1, number)),
        1 => any::<u64>().prop_map(GoId::from_u64),
    ]
}

fn outcome() -> impl Strategy<Value = Outcome> {
    let again = |reason| Outcome::Again { reason, said: refusal("said") };
    prop::sample::select(vec![
        Outcome::Succeeded { already: true },
        Outcome::Succeeded { already: false },
        Outcome::Refused(refusal("")),
        Outcome::Unstarted,
        Outcome::Foretold(Forecast::Would),
        Outcome::Foretold(Forecast::Impossible(String::new())),
        again(AgainReason::NeedsActing),
        again(AgainReason::Throttled),
        again(AgainReason::Unavailable),
        again(AgainReason::Unanswered),
    ])
}

fn report() -> impl Strategy<Value = Report> {
    (go(), task(), any::<bool>(), outcome()).prop_map(|(go, task, acted, outcome)| Report {
        go,
        task,
        state_before: "\0".to_owned(),
        acted,
        took: Duration::MAX,
        outcome,
    })
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..2_usize).prop_map(Step::Deliver),
        3 => (0..2_usize).prop_map(Step::Answer),
        6 => (0..2_usize, report(), 0..8_u64, task())
            .prop_map(|(seat, report, look, start)| Step::Nonsense(seat, report, look, start)),
        1 => (0..2_usize, vec((go(), task()), 0..3)).prop_map(|(seat, open)| Step::Declare(seat, open)),
        1 => Just(Step::Abort),
        2 => (1..2_000_u64).prop_map(Step::Pass),
    ]
}

fn take(world: &mut World, step: Step, first: JobId) {
    match step {
        Step::Deliver(seat) => {
            world.deliver_one(seat);
        }
        Step::Answer(seat) => {
            for go in world.gos(seat) {
                world.report(seat, &go, Outcome::Succeeded { already: false });
            }
        }
        Step::Nonsense(seat, report, look, start) => world.nonsense(seat, report, look, start),
        Step::Declare(seat, open) => {
            let key = job_model::KeyAddress { account: "".into(), region: "".into(), id: "".into() };
            let of = |(go, task): (GoId, TaskRef)| Go {
                go,
                task,
                key: key.clone(),
                acting: true,
                doubted: false,
                trust_reading: false,
            };
            world.reconnect(seat, &open.into_iter().map(of).collect::<Vec<_>>());
        }
        Step::Abort => world.abort(first),
        Step::Pass(ms) => world.pass(Duration::from_millis(ms)),
    }
}

/// Else the Go of this number, once it is given, would close the declared one in its own place, and its task would wait
/// for ever.
#[test]
fn a_go_that_nobody_has_given_yet_is_not_open() {
    let mut world = World::new(Quotas::off());
    let liar = world.worker();
    let jobs =
        [world.job_of(&["a"], job_model::Request::EnableKey), world.job_of(&["b"], job_model::Request::EnableKey)];
    let declared =
        vec![(GoId::new(1, 1), TaskRef { job: jobs[0], seq: 0 }), (GoId::new(1, 2), TaskRef { job: jobs[0], seq: 0 })];
    take(&mut world, Step::Declare(liar, declared), jobs[0]);
    world.deliver_published(liar);
    for go in world.gos(liar) {
        world.report(liar, &go, Outcome::Succeeded { already: false });
    }
    assert_eq!(jobs.map(|job| world.state(job)), [JobState::Finished; 2]);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: ProptestConfig::default().cases.min(128), ..ProptestConfig::default() })]
    #[test]
    fn jobs_end_whatever_their_workers_say(steps in vec(step(), 1..60)) {
        let mut world = World::new(Quotas::off());
        world.concurrency = 3;
        let liars = [world.worker(), world.worker()];
        let first = world.job_of(&["a", "b", "c"], job_model::Request::DisableKey);
        let second = world.job_of(&["b", "c", "d"], job_model::Request::EnableKey);
        for step in steps {
            take(&mut world, step, first);
        }
        // Both are lost, and one that makes no mistakes takes over.
        for liar in liars {
            world.kill(liar);
        }
        let worker = world.worker();
        for _ in 0..600 {
            if [first, second].into_iter().all(|job| world.state(job) == JobState::Finished) {
                break;
            }
            world.deliver_all(worker);
            world.pass(Duration::from_millis(100));
            for go in world.gos(worker) {
                world.report(worker, &go, Outcome::Succeeded { already: false });
            }
            for look in world.looks(worker) {
                world.look_result(&look, true);
            }
        }
        for job in [first, second] {
            prop_assert_eq!(world.state(job), JobState::Finished, "{}", world.open());
            let finals = world.finals(job);
            prop_assert!(finals.iter().all(|state| TaskState::FINAL.contains(state)), "{:?}", finals);
        }
        prop_assert!(!world.finals(second).contains(&TaskState::Canceled), "nobody aborted it");
    }
}
