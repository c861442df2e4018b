//! ListKeys.

use std::{ops::Bound, sync::PoisonError};

use serde::Serialize;

use super::{Answer, Context, json, paging::Paging};
use crate::input::Input;

/// Page sizes (API reference).
const USUAL: usize = 100;
const MOST: usize = 1000;

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Listed<'a> {
    keys: Vec<Entry<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_marker: Option<String>,
    truncated: bool,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Entry<'a> {
    key_arn: String,
    key_id: &'a str,
}

pub(super) fn list_keys(context: &Context<'_>, input: &Input) -> Answer {
    let paging = Paging::of(input, USUAL, MOST)?;
    let start = paging.after.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
    let keys = context.scope.keys.read().unwrap_or_else(PoisonError::into_inner);
    let known = keys.range::<str, _>((start, Bound::Unbounded)).filter_map(|(id, key)| {
        let key = key.lock().unwrap_or_else(PoisonError::into_inner);
        let listed = !key.is_deleted(context.wall_ns) && key.at(context.read_at).is_some();
        listed.then(|| (&**id, Entry { key_arn: context.scope.key_arn(id), key_id: id }))
    });
    let (page, next_marker) = paging.page(known);
    json(&Listed { keys: page, truncated: next_marker.is_some(), next_marker })
}
