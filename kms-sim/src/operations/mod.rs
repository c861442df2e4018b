//! What each KMS operation does, one file for each, or for a pair that mirrors.
//!
//! Where a key's state decides, an operation has an exhaustive `match` over all states: together they are AWS's
//! key-state table (AWS KMS developer guide, "Key states").

mod alias;
mod cancel_key_deletion;
mod create_key;
mod describe_key;
mod key_policy;
mod list_keys;
mod metadata;
mod paging;
mod policy_check;
mod rotation;
mod schedule_key_deletion;
mod set_enabled;
mod tags;
mod update_key_description;

use job_model::Moment;
use serde::Serialize;

use crate::{
    error::{ErrorCode, KmsError},
    input::Input,
    operation::Operation,
    store::{Key, KeyState, Names, PolicyPool, Scope, Version},
};

/// The body of a granted request; empty for operations that answer nothing.
pub(crate) type Answer = Result<Vec<u8>, KmsError>;

/// What an operation works on.
#[derive(Debug)]
pub(crate) struct Context<'a> {
    pub(crate) op: Operation,
    pub(crate) scope: &'a Scope,
    pub(crate) policies: &'a PolicyPool,
    /// The moment it takes effect.
    pub(crate) now: Moment,
    /// The same on the wall clock, in nanoseconds since 1970.
    pub(crate) wall_ns: u64,
    /// The moment whose state reads tell.
    pub(crate) read_at: Moment,
}

/// Does what the request asks.
pub(crate) fn perform(context: &Context<'_>, input: &Input) -> Answer {
    match context.op {
        Operation::CreateKey => create_key::create_key(context, input),
        Operation::DescribeKey => describe_key::describe_key(context, input),
        Operation::ListKeys => list_keys::list_keys(context, input),
        Operation::EnableKey => set_enabled::enable_key(context, input),
        Operation::DisableKey => set_enabled::disable_key(context, input),
        Operation::ScheduleKeyDeletion => schedule_key_deletion::schedule_key_deletion(context, input),
        Operation::CancelKeyDeletion => cancel_key_deletion::cancel_key_deletion(context, input),
        Operation::GetKeyPolicy => key_policy::get_key_policy(context, input),
        Operation::PutKeyPolicy => key_policy::put_key_policy(context, input),
        Operation::ListAliases => alias::list_aliases(context, input),
        Operation::CreateAlias => alias::create_alias(context, input),
        Operation::TagResource => tags::tag_resource(context, input),
        Operation::UntagResource => tags::untag_resource(context, input),
        Operation::ListResourceTags => tags::list_resource_tags(context, input),
        Operation::EnableKeyRotation => rotation::enable_key_rotation(context, input),
        Operation::DisableKeyRotation => rotation::disable_key_rotation(context, input),
        Operation::GetKeyRotationStatus => rotation::get_key_rotation_status(context, input),
        Operation::UpdateKeyDescription => update_key_description::update_key_description(context, input),
    }
}

impl Context<'_> {
    /// Reads the key the request names, as reads see it at this moment.
    fn read<T>(
        &self,
        input: &Input,
        names: Names,
        read: impl FnOnce(&str, &Key, &Version) -> Result<T, KmsError>,
    ) -> Result<T, KmsError> {
        let id = self.scope.resolve(self.op, input.key_id()?, names)?;
        self.scope.with_key(&id, self.wall_ns, |key| {
            let version = key.at(self.read_at).ok_or_else(|| self.scope.no_such_key(&id))?;
            read(&id, key, version)
        })
    }

    /// Writes to the key the request names: `write` sees it as it is, and answers how to change it, if at all.
    fn write<T, C: FnOnce(&mut Version)>(
        &self,
        input: &Input,
        write: impl FnOnce(&str, &Key) -> Result<(Option<C>, T), KmsError>,
    ) -> Result<T, KmsError> {
        let id = self.scope.resolve(self.op, input.key_id()?, Names::OfKey)?;
        self.scope.with_key(&id, self.wall_ns, |key| {
            let (change, answer) = write(&id, key)?;
            if let Some(change) = change {
                key.change(self.now, change);
            }
            Ok(answer)
        })
    }

    /// The refusal because of the key's state.
    fn invalid_state(&self, id: &str, state: KeyState) -> KmsError {
        KmsError::new(ErrorCode::KmsInvalidState, format!("{} is {}.", self.scope.key_arn(id), state.words()))
    }

    /// What changes a key's description, tags or names needs: a key that is not on its way out, nor in the making.
    fn must_be_settled(&self, id: &str, state: KeyState) -> Result<(), KmsError> {
        match state {
            KeyState::Enabled | KeyState::Disabled | KeyState::PendingImport | KeyState::Unavailable => Ok(()),
            KeyState::PendingDeletion | KeyState::PendingReplicaDeletion | KeyState::Creating | KeyState::Updating => {
                Err(self.invalid_state(id, state))
            }
        }
    }
}

/// An answer's body.
fn json(answer: &impl Serialize) -> Answer {
    serde_json::to_vec(answer).map_err(|error| KmsError::new(ErrorCode::KmsInternal, error.to_string()))
}

/// A time as JSON 1.1 writes it: seconds since 1970, with milliseconds.
#[expect(clippy::cast_precision_loss, reason = "milliseconds since 1970 are far below 2^53")]
fn epoch_seconds(ns: u64) -> f64 {
    (ns / 1_000_000) as f64 / 1000.0
}
