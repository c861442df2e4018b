//! CancelKeyDeletion. The key is Disabled afterwards, whatever it was before it was scheduled.

use serde::Serialize;

use super::{Answer, Context, json};
use crate::{
    error::{ErrorCode, KmsError},
    input::Input,
    store::{KeyState, Version},
};

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Canceled {
    key_id: String,
}

pub(super) fn cancel_key_deletion(context: &Context<'_>, input: &Input) -> Answer {
    context.write(input, |id, key| {
        match key.now().state {
            KeyState::PendingDeletion | KeyState::PendingReplicaDeletion => {}
            KeyState::Enabled
            | KeyState::Disabled
            | KeyState::PendingImport
            | KeyState::Unavailable
            | KeyState::Creating
            | KeyState::Updating => {
                let message = format!("{} is not pending deletion.", context.scope.key_arn(id));
                return Err(KmsError::new(ErrorCode::KmsInvalidState, message));
            }
        }
        let change = |version: &mut Version| {
            version.state = KeyState::Disabled;
            version.deletion_ns = None;
            version.window_days = None;
        };
        Ok((Some(change), json(&Canceled { key_id: context.scope.key_arn(id) })?))
    })
}
