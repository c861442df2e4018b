//! Pages: what a synchronization reads, one page after the other of each account and Region, by any live worker.
//!
//! A walk is where one (account, Region) of a synchronization stands. Its place is in the store; here is only what is
//! under way, so a new leader goes on from the last page that was stored. Reads are paid for from the buckets of their
//! own lanes before a worker is asked. One page is many reads; its walk takes the tokens at once and leaves the bucket
//! in debt, so that it is never starved by those who take one at a time, and the pace stays that of the quota.

use std::{sync::Arc, time::Duration};

use job_model::{Moment, Reading, Refusal, SyncId, WorkerId};

use super::{Board, Bucket, RETRY_FOR, SessionId, reports::told};
use crate::store::keys::{SeenAlias, SeenKey};

/// Pages a worker reads at once.
const PAGES_AT_ONCE: usize = 4;
/// A page that is not read in this time is held to be lost.
const PAGE_WITHIN: Duration = Duration::from_secs(90);
/// The pause after a page that could not be read.
const AGAIN_AFTER: Duration = Duration::from_secs(1);
/// Keys of a page at the most: a page of twice as many reads takes a tenth of a second of the quota for them.
const KEYS: f64 = 100.0;
/// The share of a second's reads that a page may take.
const SHARE: f64 = 0.05;
/// Aliases of a page (KMS's longest: ListAliases, 100).
const ALIASES: u32 = 100;

/// One account and Region of a synchronization.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WalkId {
    /// The synchronization.
    pub sync: SyncId,
    /// Its part.
    pub part: u16,
}

/// What the pages of a walk are of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Keys, with what is told of each.
    Keys,
    /// Aliases.
    Aliases,
}

impl Step {
    const fn reads(self) -> &'static [&'static str] {
        match self {
            Self::Keys => &["ListKeys", "DescribeKey", "ListResourceTags"],
            Self::Aliases => &["ListAliases"],
        }
    }
}

/// A walk as it is told to the board: new, or taken up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewWalk {
    /// Which.
    pub id: WalkId,
    /// The AWS account.
    pub account: Arc<str>,
    /// The Region.
    pub region: Arc<str>,
    /// What is read next.
    pub step: Step,
    /// From where; KMS's word, empty at the beginning.
    pub marker: String,
}

/// A page as it is asked for.
#[derive(Clone, Debug)]
pub struct Ask {
    /// Its number.
    pub page: u64,
    /// The AWS account.
    pub account: Arc<str>,
    /// The Region.
    pub region: Arc<str>,
    /// What of.
    pub step: Step,
    /// From where.
    pub marker: String,
    /// How many at the most.
    pub limit: u32,
}

/// What a page has.
#[derive(Clone, Debug, PartialEq)]
pub enum Page {
    /// Keys.
    Keys {
        /// Those that are there.
        keys: Vec<SeenKey>,
        /// KMS's marker of the next page.
        next: Option<String>,
        /// Keys that KMS refused to describe.
        skipped: u32,
    },
    /// Aliases.
    Aliases {
        /// Those of keys.
        aliases: Vec<SeenAlias>,
        /// KMS's marker of the next page.
        next: Option<String>,
    },
}

/// What became of a page.
#[derive(Clone, Debug, PartialEq)]
pub enum Leaf {
    /// It was read.
    Read(Page),
    /// KMS's final answer to the list.
    Refused(Refusal),
    /// It could not be read now.
    Unavailable(Refusal),
}

/// What is to be done about a walk; `walked` answers.
#[derive(Debug)]
pub enum Walked {
    /// Store the page and move on.
    Page {
        /// The walk.
        walk: NewWalk,
        /// What was read.
        page: Page,
        /// When it was asked for: what it tells is no older.
        asked_at: Moment,
    },
    /// End it with this text.
    Failed(WalkId, String),
}

#[derive(Debug)]
pub(super) struct Walk {
    walk: NewWalk,
    phase: WalkPhase,
    failing_since: Option<Moment>,
}

#[derive(Debug, PartialEq)]
enum WalkPhase {
    Due(Moment),
    Asked(u64),
    Storing,
}

#[derive(Debug)]
pub(super) struct OpenPage {
    walk: WalkId,
    worker: WorkerId,
    asked_at: Moment,
}

impl Board {
    /// A walk begins or goes on.
    pub fn walk_added(&mut self, walk: NewWalk, now: Moment) {
        self.walks.insert(walk.id, Walk { walk, phase: WalkPhase::Due(now), failing_since: None });
    }

    /// A walk's page is stored: it goes on from there, or has ended.
    pub fn walked(&mut self, id: WalkId, next: Option<(Step, String)>, now: Moment) {
        match next {
            None => drop(self.walks.remove(&id)),
            Some((step, marker)) => {
                if let Some(walk) = self.walks.get_mut(&id) {
                    walk.walk.step = step;
                    walk.walk.marker = marker;
                    walk.phase = WalkPhase::Due(now);
                    walk.failing_since = None;
                }
            }
        }
    }

    /// The synchronization is canceled: what is on its way comes to nothing.
    pub fn walks_canceled(&mut self, sync: SyncId) {
        self.walks.retain(|id, _| id.sync != sync);
    }

    /// Asks live workers for the pages that are due. While none lives they wait.
    pub(super) fn assign_pages(&mut self, now: Moment) {
        let late: Vec<u64> =
            self.pages.iter().filter(|(_, page)| page.asked_at + PAGE_WITHIN <= now).map(|(id, _)| *id).collect();
        for page in late {
            self.page_lost(page);
        }
        let mut due: Vec<(Moment, WalkId)> = self
            .walks
            .iter()
            .filter_map(|(id, walk)| match walk.phase {
                WalkPhase::Due(at) if at <= now => Some((at, *id)),
                WalkPhase::Due(_) | WalkPhase::Asked(_) | WalkPhase::Storing => None,
            })
            .collect();
        due.sort_unstable();
        for (_, id) in due {
            let Some((worker, session)) = self.free_reader(now) else { return };
            self.ask(id, worker, session, now);
        }
    }

    fn ask(&mut self, id: WalkId, worker: WorkerId, session: SessionId, now: Moment) {
        let Some(walk) = self.walks.get(&id) else { return };
        let step = walk.walk.step;
        let lanes = readings(&walk.walk);
        for lane in &lanes {
            if !self.reading(lane, now).has(now) {
                return;
            }
        }
        let limit = match step {
            Step::Keys => self.keys_of_a_page(&lanes),
            Step::Aliases => ALIASES,
        };
        for lane in &lanes {
            // One list, and of each key the others.
            let reads = if lane.kms_operation.starts_with("List") && lane.kms_operation != "ListResourceTags" {
                1
            } else {
                limit
            };
            self.reading(lane, now).charge(reads, now);
        }
        let page = self.next_page;
        self.next_page += 1;
        self.pages.insert(page, OpenPage { walk: id, worker, asked_at: now });
        let Some(walk) = self.walks.get_mut(&id) else { return };
        walk.phase = WalkPhase::Asked(page);
        let NewWalk { account, region, step, marker, .. } = walk.walk.clone();
        self.effects.frame(session).pages.push(Ask { page, account, region, step, marker, limit });
    }

    /// So few that their reads are a small share of what the quotas let through in a second.
    fn keys_of_a_page(&self, lanes: &[Reading]) -> u32 {
        let quotas = &self.settings.quotas;
        let of_each_key = lanes.iter().filter(|lane| lane.kms_operation != "ListKeys");
        let least = of_each_key
            .filter_map(|lane| quotas.per_second(&lane.account, &lane.region, lane.kms_operation))
            .fold(f64::INFINITY, f64::min);
        (least * SHARE).clamp(1.0, KEYS) as u32
    }

    fn reading(&mut self, lane: &Reading, now: Moment) -> &mut Bucket {
        let quota = self.settings.quotas.per_second(&lane.account, &lane.region, lane.kms_operation);
        self.readings.entry(lane.clone()).or_insert_with(|| Bucket::new(quota, now))
    }

    fn free_reader(&self, now: Moment) -> Option<(WorkerId, SessionId)> {
        self.workers
            .iter()
            .filter(|(_, worker)| worker.is_leased(now) && worker.concurrency > 0)
            .filter_map(|(id, worker)| worker.session.map(|session| (*id, session)))
            .map(|(id, session)| (self.pages.values().filter(|page| page.worker == id).count(), id, session))
            .filter(|(pages, ..)| *pages < PAGES_AT_ONCE)
            .min()
            .map(|(_, id, session)| (id, session))
    }

    /// A page's answer.
    pub fn page_result(&mut self, page: u64, throttled: bool, leaf: Leaf, now: Moment) {
        let Some(open) = self.pages.remove(&page) else { return };
        let Some(walk) = self.walks.get_mut(&open.walk).filter(|walk| walk.phase == WalkPhase::Asked(page)) else {
            return;
        };
        let lanes = if throttled { readings(&walk.walk) } else { Vec::new() };
        match leaf {
            Leaf::Read(page) => {
                walk.phase = WalkPhase::Storing;
                let walk = walk.walk.clone();
                self.effects.walked.push(Walked::Page { walk, page, asked_at: open.asked_at });
            }
            Leaf::Refused(said) => {
                walk.phase = WalkPhase::Storing;
                self.effects.walked.push(Walked::Failed(open.walk, told(&said)));
            }
            Leaf::Unavailable(said) => {
                let since = *walk.failing_since.get_or_insert(now);
                if now.since(since) >= RETRY_FOR {
                    walk.phase = WalkPhase::Storing;
                    self.effects.walked.push(Walked::Failed(open.walk, told(&said)));
                } else {
                    walk.phase = WalkPhase::Due(now + AGAIN_AFTER);
                }
            }
        }
        for lane in lanes {
            self.reading(&lane, now).slow(now);
        }
    }

    /// The worker that read is lost: another reads.
    pub(super) fn pages_lost(&mut self, worker: WorkerId) {
        let lost: Vec<u64> = self.pages.iter().filter(|(_, page)| page.worker == worker).map(|(id, _)| *id).collect();
        for page in lost {
            self.page_lost(page);
        }
    }

    fn page_lost(&mut self, page: u64) {
        let Some(open) = self.pages.remove(&page) else { return };
        if let Some(walk) = self.walks.get_mut(&open.walk).filter(|walk| walk.phase == WalkPhase::Asked(page)) {
            walk.phase = WalkPhase::Due(Moment::default());
        }
    }

    /// When a page that is due may next be paid for; `None` when none is due, or nobody is there to read it.
    pub(super) fn next_page_at(&self, now: Moment) -> Option<Moment> {
        if self.walks.is_empty() || self.free_reader(now).is_none() {
            return None;
        }
        self.walks
            .values()
            .filter_map(|walk| match walk.phase {
                WalkPhase::Due(at) => Some(
                    readings(&walk.walk)
                        .iter()
                        .filter_map(|lane| self.readings.get(lane))
                        .map(|bucket| bucket.next_at(now))
                        .fold(at, Moment::max),
                ),
                WalkPhase::Asked(_) | WalkPhase::Storing => None,
            })
            .min()
    }
}

fn readings(walk: &NewWalk) -> Vec<Reading> {
    let of = |kms_operation: &&'static str| Reading {
        account: walk.account.clone(),
        region: walk.region.clone(),
        kms_operation,
    };
    walk.step.reads().iter().map(of).collect()
}
