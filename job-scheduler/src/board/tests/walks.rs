//! Synchronizations on the board: paced, page after page, by whoever lives.

use std::{collections::HashSet, time::Duration};

use job_model::{Moment, Refusal, SyncId, WorkerId, places::PlaceQuotas, quota::Quotas};
use uuid::Uuid;

use super::world::{LEASE, TIMEOUT};
use crate::board::{Ask, Board, Effects, Hello, Leaf, NewWalk, Page, SessionId, Settings, Step, WalkId, Walked};

struct Stage {
    board: Board,
    now: Moment,
    sync: SyncId,
}

impl Stage {
    fn new(quotas: Quotas) -> Self {
        let now = Moment::from_nanos(0) + Duration::from_secs(1_000);
        let settings = Settings { lease: LEASE, operation_timeout: TIMEOUT, quotas: PlaceQuotas::everywhere(quotas) };
        let board = Board::new(settings, 1, now + Duration::from_secs(1_000_000), Moment::default(), HashSet::new());
        Self { board, now, sync: SyncId::from_uuid(Uuid::from_u128(1)) }
    }

    fn worker(&mut self, number: u64) {
        let id = WorkerId::from_uuid(Uuid::from_u128(u128::from(number)));
        let hello = Hello { worker: id, name: String::new(), concurrency: 8, open: Vec::new() };
        self.board.hello(SessionId(number), hello, self.now);
        self.board.registered(id);
        self.beat(number);
    }

    fn beat(&mut self, number: u64) {
        self.board.heartbeat(SessionId(number), 1, self.now);
    }

    fn walk(&mut self, part: u16) {
        let id = WalkId { sync: self.sync, part };
        let (account, region) = ("111122223333".into(), "us-east-1".into());
        self.board.walk_added(NewWalk { id, account, region, step: Step::Keys, marker: String::new() }, self.now);
    }

    fn turn(&mut self) -> Effects {
        self.board.turn(self.now)
    }

    /// Lets time pass until pages are asked for; by which session each.
    fn asked(&mut self) -> Vec<(u64, Ask)> {
        for _ in 0..10_000 {
            let asked: Vec<_> = self
                .turn()
                .frames
                .into_iter()
                .flat_map(|(session, frame)| frame.pages.into_iter().map(move |ask| (session.0, ask)))
                .collect();
            if !asked.is_empty() {
                return asked;
            }
            self.now = self.now + Duration::from_millis(10);
        }
        Vec::new()
    }

    fn read(&mut self, page: u64, next: Option<&str>) -> Effects {
        let page_read = Page::Keys { keys: Vec::new(), next: next.map(str::to_owned), skipped: 0 };
        self.board.page_result(page, false, Leaf::Read(page_read), self.now);
        self.turn()
    }
}

fn refusal(code: &str) -> Refusal {
    Refusal { code: code.to_owned(), text: "said".to_owned(), status: 0 }
}

#[test]
fn the_next_page_is_asked_for_once_the_last_is_stored_and_each_is_paid_for() {
    let mut stage = Stage::new(Quotas::aws());
    stage.worker(1);
    stage.walk(0);
    let begun = stage.now;
    for number in 0..200 {
        stage.beat(1);
        let asked = stage.asked();
        let [(1, ask)] = asked.as_slice() else { panic!("{asked:?}") };
        assert_eq!(
            (ask.limit, ask.marker.clone()),
            (100, if number == 0 { String::new() } else { number.to_string() })
        );
        let effects = stage.read(ask.page, Some("next"));
        assert!(matches!(&effects.walked[..], [Walked::Page { .. }]));
        assert!(effects.frames.values().all(|frame| frame.pages.is_empty()), "not before it is stored");
        let next = Some((Step::Keys, (number + 1).to_string()));
        stage.board.walked(WalkId { sync: stage.sync, part: 0 }, next, stage.now);
    }
    let seconds = stage.now.since(begun).as_secs_f64();
    assert!((9.5..=11.5).contains(&seconds), "20,000 keys at 2,000 a second took {seconds} s");
}

#[test]
fn a_page_of_a_lost_worker_is_read_by_another_and_its_late_answer_is_none() {
    let mut stage = Stage::new(Quotas::off());
    stage.walk(0);
    assert!(stage.asked().is_empty(), "while no worker lives it waits");
    stage.worker(1);
    let (_, first) = stage.asked().remove(0);
    stage.worker(2);
    stage.board.session_closed(SessionId(1));
    let (session, second) = stage.asked().remove(0);
    assert_eq!((session, second.marker.as_str()), (2, ""));
    assert!(stage.read(first.page, None).walked.is_empty());
    assert_eq!(stage.read(second.page, None).walked.len(), 1);
}

#[test]
fn what_cannot_be_read_is_tried_again_and_what_is_refused_ends() {
    let mut stage = Stage::new(Quotas::off());
    stage.worker(1);
    stage.walk(0);
    let (_, ask) = stage.asked().remove(0);
    let begun = stage.now;
    stage.board.page_result(ask.page, true, Leaf::Unavailable(refusal("ThrottlingException")), stage.now);
    let (_, again) = stage.asked().remove(0);
    assert!(stage.now.since(begun) >= Duration::from_secs(1), "after a pause");
    stage.board.page_result(again.page, false, Leaf::Refused(refusal("AccessDeniedException")), stage.now);
    let walked = stage.turn().walked;
    assert!(matches!(&walked[..], [Walked::Failed(_, text)] if text == "AccessDeniedException: said"), "{walked:?}");
    stage.board.walked(WalkId { sync: stage.sync, part: 0 }, None, stage.now);
    assert_eq!(stage.board.gauges().walks, 0);
}

#[test]
fn what_fails_for_long_is_given_up_and_what_is_canceled_comes_to_nothing() {
    let mut stage = Stage::new(Quotas::off());
    stage.worker(1);
    stage.walk(0);
    let failed = (0..1_000).find_map(|_| {
        stage.beat(1);
        let (_, ask) = stage.asked().pop()?;
        stage.board.page_result(ask.page, false, Leaf::Unavailable(refusal("Unsent")), stage.now);
        stage.turn().walked.pop()
    });
    assert!(matches!(failed, Some(Walked::Failed(_, text)) if text == "Unsent: said"));
    stage.walk(1);
    stage.beat(1);
    let (_, ask) = stage.asked().remove(0);
    stage.board.walks_canceled(stage.sync);
    assert!(stage.read(ask.page, None).walked.is_empty());
}
