//! CreateKey, for symmetric encryption keys.

use std::sync::{Mutex, PoisonError};

use super::{
    Answer, Context, json,
    metadata::{Described, Metadata},
    policy_check, tags,
    update_key_description::checked_description,
};
use crate::{
    error::{ErrorCode, KmsError},
    input::Input,
    store::{Key, KeyState, Version},
};

pub(super) fn create_key(context: &Context<'_>, input: &Input) -> Answer {
    let spec = input.key_spec.as_deref().or(input.customer_master_key_spec.as_deref());
    only(spec, "SYMMETRIC_DEFAULT")?;
    only(input.key_usage.as_deref(), "ENCRYPT_DECRYPT")?;
    let state = match input.origin.as_deref() {
        None | Some("AWS_KMS") => KeyState::Enabled,
        Some("EXTERNAL") => KeyState::PendingImport,
        Some(origin) => return Err(unsupported(origin)),
    };
    let mut version = Version::new(state);
    version.description = checked_description(input.description.as_deref().unwrap_or_default())?;
    if let Some(policy) = input.policy.as_deref() {
        policy_check::check(policy, context.scope, input.bypass_policy_lockout_safety_check.unwrap_or(false))?;
        version.policy = Some(context.policies.share(policy));
    }
    version.tags = tags::added(None, input.tags.as_deref().unwrap_or_default())?;

    let multi_region = input.multi_region.unwrap_or(false);
    let id = new_id(multi_region);
    let mut key = Key::new(version, context.wall_ns, context.now);
    key.multi_region = multi_region;
    let answer = json(&Described { key_metadata: Metadata::new(context.scope, &id, &key, key.now()) })?;
    let mut keys = context.scope.keys.write().unwrap_or_else(PoisonError::into_inner);
    keys.insert(id.into_boxed_str(), Mutex::new(key));
    Ok(answer)
}

/// The id of a new key: a UUID, or in its own form where the key can have replicas.
fn new_id(multi_region: bool) -> String {
    let id = uuid::Uuid::new_v4();
    if multi_region { format!("mrk-{}", id.simple()) } else { id.to_string() }
}

fn only(given: Option<&str>, supported: &str) -> Result<(), KmsError> {
    match given {
        Some(other) if other != supported => Err(unsupported(other)),
        Some(_) | None => Ok(()),
    }
}

fn unsupported(what: &str) -> KmsError {
    let message = format!("kms-sim makes no keys of {what}; only symmetric encryption keys.");
    KmsError::new(ErrorCode::UnsupportedOperation, message)
}
