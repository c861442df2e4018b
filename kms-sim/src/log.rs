//! The log of all KMS requests: the evidence that tests compare promises with.
//!
//! A request stands in it from its arrival on, in the order of arrival, so that nothing that reached the simulator can
//! be missing; how it ended is filled in when that is decided. Memory is bounded: the oldest rows go first.

use std::{
    collections::VecDeque,
    io::Write as _,
    num::NonZeroU32,
    sync::{Mutex, PoisonError},
};

use crate::{operation::Operation, outcome::Outcome, store::Scopes};

/// Rows per block; the oldest rows go a block at a time.
const BLOCK: usize = 4096;

/// What a request names, compactly: most keys are UUIDs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum LogKey {
    None,
    Uuid([u8; 16]),
    Text(Box<str>),
}

impl LogKey {
    pub(crate) fn new(text: Option<&str>) -> Self {
        let Some(text) = text else { return Self::None };
        match uuid::Uuid::try_parse(text) {
            // Only what comes out as it went in: lower case, with hyphens.
            Ok(id) if text.len() == 36 && !text.bytes().any(|b| b.is_ascii_uppercase()) => Self::Uuid(id.into_bytes()),
            Ok(_) | Err(_) => Self::Text(text.into()),
        }
    }

    fn text(&self) -> Option<String> {
        match self {
            Self::None => None,
            Self::Uuid(bytes) => Some(uuid::Uuid::from_bytes(*bytes).to_string()),
            Self::Text(text) => Some(text.to_string()),
        }
    }
}

/// A request's place in the log.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RowId {
    /// How often the log had been emptied: a request older than that has no row any more.
    life: u32,
    n: u64,
}

/// One request, as the log tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogRow {
    /// Its number, from 1, in the order of arrival.
    pub n: u64,
    /// When it arrived: wall clock, nanoseconds since 1970.
    pub at_ns: u64,
    /// The caller's account.
    pub account: String,
    /// The Region it was signed for; empty if it was not signed.
    pub region: String,
    /// The operation; `None` for one the simulator does not know.
    pub op: Option<Operation>,
    /// The key it names: the bare id, also where it gave an ARN.
    pub key: Option<String>,
    /// How it ended.
    pub outcome: Outcome,
    /// From its arrival to its answer, in microseconds; `None` while there is none. More than the latency asked for when the
    /// machine has too much to do.
    pub took_us: Option<u32>,
}

impl LogRow {
    /// Appends the row as a line of JSON, with what it took if that is asked for.
    pub(crate) fn write_line(&self, took: bool, to: &mut Vec<u8>) {
        let text = |to: &mut Vec<u8>, text: &str| {
            serde_json::to_writer(to, text).expect("a string can be written to memory");
        };
        write!(to, r#"{{"n":{},"at_ns":{},"account":"#, self.n, self.at_ns).expect("memory can be written to");
        text(to, &self.account);
        to.extend_from_slice(br#","region":"#);
        text(to, &self.region);
        to.extend_from_slice(br#","op":"#);
        text(to, self.op.map_or("Unknown", Operation::name));
        to.extend_from_slice(br#","key":"#);
        match &self.key {
            Some(key) => text(to, key),
            None => to.extend_from_slice(b"null"),
        }
        write!(to, r#","status":{},"error":"#, self.outcome.status()).expect("memory can be written to");
        match self.outcome.error() {
            Some(error) => text(to, error),
            None => to.extend_from_slice(b"null"),
        }
        if took {
            to.extend_from_slice(br#","took_us":"#);
            serde_json::to_writer(&mut *to, &self.took_us).expect("a number can be written to memory");
        }
        to.extend_from_slice(b"}\n");
    }
}

#[derive(Clone, Debug)]
struct Row {
    at_ns: u64,
    key: LogKey,
    scope: u32,
    op: Option<Operation>,
    outcome: Outcome,
    took_us: Option<NonZeroU32>,
}

/// The log.
#[derive(Debug)]
pub(crate) struct RequestLog {
    rows: Mutex<Rows>,
    max_blocks: usize,
}

#[derive(Debug, Default)]
struct Rows {
    life: u32,
    /// The number of the first row still here, less 1.
    gone: u64,
    blocks: VecDeque<Vec<Row>>,
    last: u64,
}

impl RequestLog {
    /// A log that keeps at least this many rows.
    pub(crate) fn new(rows: usize) -> Self {
        Self { rows: Mutex::default(), max_blocks: rows.div_ceil(BLOCK) + 1 }
    }

    pub(crate) fn arrived(&self, at_ns: u64, scope: u32, op: Option<Operation>, key: LogKey) -> RowId {
        let mut rows = self.rows.lock().unwrap_or_else(PoisonError::into_inner);
        if rows.blocks.back().is_none_or(|block| block.len() == BLOCK) {
            if rows.blocks.len() == self.max_blocks {
                rows.blocks.pop_front();
                rows.gone += BLOCK as u64;
            }
            rows.blocks.push_back(Vec::with_capacity(BLOCK));
        }
        let row = Row { at_ns, key, scope, op, outcome: Outcome::Pending, took_us: None };
        rows.blocks.back_mut().expect("there is a block with room").push(row);
        rows.last += 1;
        RowId { life: rows.life, n: rows.last }
    }

    pub(crate) fn decided(&self, id: RowId, outcome: Outcome) {
        self.change(id, |row| row.outcome = outcome);
    }

    /// Its answer is written from now on.
    pub(crate) fn answered(&self, id: RowId, now_ns: u64) {
        self.change(id, |row| {
            let took_us = u32::try_from(now_ns.saturating_sub(row.at_ns) / 1_000).unwrap_or(u32::MAX);
            row.took_us = NonZeroU32::new(took_us.max(1));
        });
    }

    fn change(&self, id: RowId, change: impl FnOnce(&mut Row)) {
        let mut rows = self.rows.lock().unwrap_or_else(PoisonError::into_inner);
        if rows.life != id.life || id.n <= rows.gone {
            return;
        }
        let (block, at) = place(id.n - rows.gone);
        change(&mut rows.blocks[block][at]);
    }

    /// The number of the last row; 0 if there is none.
    pub(crate) fn last(&self) -> u64 {
        self.rows.lock().unwrap_or_else(PoisonError::into_inner).last
    }

    /// At most `limit` rows after the number `after`, up to the number `until`.
    pub(crate) fn read(&self, scopes: &Scopes, after: u64, until: u64, limit: usize) -> Vec<LogRow> {
        let copied: Vec<(u64, Row)> = {
            let rows = self.rows.lock().unwrap_or_else(PoisonError::into_inner);
            let first = after.max(rows.gone) + 1;
            (first..=until.min(rows.last))
                .take(limit)
                .map(|n| {
                    let (block, at) = place(n - rows.gone);
                    (n, rows.blocks[block][at].clone())
                })
                .collect()
        };
        copied
            .into_iter()
            .map(|(n, row)| {
                let (account, region) = scopes.names(row.scope);
                let key = row.key.text();
                let took_us = row.took_us.map(NonZeroU32::get);
                LogRow { n, at_ns: row.at_ns, account, region, op: row.op, key, outcome: row.outcome, took_us }
            })
            .collect()
    }

    pub(crate) fn reset(&self) {
        let mut rows = self.rows.lock().unwrap_or_else(PoisonError::into_inner);
        *rows = Rows { life: rows.life.wrapping_add(1), ..Rows::default() };
    }
}

/// Where the `nth` row still here (from 1) stands.
fn place(nth: u64) -> (usize, usize) {
    let index = usize::try_from(nth - 1).expect("the log is in memory");
    (index / BLOCK, index % BLOCK)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log_of(rows: usize, written: u64) -> (RequestLog, Scopes) {
        let log = RequestLog::new(rows);
        let scopes = Scopes::default();
        let scope = scopes.get("111122223333", "us-east-1");
        for at in 1..=written {
            log.arrived(at, scope.id, Some(Operation::EnableKey), LogKey::None);
        }
        (log, scopes)
    }

    #[test]
    fn the_oldest_rows_go_and_the_numbers_stay() {
        let (log, scopes) = log_of(BLOCK, 5 * BLOCK as u64);
        let rows = log.read(&scopes, 0, log.last(), usize::MAX);
        assert!(rows.len() >= BLOCK && rows.len() <= 2 * BLOCK, "{}", rows.len());
        assert!(rows.iter().all(|row| row.n == row.at_ns));
        assert_eq!(rows.last().unwrap().n, 5 * BLOCK as u64);
    }

    #[test]
    fn after_and_limit_cut_the_answer() {
        let (log, scopes) = log_of(BLOCK, 10);
        let numbers = |after, limit| -> Vec<u64> {
            log.read(&scopes, after, log.last(), limit).into_iter().map(|row| row.n).collect()
        };
        assert_eq!(numbers(7, 100), [8, 9, 10]);
        assert_eq!(numbers(0, 2), [1, 2]);
        assert!(numbers(10, 100).is_empty());
    }

    #[test]
    fn a_request_older_than_a_reset_touches_no_new_row() {
        let (log, scopes) = log_of(BLOCK, 0);
        let old = log.arrived(1, 0, Some(Operation::EnableKey), LogKey::None);
        log.reset();
        log.arrived(2, 0, Some(Operation::DisableKey), LogKey::None);
        log.decided(old, Outcome::Ok);
        log.answered(old, 7_000);
        let rows = log.read(&scopes, 0, log.last(), 10);
        assert_eq!(rows.len(), 1);
        assert_eq!((rows[0].n, rows[0].outcome, rows[0].took_us), (1, Outcome::Pending, None));
    }

    #[test]
    fn what_a_request_took_is_told_when_it_is_asked_for() {
        let (log, scopes) = log_of(BLOCK, 0);
        let id = log.arrived(5_000_000, 0, Some(Operation::EnableKey), LogKey::None);
        let line = |took| {
            let mut line = Vec::new();
            log.read(&scopes, 0, 1, 1)[0].write_line(took, &mut line);
            String::from_utf8(line).unwrap()
        };
        assert!(line(true).ends_with("\"took_us\":null}\n"));
        log.answered(id, 25_300_000);
        assert!(line(true).ends_with("\"took_us\":20300}\n") && !line(false).contains("took_us"));
    }

    #[test]
    fn keys_come_out_as_they_went_in() {
        for text in ["1234abcd-12ab-34cd-56ef-1234567890ab", "1234ABCD-12ab-34cd-56ef-1234567890ab", "mrk-12", ""] {
            assert_eq!(LogKey::new(Some(text)).text().as_deref(), Some(text));
        }
        assert_eq!(size_of::<Row>(), 48, "two million rows are 96 MB");
    }
}
