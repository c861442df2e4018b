//! The decision core: observe, decide, act.
//!
//! Every try of a task walks one [`Try`]: it says which request to make next and is told the answer. The worker makes
//! the requests; what they mean is decided here. The rules:
//! - a key seen in the asked state costs no call, unless a recent write of ours asked for something else (KMS reads
//!   may lag its writes) or the caller forces it;
//! - in doubt, act: KMS's own answer decides;
//! - after a refusal that the reading did not foretell, look once more: an earlier, unanswered try may have done it, or
//!   the reading was an old one.

use std::{str::FromStr, time::Duration};

use time::OffsetDateTime;

use crate::{
    Request,
    outcome::{AgainReason, Failure, Meaning, Outcome, Refusal},
};

/// How far KMS's reads are taken to lag its writes at the most when a refusal is weighed against an unanswered try.
pub const READ_LAG: Duration = Duration::from_secs(10);

/// How far the deletion date of a pending key may lie from the asked one to count as the same.
const DATE_TOLERANCE: Duration = Duration::from_secs(24 * 60 * 60);

/// AWS's key states (developer guide, "Key states of AWS KMS keys").
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum KeyState {
    /// Usable.
    Enabled,
    /// Not usable until enabled.
    Disabled,
    /// Will be deleted at its deletion date.
    PendingDeletion,
    /// A multi-Region primary that waits for its replicas' deletion.
    PendingReplicaDeletion,
    /// Has no key material yet.
    PendingImport,
    /// Its custom key store is disconnected.
    Unavailable,
    /// Being made; passes.
    Creating,
    /// Being changed by AWS; passes.
    Updating,
}

impl KeyState {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Enabled,
        Self::Disabled,
        Self::PendingDeletion,
        Self::PendingReplicaDeletion,
        Self::PendingImport,
        Self::Unavailable,
        Self::Creating,
        Self::Updating,
    ];

    /// AWS's word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Enabled => "Enabled",
            Self::Disabled => "Disabled",
            Self::PendingDeletion => "PendingDeletion",
            Self::PendingReplicaDeletion => "PendingReplicaDeletion",
            Self::PendingImport => "PendingImport",
            Self::Unavailable => "Unavailable",
            Self::Creating => "Creating",
            Self::Updating => "Updating",
        }
    }

    /// Waits for its deletion.
    pub const fn is_pending_deletion(self) -> bool {
        match self {
            Self::PendingDeletion | Self::PendingReplicaDeletion => true,
            Self::Enabled
            | Self::Disabled
            | Self::PendingImport
            | Self::Unavailable
            | Self::Creating
            | Self::Updating => false,
        }
    }

    /// Ends by itself within moments.
    pub const fn passes(self) -> bool {
        match self {
            Self::Creating | Self::Updating => true,
            Self::Enabled
            | Self::Disabled
            | Self::PendingDeletion
            | Self::PendingReplicaDeletion
            | Self::PendingImport
            | Self::Unavailable => false,
        }
    }
}

/// AWS has a key state that this program does not know.
#[derive(Debug, thiserror::Error)]
#[error("unknown key state {0:?}")]
pub struct UnknownKeyState(pub String);

impl FromStr for KeyState {
    type Err = UnknownKeyState;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|s| s.as_str() == text).ok_or_else(|| UnknownKeyState(text.to_owned()))
    }
}

/// What a look at a key showed.
#[derive(Clone, Debug, PartialEq)]
pub enum Observed {
    /// DescribeKey's answer.
    State {
        /// The key's state.
        state: KeyState,
        /// When it will be deleted, if it is pending.
        deletion_date: Option<OffsetDateTime>,
    },
    /// GetKeyPolicy's answer, JSON text.
    Policy(String),
}

impl Observed {
    /// The word recorded as the state before; empty for a policy.
    pub const fn state_word(&self) -> &'static str {
        match self {
            Self::State { state, .. } => state.as_str(),
            Self::Policy(_) => "",
        }
    }
}

/// What the reading alone says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Plan {
    /// The call is needed.
    Act,
    /// The key is in the asked state.
    AlreadyThere,
    /// KMS will refuse.
    Impossible(&'static str),
}

/// What `request` needs of a key seen as `observed`, at the time `now`.
pub fn plan(request: &Request, observed: &Observed, now: OffsetDateTime) -> Plan {
    use KeyState as K;
    let (state, deletion_date) = match (request, observed) {
        (Request::ApplyPolicy { policy }, Observed::Policy(current)) => {
            return if same_json(policy, current) { Plan::AlreadyThere } else { Plan::Act };
        }
        (Request::ApplyPolicy { .. }, Observed::State { .. }) => return Plan::Act,
        (_, Observed::Policy(_)) => return Plan::Act,
        (_, Observed::State { state, deletion_date }) => (*state, *deletion_date),
    };
    match request {
        Request::EnableKey => match state {
            K::Enabled => Plan::AlreadyThere,
            K::Disabled | K::Unavailable => Plan::Act,
            K::PendingDeletion | K::PendingReplicaDeletion => Plan::Impossible("the key is pending deletion"),
            K::PendingImport => Plan::Impossible("the key has no key material"),
            K::Creating | K::Updating => Plan::Impossible("the key is being changed"),
        },
        Request::DisableKey => match state {
            K::Disabled => Plan::AlreadyThere,
            K::Enabled | K::Unavailable => Plan::Act,
            K::PendingDeletion | K::PendingReplicaDeletion => Plan::Impossible("the key is pending deletion"),
            K::PendingImport => Plan::Impossible("the key has no key material"),
            K::Creating | K::Updating => Plan::Impossible("the key is being changed"),
        },
        Request::ScheduleKeyDeletion { days } => match state {
            K::Enabled | K::Disabled | K::PendingImport | K::Unavailable | K::Creating => Plan::Act,
            K::PendingDeletion | K::PendingReplicaDeletion => {
                let asked = now + Duration::from_secs(u64::from(*days) * 24 * 60 * 60);
                match deletion_date {
                    Some(date) if (date - asked).unsigned_abs() <= DATE_TOLERANCE => Plan::AlreadyThere,
                    Some(_) | None => Plan::Impossible("the key is pending deletion at another date"),
                }
            }
            K::Updating => Plan::Impossible("the key is being changed"),
        },
        Request::CancelKeyDeletion => match state {
            K::PendingDeletion | K::PendingReplicaDeletion => Plan::Act,
            K::Enabled | K::Disabled | K::PendingImport | K::Unavailable | K::Creating | K::Updating => {
                Plan::AlreadyThere
            }
        },
        Request::ApplyPolicy { .. } => Plan::Act,
    }
}

/// Whether two policies say the same: compared as JSON, so that white space and the order of members do not matter.
fn same_json(left: &str, right: &str) -> bool {
    let parse = serde_json::from_str::<serde_json::Value>;
    match (parse(left), parse(right)) {
        (Ok(left), Ok(right)) => left == right,
        (Ok(_) | Err(_), Ok(_) | Err(_)) => left == right,
    }
}

/// What to do next in a try.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Read the key: DescribeKey, or GetKeyPolicy for a policy.
    Observe,
    /// Make the mutating call.
    Act,
    /// The try has ended.
    Done(Outcome),
}

/// How much of the reading a Go lets a try believe, and what it may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Leave {
    /// It may act; otherwise it only observes and decides.
    pub acting: bool,
    /// An earlier try of this task may have changed the key, and a reading cannot tell yet: see [`Leave::doubted`].
    pub doubted: bool,
    /// No write to this key in the last [`crate::WRITE_MEMORY`] asked for something else, and the job does not force.
    pub trust_reading: bool,
}

impl Leave {
    /// Whether a task is doubted whose last doubtful try ended `doubt` ago, if it had one: until KMS's reads have caught
    /// up with that try, and for as long as they are not trusted anyway.
    pub fn doubted(doubt: Option<Duration>, trust_reading: bool) -> bool {
        doubt.is_some_and(|ago| ago < READ_LAG || !trust_reading)
    }
}

/// One try of a task: a small state machine that is told answers and says the next request.
#[derive(Clone, Debug)]
pub struct Try<'a> {
    request: &'a Request,
    leave: Leave,
    foretold: bool,
    refusal: Option<Refusal>,
    state_before: &'static str,
}

impl<'a> Try<'a> {
    /// Begins; the first step is always to observe.
    pub const fn new(request: &'a Request, leave: Leave) -> Self {
        Self { request, leave, foretold: false, refusal: None, state_before: "" }
    }

    /// The key's state as first seen, in AWS's word; empty when none was seen.
    pub const fn state_before(&self) -> &'static str {
        self.state_before
    }

    /// The answer to [`Step::Observe`].
    pub fn observed(&mut self, answer: Result<Observed, Failure>, now: OffsetDateTime) -> Step {
        match self.refusal.take() {
            None => self.first_look(answer, now),
            Some(refusal) => Step::Done(self.second_look(refusal, answer, now)),
        }
    }

    fn first_look(&mut self, answer: Result<Observed, Failure>, now: OffsetDateTime) -> Step {
        match answer {
            Ok(observed) => {
                self.state_before = observed.state_word();
                match plan(self.request, &observed, now) {
                    Plan::AlreadyThere if self.leave.trust_reading => {
                        Step::Done(Outcome::Succeeded { already: !self.leave.doubted })
                    }
                    Plan::AlreadyThere | Plan::Act => self.act(),
                    Plan::Impossible(_) => {
                        self.foretold = !matches!(observed, Observed::State { state, .. } if state.passes());
                        self.act()
                    }
                }
            }
            Err(Failure::Void) => Step::Done(Outcome::Unstarted),
            Err(Failure::Unsent(why)) => Step::Done(again(AgainReason::Unavailable, no_answer("Unsent", why))),
            Err(Failure::Unanswered(why)) => Step::Done(again(AgainReason::Unavailable, no_answer("Unanswered", why))),
            Err(Failure::Refused(refusal)) => match refusal.meaning() {
                Meaning::Throttled => Step::Done(again(AgainReason::Throttled, refusal)),
                Meaning::Passing | Meaning::Unclear => Step::Done(again(AgainReason::Unavailable, refusal)),
                Meaning::Final if refusal.says_not_found() => Step::Done(Outcome::Refused(refusal)),
                // The caller may lack the right to read and still have the one to act.
                Meaning::Final | Meaning::InvalidState => self.act(),
            },
        }
    }

    fn act(&self) -> Step {
        if self.leave.acting {
            Step::Act
        } else {
            Step::Done(again(AgainReason::NeedsActing, no_answer("NeedsActing", "the call is needed".to_owned())))
        }
    }

    /// The answer to [`Step::Act`].
    pub fn acted(&mut self, answer: Result<(), Failure>) -> Step {
        match answer {
            Ok(()) => Step::Done(Outcome::Succeeded { already: false }),
            Err(Failure::Void) => Step::Done(Outcome::Unstarted),
            Err(Failure::Unsent(why)) => Step::Done(again(AgainReason::Unavailable, no_answer("Unsent", why))),
            Err(Failure::Unanswered(why)) => Step::Done(again(AgainReason::Unanswered, no_answer("Unanswered", why))),
            Err(Failure::Refused(refusal)) => match refusal.meaning() {
                Meaning::Throttled => Step::Done(again(AgainReason::Throttled, refusal)),
                Meaning::Passing => Step::Done(again(AgainReason::Unavailable, refusal)),
                Meaning::Unclear => Step::Done(again(AgainReason::Unanswered, refusal)),
                Meaning::Final if !self.leave.doubted => Step::Done(Outcome::Refused(refusal)),
                Meaning::InvalidState if self.foretold && !self.may_be_ours(&refusal) => {
                    Step::Done(Outcome::Refused(refusal))
                }
                Meaning::Final | Meaning::InvalidState => {
                    self.refusal = Some(refusal);
                    Step::Observe
                }
            },
        }
    }

    /// Whether the refusal may come from an earlier try of this task that changed the key after all. KMS refuses
    /// because of the key's state only where the asked state is one it refuses in: a key that EnableKey or DisableKey
    /// left behind would have taken the call again.
    fn may_be_ours(&self, refusal: &Refusal) -> bool {
        self.leave.doubted && (refusal.meaning() != Meaning::InvalidState || self.request.refused_when_there())
    }

    /// KMS refused this try, so it changed nothing. What it says stays doubtful only through earlier tries, which the
    /// leader remembers.
    fn second_look(&self, refusal: Refusal, answer: Result<Observed, Failure>, now: OffsetDateTime) -> Outcome {
        let observed = match answer {
            Ok(observed) => observed,
            Err(Failure::Refused(second)) if second.meaning() == Meaning::Final && !self.leave.doubted => {
                return Outcome::Refused(refusal);
            }
            Err(Failure::Refused(_) | Failure::Void | Failure::Unsent(_) | Failure::Unanswered(_)) => {
                return again(AgainReason::Unavailable, refusal);
            }
        };
        // A reading that contradicts KMS's refusal is an old one.
        let believed = match refusal.meaning() {
            Meaning::InvalidState => self.request.refused_when_there(),
            Meaning::Final | Meaning::Throttled | Meaning::Passing | Meaning::Unclear => self.leave.trust_reading,
        };
        let passes = matches!(observed, Observed::State { state, .. } if state.passes());
        match plan(self.request, &observed, now) {
            Plan::AlreadyThere if believed => Outcome::Succeeded { already: !self.leave.doubted },
            Plan::Impossible(_) if !passes && !self.may_be_ours(&refusal) => Outcome::Refused(refusal),
            Plan::AlreadyThere | Plan::Act | Plan::Impossible(_) => again(AgainReason::Unavailable, refusal),
        }
    }
}

pub(crate) fn again(reason: AgainReason, said: Refusal) -> Outcome {
    Outcome::Again { reason, said }
}

pub(crate) fn no_answer(code: &str, text: String) -> Refusal {
    Refusal { code: code.to_owned(), text, status: 0 }
}
