//! EnableKey and DisableKey.

use super::{Answer, Context};
use crate::{
    input::Input,
    store::{KeyState, Version},
};

pub(super) fn enable_key(context: &Context<'_>, input: &Input) -> Answer {
    set_enabled(context, input, true)
}

pub(super) fn disable_key(context: &Context<'_>, input: &Input) -> Answer {
    set_enabled(context, input, false)
}

fn set_enabled(context: &Context<'_>, input: &Input, enable: bool) -> Answer {
    context.write(input, |id, key| {
        let next = next(key.now().state, enable).map_err(|state| context.invalid_state(id, state))?;
        let changed = next != key.now().state || next == KeyState::Unavailable;
        let change = move |version: &mut Version| {
            version.state = next;
            version.enabled_when_available = enable;
        };
        Ok((changed.then_some(change), Vec::new()))
    })
}

/// The state afterwards, or the state that forbids it. A key that is unavailable stays so; the wish is remembered.
fn next(state: KeyState, enable: bool) -> Result<KeyState, KeyState> {
    match state {
        KeyState::Enabled | KeyState::Disabled => Ok(if enable { KeyState::Enabled } else { KeyState::Disabled }),
        KeyState::Unavailable => Ok(KeyState::Unavailable),
        KeyState::PendingDeletion
        | KeyState::PendingReplicaDeletion
        | KeyState::PendingImport
        | KeyState::Creating
        | KeyState::Updating => Err(state),
    }
}
