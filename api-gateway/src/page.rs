//! Query parameters as clients in use send them: repeated ones count once, unknown ones are ignored, empty ones are
//! as good as absent.

use axum::extract::{FromRequestParts, Query};
use http::request::Parts;

use crate::error::ApiError;

/// The most rows a page has; who asks for more gets this many.
const MOST_ROWS: u32 = 2_000;
/// The rows of a page when none are asked for.
const ROWS: u32 = 10;

/// The query of a request.
pub(crate) struct Params(Vec<(String, String)>);

/// Which rows of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Page {
    pub(crate) skip: u32,
    pub(crate) limit: u32,
}

impl Params {
    /// The first of this name that is not empty.
    pub(crate) fn first(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(key, value)| key == name && !value.is_empty()).map(|(_, value)| value.as_str())
    }

    /// All of this name that are not empty.
    pub(crate) fn all(&self, name: &str) -> Vec<String> {
        self.0.iter().filter(|(key, value)| key == name && !value.is_empty()).map(|(_, value)| value.clone()).collect()
    }

    /// `true`, `false`, or neither.
    pub(crate) fn choice(&self, name: &str) -> Result<Option<bool>, ApiError> {
        self.first(name).map(|_| self.flag(name, false)).transpose()
    }

    /// No value that Postgres could not take for a text.
    pub(crate) fn no_nul(&self) -> Result<(), ApiError> {
        match self.0.iter().find(|(_, value)| value.contains('\0')) {
            Some((name, _)) => Err(ApiError::BadRequest(format!("{name}: has a NUL character"))),
            None => Ok(()),
        }
    }

    /// `skip` and `limit`.
    pub(crate) fn page(&self) -> Result<Page, ApiError> {
        let limit = match self.first("limit") {
            // "All", as clients of CCKM ask for it; like every number above the most, it stands for the most.
            Some("-1") => Some(MOST_ROWS),
            Some(_) | None => self.number("limit")?,
        };
        Ok(Page { skip: self.number("skip")?.unwrap_or(0), limit: limit.unwrap_or(ROWS).min(MOST_ROWS) })
    }

    /// `true` or `false`.
    pub(crate) fn flag(&self, name: &str, default: bool) -> Result<bool, ApiError> {
        self.first(name).map_or(Ok(default), |text| truth(name, text))
    }

    /// All of this name, each `true` or `false`.
    pub(crate) fn flags(&self, name: &str) -> Result<Vec<bool>, ApiError> {
        self.all(name).iter().map(|text| truth(name, text)).collect()
    }

    fn number(&self, name: &str) -> Result<Option<u32>, ApiError> {
        let Some(text) = self.first(name) else { return Ok(None) };
        if text.bytes().all(|b| b.is_ascii_digit()) {
            // More than a number holds is more than there are rows.
            Ok(Some(text.parse().unwrap_or(u32::MAX)))
        } else {
            Err(ApiError::BadRequest(format!("{name}: must be a whole number, 0 or more, not {text:?}")))
        }
    }
}

/// In capitals too: Python writes `True`, and so do clients in use.
fn truth(name: &str, text: &str) -> Result<bool, ApiError> {
    match text {
        "true" | "True" | "TRUE" => Ok(true),
        "false" | "False" | "FALSE" => Ok(false),
        other => Err(ApiError::BadRequest(format!("{name}: must be true or false, not {other:?}"))),
    }
}

/// The names of `sort`, in order, each with whether it descends (`-` before it). Empty ones are passed over.
pub(crate) fn sort_names(sort: &str) -> impl Iterator<Item = (&str, bool)> {
    let words = sort.split(',').map(str::trim).filter(|word| !word.is_empty());
    words.map(|word| word.strip_prefix('-').map_or((word, false), |name| (name, true)))
}

/// There is nothing of this name to sort by.
pub(crate) fn no_sort(name: &str) -> ApiError {
    ApiError::BadRequest(format!("sort: there is no field {name:?} to sort by"))
}

impl<S: Sync> FromRequestParts<S> for Params {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, ApiError> {
        let Query(pairs) = Query::<Vec<(String, String)>>::try_from_uri(&parts.uri)
            .map_err(|_| ApiError::BadRequest("the query cannot be read".to_owned()))?;
        Ok(Self(pairs))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn params(query: &str) -> Params {
        let uri = format!("/x?{query}").parse().unwrap();
        Params(Query::<Vec<(String, String)>>::try_from_uri(&uri).unwrap().0)
    }

    #[test]
    fn a_page_has_defaults_and_bounds() {
        for (query, skip, limit) in [
            ("", 0, 10),
            ("skip=5&limit=7", 5, 7),
            ("limit=0", 0, 0),
            ("limit=2001", 0, 2_000),
            ("limit=-1", 0, 2_000),
            ("limit=99999999999999999999", 0, 2_000),
            ("skip=99999999999999999999", u32::MAX, 10),
            ("limit=3&limit=4", 0, 3),
            ("limit=&skip=", 0, 10),
            ("elsewhere=1", 0, 10),
        ] {
            assert_eq!(params(query).page().unwrap(), Page { skip, limit }, "{query}");
        }
    }

    #[test]
    fn a_number_that_is_none_is_named() {
        for (query, name) in [
            ("limit=-2", "limit"),
            ("skip=-1", "skip"),
            ("skip=x", "skip"),
            ("limit=1.5", "limit"),
            ("limit=-1.0", "limit"),
            ("skip=%201", "skip"),
        ] {
            let Err(ApiError::BadRequest(message)) = params(query).page() else { panic!("{query} was taken") };
            assert!(message.starts_with(&format!("{name}: ")), "{message}");
        }
    }

    #[test]
    fn a_flag_is_true_or_false() {
        assert!(params("").flag("detail", true).unwrap());
        assert!(!params("detail=false").flag("detail", true).unwrap());
        assert!(!params("detail=False").flag("detail", true).unwrap());
        assert!(params("detail=no").flag("detail", true).is_err());
        assert_eq!(params("a=true&a=&a=FALSE&b=no").flags("a").unwrap(), [true, false]);
        assert!(params("a=true&a=no").flags("a").is_err());
    }
}
