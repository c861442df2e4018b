//! CreateAlias and ListAliases.

use std::{ops::Bound, sync::PoisonError};

use serde::Serialize;

use super::{Answer, Context, epoch_seconds, json, paging::Paging};
use crate::{
    error::{ErrorCode, KmsError},
    input::Input,
    store::{Alias, Names},
};

/// Page sizes (API reference).
const USUAL: usize = 50;
const MOST: usize = 100;
/// The longest name (API model, `AliasNameType`).
const LONGEST: usize = 256;

pub(super) fn create_alias(context: &Context<'_>, input: &Input) -> Answer {
    let name = input.alias_name.as_deref().ok_or_else(|| KmsError::missing("aliasName"))?;
    check_name(name)?;
    let target = input.target_key_id.as_deref().ok_or_else(|| KmsError::missing("targetKeyId"))?;
    let target = context.scope.resolve(context.op, target, Names::OfKey)?;
    context.scope.with_key(&target, context.wall_ns, |key| context.must_be_settled(&target, key.now().state))?;
    let mut aliases = context.scope.aliases.write().unwrap_or_else(PoisonError::into_inner);
    if aliases.contains_key(name) {
        let message = format!("An alias with the name {} already exists", context.scope.arn(name));
        return Err(KmsError::new(ErrorCode::AlreadyExists, message));
    }
    let alias = Alias { target, created_ns: context.wall_ns, since: context.now };
    aliases.insert(name.to_owned(), alias);
    Ok(Vec::new())
}

fn check_name(name: &str) -> Result<(), KmsError> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "/_-".contains(c);
    match name.strip_prefix("alias/") {
        Some(rest) if rest.starts_with("aws/") => {
            Err(KmsError::new(ErrorCode::InvalidAliasName, "Alias names that begin with alias/aws/ are reserved."))
        }
        Some(rest) if !rest.is_empty() && name.len() <= LONGEST && rest.chars().all(allowed) => Ok(()),
        Some(_) | None => Err(KmsError::validation(
            &format!("'{name}'"),
            "aliasName",
            "satisfy regular expression pattern: ^alias/[a-zA-Z0-9/_-]+$",
        )),
    }
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Listed {
    aliases: Vec<Entry>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_marker: Option<String>,
    truncated: bool,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Entry {
    alias_arn: String,
    alias_name: String,
    creation_date: f64,
    last_updated_date: f64,
    target_key_id: String,
}

pub(super) fn list_aliases(context: &Context<'_>, input: &Input) -> Answer {
    let paging = Paging::of(input, USUAL, MOST)?;
    let of_key = match &input.key_id {
        Some(_) => Some(context.read(input, Names::OfKey, |id, _, _| Ok(id.to_owned()))?),
        None => None,
    };
    let start = paging.after.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
    let aliases = context.scope.aliases.read().unwrap_or_else(PoisonError::into_inner);
    let known = aliases
        .range::<str, _>((start, Bound::Unbounded))
        .filter(|(_, alias)| alias.since <= context.read_at)
        .filter(|(_, alias)| of_key.as_ref().is_none_or(|id| *id == alias.target))
        .map(|(name, alias)| {
            let entry = Entry {
                alias_arn: context.scope.arn(name),
                alias_name: name.clone(),
                creation_date: epoch_seconds(alias.created_ns),
                last_updated_date: epoch_seconds(alias.created_ns),
                target_key_id: alias.target.clone(),
            };
            (name, entry)
        });
    let (page, next_marker) = paging.page(known);
    json(&Listed { aliases: page, truncated: next_marker.is_some(), next_marker })
}
