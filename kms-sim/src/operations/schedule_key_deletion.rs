//! ScheduleKeyDeletion. It is not idempotent: on a key that is pending already it is refused.

use serde::Serialize;

use super::{Answer, Context, epoch_seconds, json};
use crate::{
    error::KmsError,
    input::Input,
    store::{KeyState, Version},
};

/// The waiting periods, in days (API reference, `PendingWindowInDays`).
const WINDOW: std::ops::RangeInclusive<i64> = 7..=30;
/// The waiting period when none is given.
const DEFAULT_WINDOW: i64 = 30;
const DAY_NS: u64 = 24 * 60 * 60 * 1_000_000_000;

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Scheduled {
    key_id: String,
    deletion_date: f64,
    key_state: KeyState,
    pending_window_in_days: u32,
}

pub(super) fn schedule_key_deletion(context: &Context<'_>, input: &Input) -> Answer {
    let days = window(input)?;
    // The wall clock stands for whole milliseconds in the answer, so it does in the store.
    let deletion_ns = (context.wall_ns + u64::from(days) * DAY_NS) / 1_000_000 * 1_000_000;
    context.write(input, |id, key| {
        may_be_scheduled(key.now().state).map_err(|state| context.invalid_state(id, state))?;
        let change = move |version: &mut Version| {
            version.state = KeyState::PendingDeletion;
            version.deletion_ns = Some(deletion_ns);
            version.window_days = Some(days);
        };
        let answer = json(&Scheduled {
            key_id: context.scope.key_arn(id),
            deletion_date: epoch_seconds(deletion_ns),
            key_state: KeyState::PendingDeletion,
            pending_window_in_days: days,
        })?;
        Ok((Some(change), answer))
    })
}

fn window(input: &Input) -> Result<u32, KmsError> {
    let days = input.pending_window_in_days.unwrap_or(DEFAULT_WINDOW);
    let out_of_range = |constraint: &str| {
        KmsError::validation(&format!("'{days}'"), "pendingWindowInDays", &format!("have value {constraint}"))
    };
    if days < *WINDOW.start() {
        return Err(out_of_range("greater than or equal to 7"));
    }
    if days > *WINDOW.end() {
        return Err(out_of_range("less than or equal to 30"));
    }
    u32::try_from(days).map_err(|_| out_of_range("less than or equal to 30"))
}

fn may_be_scheduled(state: KeyState) -> Result<(), KeyState> {
    match state {
        KeyState::Enabled
        | KeyState::Disabled
        | KeyState::PendingImport
        | KeyState::Unavailable
        | KeyState::Creating => Ok(()),
        KeyState::PendingDeletion | KeyState::PendingReplicaDeletion | KeyState::Updating => Err(state),
    }
}
