//! The envelope of every list.

use serde::Serialize;

use crate::page::Page;

/// One page of a list.
#[derive(Serialize, utoipa::ToSchema)]
pub(crate) struct Listing<T> {
    /// The rows left out before the first
    pub(crate) skip: u32,
    /// The most rows asked for
    pub(crate) limit: u32,
    /// All rows that match
    pub(crate) total: u64,
    /// The rows
    pub(crate) resources: Vec<T>,
}

impl<T> Listing<T> {
    pub(crate) fn new(page: Page, total: u64, resources: Vec<T>) -> Self {
        Self { skip: page.skip, limit: page.limit, total, resources }
    }
}
