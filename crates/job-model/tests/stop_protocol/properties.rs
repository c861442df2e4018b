//! What must hold in every state, and what must be possible so that nothing holds for want of behaviour.

use job_model::TaskState;
use stateright::Property;

use crate::{
    model::Protocol,
    state::{Dispatched, Phase, State, Try, asked},
};

/// P1: no request of a finished job is sent.
pub(crate) const NOTHING_SENT: &str = "nothing is sent after the end";
/// P1: no request of a finished job takes effect.
pub(crate) const NO_EFFECT: &str = "nothing takes effect after the end";
/// P4: `Canceled` is only told when no request of the job changed the key, then or later.
pub(crate) const CANCELED_IS_TRUE: &str = "canceled means unchanged";
/// P4: `Success` is only told when the key was in the asked state since the job was posted.
pub(crate) const SUCCESS_IS_TRUE: &str = "success means the key was there";
/// Of two contradictory jobs, one posted after the other ended, the last success is the key's state.
pub(crate) const LAST_JOB_WINS: &str = "the last success is the key's state";
/// A Go is exclusive per key over all jobs.
pub(crate) const ONE_REQUEST: &str = "one request per key is under way";

/// The properties of a world.
pub(crate) fn of(protocol: &Protocol) -> Vec<Property<Protocol>> {
    let mut properties = vec![
        Property::always(NOTHING_SENT, |_, s: &State| !s.sent_after_end),
        Property::always(NO_EFFECT, |_, s: &State| !s.effect_after_end),
        Property::always(CANCELED_IS_TRUE, |_, s: &State| {
            s.jobs.iter().all(|job| job.task != TaskState::Canceled || !job.changed_key)
        }),
        Property::always(SUCCESS_IS_TRUE, |_, s: &State| {
            s.jobs.iter().all(|job| job.task != TaskState::Succeeded || job.was_there)
        }),
        Property::always(LAST_JOB_WINS, |_, s: &State| {
            let last = s.jobs.iter().rposition(|job| job.task == TaskState::Succeeded);
            let ended = s.jobs.iter().all(|job| job.state.is_none() || job.finished());
            !ended || last.is_none_or(|job| s.key == asked(job))
        }),
        Property::always(ONE_REQUEST, |_, s: &State| s.requests.len() <= 1),
        Property::sometimes("a job ends in success", |_, s: &State| {
            s.jobs[0].finished() && s.jobs[0].task == TaskState::Succeeded && !s.jobs[0].command
        }),
    ];
    properties.extend(reachable(protocol));
    properties
}

/// What must be possible, so that nothing above holds for want of behaviour.
fn reachable(protocol: &Protocol) -> Vec<Property<Protocol>> {
    let mut some = Vec::new();
    if protocol.cancels[0] {
        some.push(Property::sometimes("an aborted job ends with its key untouched", |_, s: &State| {
            s.jobs[0].finished() && s.jobs[0].task == TaskState::Canceled
        }));
        some.push(Property::sometimes(
            "a canceled task had a request under way that never took effect",
            |_, s: &State| s.jobs[0].task == TaskState::Canceled && s.jobs[0].doubt,
        ));
        some.push(Property::sometimes("a look finds a doubtful key changed", |_, s: &State| {
            s.jobs[0].look == Some(true) && s.jobs[0].changed_key
        }));
        some.push(Property::sometimes("a job is finished while a worker holds a void Go of it", |_, s: &State| {
            let void = |t: &Option<Try>| matches!(t, Some(Try { phase: Phase::Held { void: true }, .. }));
            s.jobs[0].finished() && s.workers.iter().any(|w| w.lease > 0 && void(&w.tries[0]))
        }));
    }
    if protocol.jobs == 2 {
        some.push(Property::sometimes("both jobs succeed", |_, s: &State| {
            s.jobs.iter().all(|job| job.finished() && job.task == TaskState::Succeeded)
        }));
    }
    if protocol.faults.takeovers > 0 {
        some.push(Property::sometimes("a new leader ends what the old one dispatched", |_, s: &State| {
            s.jobs[0].finished() && s.jobs[0].dispatched == Dispatched::ByOldLeader
        }));
    }
    some
}
