//! TagResource, UntagResource and ListResourceTags.

use std::{collections::BTreeMap, ops::Bound, sync::Arc};

use serde::Serialize;

use super::{Answer, Context, json, paging::Paging};
use crate::{
    error::{ErrorCode, KmsError},
    input::{Input, Tag},
    store::{Names, Version},
};

/// Page sizes (API reference).
const USUAL: usize = 50;
const MOST: usize = 50;
/// Tags of one key at most (AWS KMS developer guide, "Resource quotas").
const MOST_TAGS: usize = 50;
/// The longest key and value, in characters (API model).
const LONGEST_KEY: usize = 128;
const LONGEST_VALUE: usize = 256;

type Tags = Option<Arc<BTreeMap<String, String>>>;

pub(super) fn tag_resource(context: &Context<'_>, input: &Input) -> Answer {
    let tags = input.tags.as_deref().ok_or_else(|| KmsError::missing("tags"))?;
    context.write(input, |id, key| {
        context.must_be_settled(id, key.now().state)?;
        let tags = added(key.now().tags.as_deref(), tags)?;
        Ok((Some(|version: &mut Version| version.tags = tags), Vec::new()))
    })
}

pub(super) fn untag_resource(context: &Context<'_>, input: &Input) -> Answer {
    let names = input.tag_keys.as_deref().ok_or_else(|| KmsError::missing("tagKeys"))?;
    context.write(input, |id, key| {
        context.must_be_settled(id, key.now().state)?;
        let mut tags = key.now().tags.as_deref().cloned().unwrap_or_default();
        tags.retain(|name, _| !names.contains(name));
        let change = |version: &mut Version| version.tags = if tags.is_empty() { None } else { Some(Arc::new(tags)) };
        Ok((Some(change), Vec::new()))
    })
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Listed<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    next_marker: Option<String>,
    tags: Vec<Entry<'a>>,
    truncated: bool,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Entry<'a> {
    tag_key: &'a str,
    tag_value: &'a str,
}

pub(super) fn list_resource_tags(context: &Context<'_>, input: &Input) -> Answer {
    let paging = Paging::of(input, USUAL, MOST)?;
    context.read(input, Names::OfKey, |_, _, version| {
        let start = paging.after.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
        let tags = version.tags.iter().flat_map(|tags| tags.range::<str, _>((start, Bound::Unbounded)));
        let (page, next_marker) =
            paging.page(tags.map(|(name, value)| (name, Entry { tag_key: name, tag_value: value })));
        json(&Listed { tags: page, truncated: next_marker.is_some(), next_marker })
    })
}

/// The tags with these added, if they may be.
pub(super) fn added(old: Option<&BTreeMap<String, String>>, tags: &[Tag]) -> Result<Tags, KmsError> {
    let mut new = BTreeMap::new();
    for Tag { tag_key, tag_value } in tags {
        if tag_key.is_empty() || tag_key.chars().count() > LONGEST_KEY {
            return Err(KmsError::validation(&format!("'{tag_key}'"), "tagKey", "have length 1 to 128"));
        }
        if tag_value.chars().count() > LONGEST_VALUE {
            return Err(KmsError::validation(&format!("'{tag_value}'"), "tagValue", "have length 0 to 256"));
        }
        if tag_key.starts_with("aws:") {
            return Err(KmsError::new(ErrorCode::Tag, "Tag keys that begin with aws: are reserved."));
        }
        if new.insert(tag_key.clone(), tag_value.clone()).is_some() {
            return Err(KmsError::new(ErrorCode::Tag, format!("Duplicate tag key {tag_key}.")));
        }
    }
    let mut all = old.cloned().unwrap_or_default();
    all.extend(new);
    if all.len() > MOST_TAGS {
        return Err(KmsError::new(ErrorCode::LimitExceeded, format!("A key has at most {MOST_TAGS} tags.")));
    }
    Ok(if all.is_empty() { None } else { Some(Arc::new(all)) })
}
