//! UpdateKeyDescription.

use std::sync::Arc;

use super::{Answer, Context};
use crate::{error::KmsError, input::Input, store::Version};

/// The longest description, in characters (API model, `DescriptionType`).
const LONGEST: usize = 8192;

pub(super) fn update_key_description(context: &Context<'_>, input: &Input) -> Answer {
    let text = input.description.as_deref().ok_or_else(|| KmsError::missing("description"))?;
    let description = checked_description(text)?;
    context.write(input, |id, key| {
        context.must_be_settled(id, key.now().state)?;
        Ok((Some(|version: &mut Version| version.description = description), Vec::new()))
    })
}

/// The description as it is stored, if it may be one.
pub(super) fn checked_description(text: &str) -> Result<Option<Arc<str>>, KmsError> {
    if text.chars().count() > LONGEST {
        return Err(KmsError::validation("'…'", "description", "have length less than or equal to 8192"));
    }
    Ok(if text.is_empty() { None } else { Some(text.into()) })
}
