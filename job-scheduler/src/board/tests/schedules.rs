//! Whole schedules by chance: deliveries, reports, losses and aborts in any order never break what a job promises.

use std::{collections::HashMap, time::Duration};

use job_model::{AgainReason, JobId, JobState, Moment, Outcome, TaskState, quota::Quotas};
use proptest::prelude::*;

use super::world::{TIMEOUT, World, refusal};
use crate::board::Go;

#[derive(Clone, Copy, Debug)]
enum Step {
    Deliver(usize),
    Answer(usize, Answer),
    Look(usize, bool),
    Pass(u64),
    Lose(usize),
    Reconnect(usize),
    Abort(usize),
    Redeliver(usize),
}

#[derive(Clone, Copy, Debug)]
enum Answer {
    Success,
    Refused,
    Throttled,
    Unanswered,
    Unstarted,
    Never,
}

fn answer() -> impl Strategy<Value = Answer> {
    prop_oneof![
        5 => Just(Answer::Success),
        1 => Just(Answer::Refused),
        1 => Just(Answer::Throttled),
        1 => Just(Answer::Unanswered),
        1 => Just(Answer::Unstarted),
        1 => Just(Answer::Never),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0..3usize).prop_map(Step::Deliver),
        6 => ((0..3usize), answer()).prop_map(|(seat, answer)| Step::Answer(seat, answer)),
        2 => ((0..3usize), any::<bool>()).prop_map(|(seat, there)| Step::Look(seat, there)),
        3 => (1..4_000u64).prop_map(Step::Pass),
        1 => (0..3usize).prop_map(Step::Lose),
        1 => (0..3usize).prop_map(Step::Reconnect),
        1 => (0..2usize).prop_map(Step::Abort),
        2 => (0..2usize).prop_map(Step::Redeliver),
    ]
}

struct Run {
    world: World,
    jobs: [JobId; 2],
    /// Gos that a worker may still act on.
    live: Vec<(usize, Go)>,
    aborted: HashMap<JobId, Moment>,
}

impl Run {
    fn collect(&mut self) {
        for seat in 0..self.world.seats() {
            for go in self.world.gos(seat) {
                assert!(!self.aborted.contains_key(&go.task.job), "a Go for an aborted job");
                // A worker that has heard of an abort begins nothing more, and what it had begun ends in time.
                let now = self.world.now;
                let ended = |go: &Go| self.aborted.get(&go.task.job).is_some_and(|at| now.since(*at) >= TIMEOUT);
                self.live.retain(|(_, go)| !ended(go));
                assert!(self.live.iter().all(|(_, other)| other.key != go.key), "two Gos hold one key");
                self.live.push((seat, go));
            }
        }
    }

    fn take(&mut self, seat: usize) -> Option<Go> {
        let place = self.live.iter().position(|(holder, _)| *holder == seat)?;
        Some(self.live.remove(place).1)
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Deliver(seat) if !self.world.is_silent(seat) => {
                self.world.deliver_one(seat);
            }
            Step::Answer(seat, answer) if !self.world.is_silent(seat) => {
                if let Some(go) = self.take(seat) {
                    self.answer(seat, go, answer);
                }
            }
            Step::Look(seat, there) if !self.world.is_silent(seat) => {
                for look in self.world.looks(seat) {
                    self.world.look_result(&look, there);
                }
            }
            Step::Pass(ms) => self.world.pass(Duration::from_millis(ms)),
            Step::Lose(seat) if !self.world.is_silent(seat) => {
                self.world.kill(seat);
                // A killed process acts no more, though the board cannot know it.
                self.live.retain(|(holder, ..)| *holder != seat);
                self.world.worker();
            }
            Step::Reconnect(seat) if !self.world.is_silent(seat) => {
                // What it declares stays; the rest it never begins.
                let declared: Vec<Go> =
                    self.live.iter().filter(|(holder, _)| *holder == seat).map(|(_, go)| go.clone()).take(1).collect();
                self.live.retain(|(holder, go)| *holder != seat || declared.iter().any(|kept| kept.go == go.go));
                self.world.reconnect(seat, &declared);
            }
            Step::Abort(job) => {
                self.aborted.entry(self.jobs[job]).or_insert(self.world.now);
                self.world.abort(self.jobs[job]);
            }
            Step::Redeliver(job) => self.world.redeliver(self.jobs[job]),
            Step::Deliver(_) | Step::Answer(..) | Step::Look(..) | Step::Lose(_) | Step::Reconnect(_) => {}
        }
        self.collect();
    }

    fn answer(&mut self, seat: usize, go: Go, answer: Answer) {
        let again = |reason| Outcome::Again { reason, said: refusal("said") };
        let outcome = match answer {
            Answer::Success => Outcome::Succeeded { already: !go.acting },
            Answer::Refused => Outcome::Refused(refusal("NotFoundException")),
            Answer::Throttled => again(AgainReason::Throttled),
            Answer::Unanswered => again(AgainReason::Unanswered),
            Answer::Unstarted => Outcome::Unstarted,
            // The worker keeps it and keeps renewing: only its lease's end could free it.
            Answer::Never => {
                self.live.push((seat, go));
                return;
            }
        };
        self.world.report(seat, &go, outcome);
    }

    /// Everybody behaves from here on: everything must end.
    fn settle(&mut self) {
        let worker = self.world.worker();
        for _ in 0..600 {
            if self.jobs.iter().all(|job| self.world.state(*job) == JobState::Finished) {
                return;
            }
            for seat in 0..self.world.seats() {
                while let Some(go) = self.take(seat) {
                    if !self.world.is_silent(seat) {
                        self.answer(seat, go, Answer::Success);
                    }
                }
                for look in self.world.looks(seat) {
                    self.world.look_result(&look, true);
                }
            }
            self.world.deliver_all(worker);
            self.world.pass(Duration::from_millis(100));
            self.collect();
        }
        panic!("a job does not end: {}", self.world.open());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, ..ProptestConfig::default() })]
    #[test]
    fn every_schedule_ends_with_one_status_a_task(steps in prop::collection::vec(step(), 1..80)) {
        let mut world = World::new(Quotas::off());
        world.concurrency = 2;
        for _ in 0..3 {
            world.worker();
        }
        // The second job wants the opposite of the first's last keys.
        let first = world.job_of(&["a", "b", "c"], job_model::Request::DisableKey);
        let second = world.job_of(&["b", "c", "d"], job_model::Request::EnableKey);
        let mut run = Run { world, jobs: [first, second], live: Vec::new(), aborted: HashMap::new() };
        run.collect();
        for step in steps {
            run.step(step);
        }
        run.settle();
        for job in run.jobs {
            for state in run.world.finals(job) {
                prop_assert!(TaskState::FINAL.contains(&state));
            }
        }
    }
}
