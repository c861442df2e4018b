//! Registered keys, filled by synchronizations: one file per call.

mod form;
pub(crate) mod get;
pub(crate) mod list;
mod tags;

pub(crate) use form::KeyForm;
pub(crate) use tags::tags;

/// An alias as KMS writes it; callers leave its beginning out.
pub(crate) fn alias(name: &str) -> String {
    if name.starts_with("alias/") { name.to_owned() } else { format!("alias/{name}") }
}
