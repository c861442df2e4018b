//! EnableKeyRotation, DisableKeyRotation and GetKeyRotationStatus.

use serde::Serialize;

use super::{Answer, Context, json};
use crate::{
    error::{ErrorCode, KmsError},
    input::Input,
    store::{Key, KeyState, Names, Version},
};

/// The rotation period when none is given, in days (API reference).
const PERIOD: u32 = 365;

pub(super) fn enable_key_rotation(context: &Context<'_>, input: &Input) -> Answer {
    set_rotation(context, input, true)
}

pub(super) fn disable_key_rotation(context: &Context<'_>, input: &Input) -> Answer {
    set_rotation(context, input, false)
}

fn set_rotation(context: &Context<'_>, input: &Input, rotation: bool) -> Answer {
    context.write(input, |id, key| {
        must_have_own_material(context, id, key)?;
        match key.now().state {
            KeyState::Enabled => {}
            KeyState::Disabled => {
                let message = format!("{} is disabled.", context.scope.key_arn(id));
                return Err(KmsError::new(ErrorCode::Disabled, message));
            }
            // Only keys in custom key stores can be unavailable, and those cannot rotate.
            KeyState::Unavailable => return Err(unsupported(context, id, "AWS_CLOUDHSM")),
            state @ (KeyState::PendingDeletion
            | KeyState::PendingReplicaDeletion
            | KeyState::PendingImport
            | KeyState::Creating
            | KeyState::Updating) => return Err(context.invalid_state(id, state)),
        }
        Ok((Some(move |version: &mut Version| version.rotation = rotation), Vec::new()))
    })
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Status {
    key_id: String,
    key_rotation_enabled: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    rotation_period_in_days: Option<u32>,
}

pub(super) fn get_key_rotation_status(context: &Context<'_>, input: &Input) -> Answer {
    context.read(input, Names::OfKey, |id, key, version| {
        must_have_own_material(context, id, key)?;
        // A key on its way out does not rotate; should it be kept, what was set before holds again.
        let rotates = match version.state {
            KeyState::PendingDeletion | KeyState::PendingReplicaDeletion => false,
            KeyState::Enabled
            | KeyState::Disabled
            | KeyState::PendingImport
            | KeyState::Unavailable
            | KeyState::Creating
            | KeyState::Updating => version.rotation,
        };
        json(&Status {
            key_id: context.scope.key_arn(id),
            key_rotation_enabled: rotates,
            rotation_period_in_days: rotates.then_some(PERIOD),
        })
    })
}

/// Imported key material cannot be rotated by KMS.
fn must_have_own_material(context: &Context<'_>, id: &str, key: &Key) -> Result<(), KmsError> {
    if key.external { Err(unsupported(context, id, "EXTERNAL")) } else { Ok(()) }
}

fn unsupported(context: &Context<'_>, id: &str, origin: &str) -> KmsError {
    let arn = context.scope.key_arn(id);
    let message = format!("{arn} origin is {origin} which is not valid for this operation.");
    KmsError::new(ErrorCode::UnsupportedOperation, message)
}
