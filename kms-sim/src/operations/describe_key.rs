//! DescribeKey.

use super::{
    Answer, Context, json,
    metadata::{Described, Metadata},
};
use crate::{input::Input, store::Names};

pub(super) fn describe_key(context: &Context<'_>, input: &Input) -> Answer {
    context.read(input, Names::OrAlias, |id, key, version| {
        json(&Described { key_metadata: Metadata::new(context.scope, id, key, version) })
    })
}
