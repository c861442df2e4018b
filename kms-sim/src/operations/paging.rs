//! Pages of lists: `Limit`, `Marker`, `Truncated`, `NextMarker`.
//!
//! All lists are sorted by a name, and a marker is the last name told, so that a page is right also after additions.

use crate::{
    error::{ErrorCode, KmsError},
    input::Input,
};

/// Tells a marker of ours from junk.
const PREFIX: &str = "after:";

/// Which page is asked for.
#[derive(Debug)]
pub(super) struct Paging {
    limit: usize,
    /// The last name of the page before.
    pub(super) after: Option<String>,
}

impl Paging {
    /// Reads `Limit` (1 to `most`, `usual` if not given) and `Marker`.
    pub(super) fn of(input: &Input, usual: usize, most: usize) -> Result<Self, KmsError> {
        let limit = match input.limit {
            None => usual,
            Some(given) => {
                let bad = |constraint: String| KmsError::validation(&format!("'{given}'"), "limit", &constraint);
                match usize::try_from(given) {
                    Ok(limit) if limit > most => Err(bad(format!("have value less than or equal to {most}"))),
                    Ok(limit) if limit > 0 => Ok(limit),
                    Ok(_) | Err(_) => Err(bad("have value greater than or equal to 1".to_owned())),
                }?
            }
        };
        let after = match input.marker.as_deref() {
            None => None,
            Some(marker) => match marker.strip_prefix(PREFIX) {
                Some(name) => Some(name.to_owned()),
                None => return Err(KmsError::new(ErrorCode::InvalidMarker, "Could not deserialize marker.")),
            },
        };
        Ok(Self { limit, after })
    }

    /// One page of what comes after the marker, and the marker of the next page if there is one.
    pub(super) fn page<N: AsRef<str>, T>(&self, items: impl Iterator<Item = (N, T)>) -> (Vec<T>, Option<String>) {
        let mut page = Vec::new();
        let mut last = None;
        for (name, item) in items {
            if page.len() == self.limit {
                return (page, last.map(|name: N| format!("{PREFIX}{}", name.as_ref())));
            }
            page.push(item);
            last = Some(name);
        }
        (page, None)
    }
}
