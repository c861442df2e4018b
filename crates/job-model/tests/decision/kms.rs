//! A KMS with one key, as AWS documents it: its truth, and readings that lag behind.

use std::time::Duration;

use job_model::{KeyState, Observed, Plan, Refusal, Request, operation::Aspect, plan::plan};
use time::OffsetDateTime;

/// What KMS does with a request in a key state: AWS's table "Key states of AWS KMS keys".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    Becomes(KeyState),
    NoChange,
    /// The key store is away: KMS says yes, and the key changes when the store is back.
    TakesEffectLater,
    InvalidState,
}

pub(crate) fn answer(request: &Request, state: KeyState) -> Answer {
    use KeyState as K;
    match (request, state) {
        (Request::EnableKey, K::Enabled) | (Request::DisableKey, K::Disabled) => Answer::NoChange,
        (Request::EnableKey, K::Disabled) => Answer::Becomes(K::Enabled),
        (Request::DisableKey, K::Enabled) => Answer::Becomes(K::Disabled),
        (Request::EnableKey | Request::DisableKey, K::Unavailable) => Answer::TakesEffectLater,
        (
            Request::EnableKey | Request::DisableKey,
            K::PendingDeletion | K::PendingReplicaDeletion | K::PendingImport | K::Creating | K::Updating,
        ) => Answer::InvalidState,
        (
            Request::ScheduleKeyDeletion { .. },
            K::Enabled | K::Disabled | K::PendingImport | K::Unavailable | K::Creating,
        ) => Answer::Becomes(K::PendingDeletion),
        (Request::ScheduleKeyDeletion { .. }, K::PendingDeletion | K::PendingReplicaDeletion | K::Updating) => {
            Answer::InvalidState
        }
        (Request::CancelKeyDeletion, K::PendingDeletion | K::PendingReplicaDeletion) => Answer::Becomes(K::Disabled),
        (
            Request::CancelKeyDeletion,
            K::Enabled | K::Disabled | K::PendingImport | K::Unavailable | K::Creating | K::Updating,
        ) => Answer::InvalidState,
        (Request::ApplyPolicy { .. }, _) => Answer::NoChange,
    }
}

/// A moment, in seconds.
pub(crate) type At = u64;

pub(crate) fn date(at: At) -> OffsetDateTime {
    OffsetDateTime::UNIX_EPOCH + Duration::from_secs(at)
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Key {
    pub(crate) state: KeyState,
    pub(crate) deletion_date: Option<OffsetDateTime>,
    pub(crate) policy: String,
}

/// The key through time.
#[derive(Debug)]
pub(crate) struct Kms {
    /// What the key was from each moment on; the first is from ever.
    truth: Vec<(At, Key)>,
    /// When `Creating` or `Updating` passes.
    passes_at: At,
}

impl Kms {
    pub(crate) fn new(key: Key, passes_at: At) -> Self {
        Self { truth: vec![(0, key)], passes_at }
    }

    fn at(&self, at: At) -> &Key {
        let (_, key) = self.truth.iter().rev().find(|(since, _)| *since <= at).unwrap_or(&self.truth[0]);
        key
    }

    /// Lets what passes pass.
    fn settle(&mut self, now: At) {
        let (_, last) = self.truth.last().expect("it begins with one");
        if last.state.passes() && self.passes_at <= now {
            let key = Key { state: KeyState::Enabled, ..last.clone() };
            self.truth.push((self.passes_at, key));
        }
    }

    /// A reading that lags `lag` seconds behind.
    pub(crate) fn read(&mut self, request: &Request, now: At, lag: At) -> Observed {
        self.settle(now);
        let key = self.at(now.saturating_sub(lag));
        match request.aspect() {
            Aspect::Policy => Observed::Policy(key.policy.clone()),
            Aspect::State => Observed::State { state: key.state, deletion_date: key.deletion_date },
        }
    }

    /// Does a request, or refuses it; says whether it changed the key.
    pub(crate) fn call(&mut self, request: &Request, now: At) -> Result<bool, Refusal> {
        self.settle(now);
        let mut key = self.at(now).clone();
        match answer(request, key.state) {
            Answer::InvalidState => return Err(refusal("KMSInvalidStateException", 400)),
            Answer::NoChange | Answer::TakesEffectLater => {}
            Answer::Becomes(state) => key.state = state,
        }
        key.deletion_date = match request {
            Request::ScheduleKeyDeletion { days } => Some(date(now + u64::from(*days) * 24 * 60 * 60)),
            Request::CancelKeyDeletion => None,
            Request::EnableKey | Request::DisableKey | Request::ApplyPolicy { .. } => key.deletion_date,
        };
        if let Request::ApplyPolicy { policy } = request {
            key.policy = policy.to_string();
        }
        let changed = key != *self.at(now);
        if changed {
            self.truth.push((now, key));
        }
        Ok(changed)
    }

    /// Whether the key was in the state that `request` asks for at any moment since `start`.
    pub(crate) fn was_as_asked(&mut self, request: &Request, start: At, now: At) -> bool {
        self.settle(now);
        let moments = self.truth.iter().map(|(since, _)| (*since).max(start)).collect::<Vec<_>>();
        moments.into_iter().any(|at| plan(request, &self.read(request, at, 0), date(at)) == Plan::AlreadyThere)
    }
}

pub(crate) fn refusal(code: &str, status: u16) -> Refusal {
    Refusal { code: code.to_owned(), text: String::new(), status }
}
