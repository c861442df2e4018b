//! Whatever goes wrong on the way, a task ends in a status that is true of its key.
//!
//! A task is tried again and again as the leader would have it, over a KMS whose reads lag, while its calls are refused,
//! go unanswered (done or not), or take their worker with them. At any point the job may be aborted; then a doubtful task
//! is looked at once reads have caught up. Before the job another one may have written something else to the key; more
//! than one such write within the lag is not covered (the docs name it).

use std::time::Duration;

use job_model::{
    KeyState, Outcome, Plan, Request, WRITE_MEMORY,
    outcome::Failure,
    plan::{Leave, READ_LAG, Step, Try, plan},
};
use proptest::prelude::*;

use crate::kms::{At, Key, Kms, date, refusal};

/// When the job begins.
const START: At = 1_000_000;
/// Lease and operation timeout, in seconds: what a lost worker is waited for.
const LEASE: At = 3;
const OPERATION_TIMEOUT: At = 5;

#[derive(Clone, Copy, Debug)]
enum Reading {
    Lags(At),
    Throttled,
    Unanswered,
    Void,
}

#[derive(Clone, Copy, Debug)]
enum Call {
    Answered,
    Throttled,
    LimitExceeded,
    Unsent,
    Void,
    /// KMSInternalException, before or after the change.
    Fault {
        done: bool,
    },
    Unanswered {
        done: bool,
    },
    /// Its worker is lost with it.
    Lost {
        done: bool,
    },
}

#[derive(Clone, Copy, Debug)]
struct Attempt {
    pause: At,
    acting: bool,
    first: Reading,
    call: Call,
    second: Reading,
}

#[derive(Clone, Debug)]
struct Story {
    request: Request,
    state: KeyState,
    /// Of a key that is pending: days to its deletion.
    pending_days: At,
    passes_at: At,
    /// What another job wrote before, and how long ago.
    earlier: Option<(Request, At)>,
    attempts: Vec<Attempt>,
    /// The job is aborted after the last attempt; else KMS is well from then on.
    aborted: bool,
}

#[derive(Debug, PartialEq)]
enum Told {
    Succeeded { already: bool },
    Refused,
    Canceled,
}

fn request() -> impl Strategy<Value = Request> {
    prop_oneof![
        Just(Request::EnableKey),
        Just(Request::DisableKey),
        prop_oneof![Just(7u32), Just(30)].prop_map(|days| Request::ScheduleKeyDeletion { days }),
        Just(Request::CancelKeyDeletion),
        prop_oneof![Just("{}"), Just("{\"a\":1}")].prop_map(|policy| Request::ApplyPolicy { policy: policy.into() }),
    ]
}

fn reading() -> impl Strategy<Value = Reading> {
    prop_oneof![
        8 => (0..READ_LAG.as_secs()).prop_map(Reading::Lags),
        1 => Just(Reading::Throttled),
        1 => Just(Reading::Unanswered),
        1 => Just(Reading::Void),
    ]
}

fn call() -> impl Strategy<Value = Call> {
    prop_oneof![
        4 => Just(Call::Answered),
        1 => Just(Call::Throttled),
        2 => Just(Call::LimitExceeded),
        1 => Just(Call::Unsent),
        1 => Just(Call::Void),
        2 => any::<bool>().prop_map(|done| Call::Fault { done }),
        4 => any::<bool>().prop_map(|done| Call::Unanswered { done }),
        2 => any::<bool>().prop_map(|done| Call::Lost { done }),
    ]
}

fn attempt() -> impl Strategy<Value = Attempt> {
    let pause = prop_oneof![3 => 0..6u64, 1 => 0..400u64];
    (pause, prop::bool::weighted(0.9), reading(), call(), reading())
        .prop_map(|(pause, acting, first, call, second)| Attempt { pause, acting, first, call, second })
}

fn story() -> impl Strategy<Value = Story> {
    let earlier = prop::option::of((request(), prop_oneof![0..12u64, 0..400u64]));
    let attempts = prop::collection::vec(attempt(), 0..8);
    let key = (prop::sample::select(KeyState::ALL.to_vec()), prop_oneof![Just(7u64), Just(30)], 0..60u64);
    (request(), key, earlier, attempts, any::<bool>()).prop_map(
        |(request, (state, pending_days, passes_in), earlier, attempts, aborted)| Story {
            request,
            state,
            pending_days,
            passes_at: START + passes_in,
            earlier: earlier.filter(|_| !state.passes()),
            attempts,
            aborted,
        },
    )
}

/// The task as the leader remembers it, and the truth.
struct Run<'a> {
    story: &'a Story,
    kms: Kms,
    now: At,
    /// When its last doubtful try ended.
    doubt: Option<At>,
    /// A call of the task changed the key.
    changed: bool,
    /// KMS confirmed a call of the task.
    confirmed: bool,
}

impl<'a> Run<'a> {
    fn new(story: &'a Story) -> Self {
        let day = 24 * 60 * 60;
        let deletion_date = story.state.is_pending_deletion().then(|| date(START + story.pending_days * day));
        let mut kms = Kms::new(Key { state: story.state, deletion_date, policy: String::new() }, story.passes_at);
        if let Some((request, ago)) = &story.earlier {
            // Refused or not: it counts as sent.
            let _answer = kms.call(request, START - ago);
        }
        Self { story, kms, now: START, doubt: None, changed: false, confirmed: false }
    }

    fn leave(&self, acting: bool) -> Leave {
        let trust_reading = self.story.earlier.as_ref().is_none_or(|(request, ago)| {
            !request.contradicts(&self.story.request) || self.now - (START - ago) >= WRITE_MEMORY.as_secs()
        });
        let doubt = self.doubt.map(|at| Duration::from_secs(self.now - at));
        Leave { acting, doubted: Leave::doubted(doubt, trust_reading), trust_reading }
    }

    fn read(&mut self, reading: Reading) -> Result<job_model::Observed, Failure> {
        match reading {
            Reading::Lags(lag) => Ok(self.kms.read(&self.story.request, self.now, lag)),
            Reading::Throttled => Err(Failure::Refused(refusal("ThrottlingException", 400))),
            Reading::Unanswered => Err(Failure::Unanswered("reset".to_owned())),
            Reading::Void => Err(Failure::Void),
        }
    }

    fn change(&mut self) -> Result<(), Failure> {
        self.changed |= self.kms.call(&self.story.request, self.now).map_err(Failure::Refused)?;
        Ok(())
    }

    /// `None` when the worker is lost.
    fn call(&mut self, call: Call) -> Option<Result<(), Failure>> {
        Some(match call {
            Call::Answered => {
                let answer = self.change();
                self.confirmed |= answer.is_ok();
                answer
            }
            Call::Throttled => Err(Failure::Refused(refusal("ThrottlingException", 400))),
            Call::LimitExceeded => Err(Failure::Refused(refusal("LimitExceededException", 400))),
            Call::Unsent => Err(Failure::Unsent("refused".to_owned())),
            Call::Void => Err(Failure::Void),
            Call::Fault { done } => {
                if done && let Err(refused) = self.change() {
                    return Some(Err(refused));
                }
                Err(Failure::Refused(refusal("KMSInternalException", 500)))
            }
            Call::Unanswered { done } => {
                if done {
                    let _lost = self.change();
                }
                self.now += OPERATION_TIMEOUT;
                Err(Failure::Unanswered("timeout".to_owned()))
            }
            Call::Lost { done } => {
                if done {
                    let _lost = self.change();
                }
                return None;
            }
        })
    }

    /// One Go. `None` when the task must try again.
    fn attempt(&mut self, attempt: Attempt) -> Option<Told> {
        self.now += attempt.pause;
        let story = self.story;
        let mut run = Try::new(&story.request, self.leave(attempt.acting));
        let first = self.read(attempt.first);
        let mut step = run.observed(first, date(self.now));
        loop {
            step = match step {
                Step::Act => match self.call(attempt.call) {
                    Some(answer) => run.acted(answer),
                    None => {
                        self.now += LEASE + OPERATION_TIMEOUT;
                        self.doubt = Some(self.now);
                        return None;
                    }
                },
                Step::Observe => {
                    let second = self.read(attempt.second);
                    run.observed(second, date(self.now))
                }
                Step::Done(Outcome::Succeeded { already }) => return Some(Told::Succeeded { already }),
                Step::Done(Outcome::Refused(_)) => return Some(Told::Refused),
                Step::Done(Outcome::Foretold(forecast)) => panic!("a try does not foretell: {forecast:?}"),
                Step::Done(Outcome::Unstarted) => return None,
                Step::Done(Outcome::Again { reason, .. }) => {
                    if reason.doubtful() {
                        self.doubt = Some(self.now);
                    }
                    return None;
                }
            };
        }
    }

    /// The job is aborted and drained: what is doubtful is looked at when reads have caught up.
    fn settle(&mut self) -> Told {
        let Some(doubt) = self.doubt else { return Told::Canceled };
        self.now = self.now.max(doubt + READ_LAG.as_secs());
        let seen = self.kms.read(&self.story.request, self.now, READ_LAG.as_secs() - 1);
        match plan(&self.story.request, &seen, date(self.now)) {
            Plan::AlreadyThere => Told::Succeeded { already: false },
            Plan::Act | Plan::Impossible(_) => Told::Canceled,
        }
    }
}

/// KMS is well, and its reads are at their slowest.
const WELL: Attempt = Attempt {
    pause: 5,
    acting: true,
    first: Reading::Lags(READ_LAG.as_secs() - 1),
    call: Call::Answered,
    second: Reading::Lags(READ_LAG.as_secs() - 1),
};

proptest! {
    #![proptest_config(ProptestConfig { cases: 5_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_task_ends_in_a_true_status(story in story()) {
        let mut run = Run::new(&story);
        let mut told = story.attempts.iter().find_map(|attempt| run.attempt(*attempt));
        if told.is_none() && story.aborted {
            told = Some(run.settle());
        }
        // 500 s: longer than what passes, and than the memory of writes.
        let told = told.or_else(|| (0..100).find_map(|_| run.attempt(WELL)));
        match told {
            Some(Told::Succeeded { already }) => {
                let there = run.kms.was_as_asked(&story.request, START, run.now);
                prop_assert!(run.confirmed || there, "success, and the key was never as asked");
                prop_assert!(!(already && run.doubt.is_none() && run.changed), "already, and it was this task");
            }
            Some(Told::Refused) => prop_assert!(!run.changed, "refused, and the task changed the key"),
            Some(Told::Canceled) => prop_assert!(!run.changed, "canceled, and the task changed the key"),
            None => prop_assert!(false, "KMS is well, and the task does not end"),
        }
    }
}
