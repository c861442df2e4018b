//! What a worker is told in which order, when a container and what needs it come in one turn.

use std::{collections::HashSet, time::Duration};

use job_model::{ContainerId, SyncId, Tenant, WorkerId, quota::Quotas};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::*;
use crate::{
    board::{Hello, NewWalk, Settings, Step, WalkId},
    containers::Container,
    leader::Received,
};

const SESSION: SessionId = SessionId(1);

fn container(number: u128, account: &str) -> Container {
    let tenant: Tenant = "kylo:kylo".parse().unwrap();
    let base = Container::default_of(tenant, account.to_owned(), "us-east-1".to_owned());
    Container { id: ContainerId::from_uuid(Uuid::from_u128(number)), ..base }
}

fn default_one() -> Container {
    Container { id: crate::containers::DEFAULT_ID, ..container(0, "111122223333") }
}

/// A loop of nothing yet; its hands let all fall.
fn new_loop(estate: &Estate) -> Loop {
    let quotas = PlaceQuotas::everywhere(Quotas::off());
    let second = Duration::from_secs(1);
    let settings = Settings { lease: second * 100, operation_timeout: second, quotas };
    let board = Board::new(settings, 1, boottime() + second * 1_000, Moment::default(), HashSet::new());
    let hands = Hands {
        write: mpsc::unbounded_channel().0,
        dispatch: mpsc::unbounded_channel().0,
        publish: mpsc::unbounded_channel().0,
        abort: mpsc::unbounded_channel().0,
        workers: mpsc::unbounded_channel().0,
        walk: mpsc::unbounded_channel().0,
    };
    let (sessions, specs, waiting) = (HashMap::new(), HashMap::new(), HashMap::new());
    Loop { board, hands, sessions, reaches: estate.reaches().into(), specs, owned: Owned::default(), waiting }
}

/// The accounts of a frame's ways, if it tells any.
fn ways(frame: &FromLeader) -> Option<Vec<&str>> {
    frame.reaches.as_ref().map(|reaches| reaches.accounts.iter().map(|reach| reach.account.as_str()).collect())
}

#[test]
fn the_way_to_an_account_comes_before_all_that_needs_it_also_in_one_turn() {
    let estate = Estate::new(default_one(), Vec::new());
    let mut leads = new_loop(&estate);
    let (now, mut estates) = watch::channel(Arc::new(estate));
    let (frames, mut told) = mpsc::channel(16);
    let worker = WorkerId::from_uuid(Uuid::from_u128(7));
    let hello = Hello { worker, name: String::new(), concurrency: 8, open: Vec::new() };
    let outlet = Outlet { frames, close: CancellationToken::new() };
    leads.handle(Event::SessionOpened(SESSION, hello, outlet));
    leads.handle(Event::Registered(worker));
    leads.handle(Event::Received(SESSION, Received { heartbeat: Some(1), ..Received::default() }));
    leads.turn(boottime(), &mut estates);
    assert_eq!(ways(&told.try_recv().unwrap()), Some(vec!["111122223333"]));
    assert!(told.try_recv().unwrap().lease.is_some());

    now.send_replace(Arc::new(Estate::new(default_one(), vec![container(1, "222233334444")])));
    leads.handle(Event::WalkAdded(NewWalk {
        id: WalkId { sync: SyncId::from_uuid(Uuid::from_u128(9)), part: 0 },
        account: "222233334444".into(),
        region: "us-east-1".into(),
        step: Step::Keys,
        marker: String::new(),
    }));
    leads.turn(boottime(), &mut estates);
    assert_eq!(ways(&told.try_recv().unwrap()), Some(vec!["111122223333", "222233334444"]));
    assert_eq!(told.try_recv().unwrap().pages[0].account, "222233334444");

    // What changes no way is not told.
    now.send_replace(Arc::new(Estate::new(
        default_one(),
        vec![Container { archived: true, ..container(1, "222233334444") }],
    )));
    leads.turn(boottime(), &mut estates);
    assert!(told.try_recv().is_err());
}
