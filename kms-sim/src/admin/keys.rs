//! Keys by the thousand, in any state, without quotas: what a test or a benchmark begins with.

use std::sync::{Mutex, PoisonError};

use job_model::{Moment, key::is_account};
use serde::Deserialize;

use crate::{
    core::Core,
    store::{Key, KeyState, Version},
};

/// Keys made at most at once.
const MOST: usize = 10_000_000;

/// Keys inserted under one lock: requests get their turn in between.
const BATCH: usize = 4096;

/// AWS's waiting period when none is given, in days.
const WINDOW_DAYS: u32 = 30;
const DAY_NS: u64 = 24 * 60 * 60 * 1_000_000_000;

/// Keys to be there.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewKeys {
    /// How many, with ids made up for them. Left out where `ids` are given, else 1.
    pub count: Option<usize>,
    /// Keys with these ids. Those that are there already get the state, as if somebody else had changed them.
    #[serde(default)]
    pub ids: Vec<String>,
    /// Their state. Left out: new keys are Enabled; of keys that are there already a passing state passes (Creating and
    /// Updating to Enabled, Unavailable to what was last asked for), and other states stay.
    pub state: Option<KeyState>,
    /// Their account; the default account if left out.
    pub account: Option<String>,
    /// Their Region; the default Region if left out.
    pub region: Option<String>,
    /// The waiting period of keys that are pending deletion, in days; 30 if left out. It may be any, so that a key is
    /// deleted soon.
    pub window_days: Option<u32>,
}

/// There can be no such keys.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidKeys {
    /// An account has 12 digits.
    #[error("account: an account has 12 digits, {0:?} has not")]
    Account(String),
    /// More would not fit into memory.
    #[error("count: at most {MOST} keys at once, not {0}")]
    TooMany(usize),
    /// An ARN, an alias or nothing.
    #[error("ids: {0:?} is no bare key id")]
    Id(String),
}

/// Makes the keys be there, and answers their ids.
pub(crate) fn make_keys(core: &Core, new: NewKeys) -> Result<Vec<String>, InvalidKeys> {
    let account = new.account.as_deref().unwrap_or(core.accounts.default_account());
    if !is_account(account) {
        return Err(InvalidKeys::Account(account.to_owned()));
    }
    let region = new.region.as_deref().unwrap_or(&core.default_region);
    let mut ids = new.ids;
    let count = new.count.unwrap_or(if ids.is_empty() { 1 } else { ids.len() });
    if count > MOST {
        return Err(InvalidKeys::TooMany(count));
    }
    if let Some(id) = ids.iter().find(|id| id.is_empty() || id.contains([':', '/'])) {
        return Err(InvalidKeys::Id(id.clone()));
    }
    let more = count.saturating_sub(ids.len());
    ids.extend((0..more).map(|_| uuid::Uuid::new_v4().to_string()));

    let scope = core.scopes.get(account, region);
    let wall_ns = core.clock.wall_ns();
    let now = core.clock.moment();
    let days = new.window_days.unwrap_or(WINDOW_DAYS);
    for batch in ids.chunks(BATCH) {
        let mut keys = scope.keys.write().unwrap_or_else(PoisonError::into_inner);
        for id in batch {
            if let Some(key) = keys.get(id.as_str()) {
                let mut key = key.lock().unwrap_or_else(PoisonError::into_inner);
                let state = new.state.unwrap_or_else(|| settled(key.now()));
                key.change(now, |version| set_state(version, state, wall_ns, days));
            } else {
                let mut version = Version::new(KeyState::Enabled);
                set_state(&mut version, new.state.unwrap_or_default(), wall_ns, days);
                // Known since ever: reads that lag find it as well.
                keys.insert(id.as_str().into(), Mutex::new(Key::new(version, wall_ns, Moment::default())));
            }
        }
    }
    Ok(ids)
}

fn set_state(version: &mut Version, state: KeyState, wall_ns: u64, days: u32) {
    version.state = state;
    (version.deletion_ns, version.window_days) = match state {
        KeyState::PendingDeletion => (Some((wall_ns + u64::from(days) * DAY_NS) / 1_000_000 * 1_000_000), Some(days)),
        KeyState::PendingReplicaDeletion => (None, Some(days)),
        KeyState::Enabled
        | KeyState::Disabled
        | KeyState::PendingImport
        | KeyState::Unavailable
        | KeyState::Creating
        | KeyState::Updating => (None, None),
    };
}

/// Where a passing state leads.
fn settled(version: &Version) -> KeyState {
    match version.state {
        KeyState::Creating | KeyState::Updating => KeyState::Enabled,
        KeyState::Unavailable if version.enabled_when_available => KeyState::Enabled,
        KeyState::Unavailable => KeyState::Disabled,
        state @ (KeyState::Enabled
        | KeyState::Disabled
        | KeyState::PendingDeletion
        | KeyState::PendingImport
        | KeyState::PendingReplicaDeletion) => state,
    }
}
