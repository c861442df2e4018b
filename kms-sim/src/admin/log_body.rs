//! The log as a body that is written while it is sent: two million rows are 400 MB of text.

use std::sync::Arc;

use bytes::Bytes;

use crate::core::Core;

/// Rows per chunk.
const CHUNK: usize = 1024;

/// The rows from a number up to the last one there was when it was asked for.
pub(crate) struct LogBody {
    core: Arc<Core>,
    after: u64,
    until: u64,
    took: bool,
}

impl LogBody {
    pub(crate) fn new(core: Arc<Core>, after: u64, took: bool) -> Self {
        let until = core.log.last();
        Self { core, after, until, took }
    }

    pub(crate) fn next_chunk(&mut self) -> Option<Bytes> {
        let rows = self.core.log.read(&self.core.scopes, self.after, self.until, CHUNK);
        self.after = rows.last()?.n;
        let mut text = Vec::with_capacity(rows.len() * 200);
        for row in &rows {
            row.write_line(self.took, &mut text);
        }
        Some(text.into())
    }
}
