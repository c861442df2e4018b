//! The stop protocol, checked by walking every order in which things can happen.
//!
//! **Problem.** When a cancel answers 200, no request of the job may be sent any more, by anyone, and every status must
//! be true for ever. In between stand messages that come late, twice or never, workers and leaders that die or freeze at
//! any moment, and KMS, which does a request late and loses its answer.
//!
//! **Protocol**, in the words of `workers.proto`:
//! - A worker begins KMS requests only under a live *lease* and a *Go*. The leader renews leases in two steps: it extends
//!   the lease, then reads the aborted jobs and sends both as a Lease (rule 1). The worker counts the lease from before
//!   its heartbeat was sent, so it never thinks it longer than the leader does.
//! - A delivery is only an offer, which may come late, repeatedly, to anyone: the worker asks (Start) and the leader
//!   answers Go, or Never, or lets it wait (rule 4). One Go is one try, exclusive per key over all jobs.
//! - A Go is void once the lease it came under has lapsed, though the lease be renewed, or once the abort flag is set. It
//!   is freed by its report, or by lease end plus operation timeout (rule 5).
//! - A try: observe, decide, check flag, lease and Go, act. The request takes effect at any moment until the operation
//!   timeout, or never; the answer may be lost. Reports are kept and sent again until acknowledged.
//! - To abort, the leader commits it, then publishes it to the renewals, then reads the leases and notes for the job's
//!   open Go the deadline lease end plus operation timeout (rule 2). A worker whose lease is renewed later hears of the
//!   abort by that, and one whose lease is not is through by the deadline. When every open Go is reported or past its
//!   deadline the job is *drained*, and what is left is *settled*: canceled, but what is doubtful is looked at first and
//!   told as found (rule 3). Then the job is finished, and the cancel answers 200.
//! - A standby takes over when the old term is over; leases never outlive the term. It counts all workers of the old
//!   leader as one whose lease ended with that term, and gives no Go for keys dispatched before it until that and the
//!   operation timeout are over (rule 6). All that was dispatched before it is doubtful.
//!
//! **Model.** Time is a set of countdowns. Steps whose order the rules fix are apart, all else a process does at once is
//! one step. Messages whose loss or delay can only help are not modelled (StopAck, Start, the heartbeat's delay), nor is
//! the broker: a dispatched task may be offered at any time. Each world is small and its walk exhaustive. Each rule can be
//! taken away, and then a broken promise must be found: `cargo test -p job-model --test stop_protocol -- --nocapture`
//! prints how. `MODEL=full` walks larger worlds as well, for some minutes.

#[path = "stop_protocol/leader.rs"]
mod leader;
#[path = "stop_protocol/liveness.rs"]
mod liveness;
#[path = "stop_protocol/model.rs"]
mod model;
#[path = "stop_protocol/properties.rs"]
mod properties;
#[path = "stop_protocol/state.rs"]
mod state;
#[path = "stop_protocol/worker.rs"]
mod worker;
#[path = "stop_protocol/world.rs"]
mod world;

use std::collections::BTreeSet;

use job_model::KeyState;
use model::{Bounds, Faults, Protocol, Rules};
use properties::{CANCELED_IS_TRUE, LAST_JOB_WINS, NO_EFFECT, NOTHING_SENT};
use stateright::{Checker, HasDiscoveries, Model};

/// Two workers, one job that may be canceled. A worker may fall silent for ever at any point.
const STOP: Protocol = Protocol {
    rules: Rules::ALL,
    bounds: Bounds { lease: 2, operation_timeout: 1, term: 2 },
    keys: &[KeyState::Enabled],
    workers: 2,
    jobs: 1,
    cancels: [true, false],
    faults: Faults { worker_crashes: 0, takeovers: 0, broken_sessions: false, lost_acks: false, fast_aborts: false },
    frames: 1,
    alike: true,
    overlap: false,
};
/// Two workers, two contradictory jobs, one posted after the other ended; nobody cancels.
const CONTRADICTION: Protocol = Protocol { jobs: 2, cancels: [false, false], ..STOP };
/// Two workers, one job, and a standby that takes over once.
const FAILOVER: Protocol = Protocol { faults: Faults { takeovers: 1, ..STOP.faults }, ..STOP };
/// Everything that can go wrong at once, with one worker, which may die and come back.
const TROUBLE: Protocol = Protocol {
    workers: 1,
    keys: &[KeyState::Enabled, KeyState::Disabled],
    faults: Faults { worker_crashes: 1, takeovers: 0, broken_sessions: true, lost_acks: true, fast_aborts: true },
    frames: 2,
    ..STOP
};
/// The same with two contradictory jobs, both of which may be canceled.
const TROUBLE_OF_TWO_JOBS: Protocol = Protocol { jobs: 2, cancels: [true, true], ..TROUBLE };
/// The same with a standby.
const TROUBLE_AND_FAILOVER: Protocol = Protocol { faults: Faults { takeovers: 1, ..TROUBLE.faults }, ..TROUBLE };

/// Walks all states; nothing that must hold is broken, and all that must be possible is.
fn holds(name: &str, protocol: Protocol, at_least: usize) {
    let walk = protocol.checker().threads(2).finish_when(HasDiscoveries::AnyFailures).spawn_bfs().join();
    println!("{name}: {} states, {} steps, {} deep", walk.unique_state_count(), walk.state_count(), walk.max_depth());
    walk.assert_properties();
    assert!(walk.is_done());
    assert!(walk.unique_state_count() > at_least, "the model has shrunk: is something no longer possible?");
}

/// With a rule taken away `property` is broken; prints how.
fn breaks(property: &'static str, protocol: Protocol) {
    let rules = protocol.rules;
    let found = HasDiscoveries::AnyOf(BTreeSet::from([property]));
    let walk = protocol.checker().finish_when(found).spawn_bfs().join();
    let path = walk.discovery(property).unwrap_or_else(|| panic!("nothing breaks {property:?} with {rules:?}"));
    println!("{property:?} is broken by {:?}", path.into_actions());
}

/// `STOP` and the like, with rules taken away. The workers keep their names, so that the trace reads well.
fn without(protocol: Protocol, take_away: impl FnOnce(&mut Rules)) -> Protocol {
    let mut rules = Rules::ALL;
    take_away(&mut rules);
    Protocol { rules, alike: false, ..protocol }
}

#[test]
fn a_stop_over_two_workers_holds() {
    holds("stop", STOP, 300_000);
}

#[test]
fn the_last_of_two_contradictory_jobs_wins() {
    holds("contradiction", CONTRADICTION, 200_000);
}

#[test]
fn a_takeover_keeps_every_promise() {
    holds("failover", FAILOVER, 1_000_000);
}

#[test]
fn trouble_of_every_kind_breaks_nothing() {
    holds("trouble", TROUBLE, 30_000);
    holds("trouble and failover", TROUBLE_AND_FAILOVER, 150_000);
}

#[test]
fn trouble_of_every_kind_with_two_jobs_breaks_nothing() {
    holds("trouble of two jobs", TROUBLE_OF_TWO_JOBS, 800_000);
}

#[test]
fn whatever_happens_every_job_can_end() {
    liveness::can_always_end(&TROUBLE);
    liveness::can_always_end(&TROUBLE_AND_FAILOVER);
}

#[test]
fn larger_worlds_hold_when_asked_for() {
    if std::env::var("MODEL").is_ok_and(|model| model == "full") {
        let longer = Bounds { lease: 3, operation_timeout: 2, term: 3 };
        holds("stop, longer spans", Protocol { bounds: longer, ..STOP }, 1_000_000);
        holds("trouble, longer spans", Protocol { bounds: longer, ..TROUBLE_AND_FAILOVER }, 400_000);
        holds("contradiction with a cancel", Protocol { cancels: [true, false], ..CONTRADICTION }, 3_000_000);
    }
}

#[test]
fn rule_1_extend_the_lease_then_read_the_aborted_jobs() {
    breaks(NO_EFFECT, without(STOP, |rules| rules.extend_before_reading_aborts = false));
    breaks(CANCELED_IS_TRUE, without(STOP, |rules| rules.extend_before_reading_aborts = false));
}

#[test]
fn rule_2_publish_the_abort_then_read_the_leases() {
    breaks(NOTHING_SENT, without(STOP, |rules| rules.publish_abort_before_reading_leases = false));
    breaks(CANCELED_IS_TRUE, without(STOP, |rules| rules.publish_abort_before_reading_leases = false));
}

#[test]
fn rule_3_look_before_telling_a_doubtful_task() {
    breaks(CANCELED_IS_TRUE, without(STOP, |rules| rules.look_before_telling_doubt = false));
}

#[test]
fn rule_4_nothing_without_a_go() {
    breaks(NOTHING_SENT, without(STOP, |rules| rules.nothing_without_go = false));
    breaks(LAST_JOB_WINS, without(CONTRADICTION, |rules| rules.nothing_without_go = false));
}

#[test]
fn rule_5_a_go_dies_with_its_lease_and_is_freed_only_after_the_operation_timeout() {
    breaks(NOTHING_SENT, without(CONTRADICTION, |rules| rules.go_dies_with_lease = false));
    breaks(NO_EFFECT, without(STOP, |rules| rules.go_freed_after_timeout = false));
    breaks(LAST_JOB_WINS, without(CONTRADICTION, |rules| rules.go_freed_after_timeout = false));
}

#[test]
fn rule_6_a_new_leader_waits_for_the_workers_of_the_old_one() {
    breaks(NO_EFFECT, without(FAILOVER, |rules| rules.new_leader_waits = false));
    breaks(CANCELED_IS_TRUE, without(FAILOVER, |rules| rules.new_leader_waits = false));
}

#[test]
fn an_unanswered_try_is_told_only_after_the_operation_timeout() {
    breaks(LAST_JOB_WINS, without(CONTRADICTION, |rules| rules.unanswered_told_after_timeout = false));
    breaks(CANCELED_IS_TRUE, without(STOP, |rules| rules.unanswered_told_after_timeout = false));
}

#[test]
fn a_job_finishes_only_when_no_go_of_it_is_open() {
    breaks(NOTHING_SENT, without(CONTRADICTION, |rules| rules.finish_after_open_gos = false));
}

/// Not promised: while unfinished jobs overlap on a key, the one may undo what an unanswered try of the other did before
/// that is looked at, and the look tells what is found.
#[test]
fn jobs_that_overlap_on_a_key_are_the_limit_that_the_docs_name() {
    breaks(CANCELED_IS_TRUE, Protocol { jobs: 2, overlap: true, alike: false, ..STOP });
}
