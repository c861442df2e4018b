//! Registered keys and their synchronizations.

use std::{collections::HashMap, time::Duration};

use job_model::{JobId, KeyAddress, KeyState, SyncId, TaskState};
use job_scheduler::{
    board::{NewWalk, Page, Step, WalkId},
    containers::DEFAULT_ID,
    store::{
        Error,
        create::{Created, NewJob, NewTask},
        follow::{Change, Follow},
        keys::{Key, KeyFilter, KeySort, SeenAlias, SeenKey},
        report::FinalTask,
        syncs::{Begun, Each, NewPart, NewSync, Onward, SyncQuery, Unfinished},
    },
};
use serde_json::json;
use time::OffsetDateTime;
use uuid::Uuid;

use super::{MANY_JOBS, World, at, ended, kylo, new_job};

const ACCOUNT: &str = "111122223333";
const REGION: &str = "eu-west-0";

fn seen(key: &str, state: &str) -> SeenKey {
    SeenKey {
        key_id: key.to_owned(),
        arn: format!("arn:aws:kms:{REGION}:{ACCOUNT}:key/{key}"),
        state: state.to_owned(),
        deletion_date: None,
        metadata: json!({"Origin": "AWS_KMS", "MultiRegion": false, "Of": {"Name": key}}),
        tags: [("name".to_owned(), key.to_owned())].into(),
    }
}

fn keys(keys: Vec<SeenKey>, next: Option<&str>) -> Page {
    Page::Keys { keys, next: next.map(str::to_owned), skipped: 0 }
}

fn aliases(of: &[(&str, &str)]) -> Page {
    let alias = |(name, key): &(&str, &str)| SeenAlias { name: (*name).to_owned(), key_id: (*key).to_owned() };
    Page::Aliases { aliases: of.iter().map(alias).collect(), next: None }
}

fn new_sync(regions: &[&str]) -> NewSync {
    let part = |region: &&str| NewPart {
        kms: "default".to_owned(),
        account: ACCOUNT.to_owned(),
        region: (*region).to_owned(),
    };
    NewSync {
        id: SyncId::from_uuid(Uuid::now_v7()),
        tenant: kylo(),
        created_by: "admin".to_owned(),
        kms: vec!["default".to_owned()],
        containers: vec![DEFAULT_ID],
        regions: Vec::new(),
        all: true,
        parts: regions.iter().map(part).collect(),
        now: at(0),
    }
}

fn walk(sync: SyncId, part: u16, step: Step, marker: &str) -> NewWalk {
    NewWalk {
        id: WalkId { sync, part },
        account: ACCOUNT.into(),
        region: REGION.into(),
        step,
        marker: marker.to_owned(),
    }
}

impl World {
    async fn store_page(&self, walk: &NewWalk, page: Page, now: OffsetDateTime) -> Onward {
        self.store
            .sync_page_store(self.epoch, walk, page, Each::Together, now - Duration::from_secs(10), now)
            .await
            .unwrap()
    }

    /// A whole synchronization that finds these.
    async fn synchronize(&self, found: Vec<SeenKey>, named: &[(&str, &str)], now: OffsetDateTime) -> SyncId {
        let sync = new_sync(&[REGION]);
        assert_eq!(self.store.sync_insert(self.epoch, &sync).await.unwrap(), Begun::New);
        let onward = self.store_page(&walk(sync.id, 0, Step::Keys, ""), keys(found, None), now).await;
        assert_eq!(onward, Onward::Page(Step::Aliases, String::new()));
        let onward = self.store_page(&walk(sync.id, 0, Step::Aliases, ""), aliases(named), now).await;
        assert_eq!(onward, Onward::Sweep);
        while self.store.sync_sweep(self.epoch, WalkId { sync: sync.id, part: 0 }, now).await.unwrap() {}
        sync.id
    }

    async fn keys(&self, filter: KeyFilter) -> Vec<Key> {
        self.store.key_page(&kylo(), &filter, &[(KeySort::KeyId, false)], 0, 100).await.unwrap().1
    }

    async fn states_of_keys(&self) -> Vec<(String, String, bool)> {
        let all = self.keys(KeyFilter::default()).await;
        all.into_iter().map(|key| (key.key_id, key.state, key.gone)).collect()
    }
}

fn states(of: &[(&str, &str, bool)]) -> Vec<(String, String, bool)> {
    of.iter().map(|(key, state, gone)| ((*key).to_owned(), (*state).to_owned(), *gone)).collect()
}

#[tokio::test]
async fn a_synchronization_registers_updates_and_marks_what_is_gone() {
    let world = World::new().await;
    let first = world
        .synchronize(
            vec![seen("k1", "Enabled"), seen("k2", "Disabled")],
            &[("alias/a", "k1"), ("alias/b", "k1")],
            at(1),
        )
        .await;
    let before = world.keys(KeyFilter::default()).await;
    assert_eq!(world.states_of_keys().await, states(&[("k1", "Enabled", false), ("k2", "Disabled", false)]));
    assert_eq!(before[0].aliases, ["alias/a", "alias/b"]);
    let told = world.store.sync_get(&kylo(), first).await.unwrap().unwrap();
    assert_eq!((told.status.as_str(), told.parts[0].step.as_str(), told.parts[0].keys), ("completed", "done", 2));

    world.synchronize(vec![seen("k2", "Enabled"), seen("k3", "Enabled")], &[("alias/a", "k3")], at(2)).await;
    let after = world.keys(KeyFilter::default()).await;
    assert_eq!(
        world.states_of_keys().await,
        states(&[("k1", "Enabled", true), ("k2", "Enabled", false), ("k3", "Enabled", false)])
    );
    assert_eq!((after[1].id, after[0].id), (before[1].id, before[0].id), "a key keeps its resource id");
    assert_eq!((after[0].aliases.len(), &after[2].aliases), (0, &vec!["alias/a".to_owned()]));
    assert_eq!((after[1].updated_at, after[1].created_at), (at(2), at(1)));

    world.synchronize(vec![seen("k1", "Enabled"), seen("k2", "Enabled"), seen("k3", "Enabled")], &[], at(3)).await;
    let back = world.keys(KeyFilter::default()).await;
    assert!(!back[0].gone);
    assert_eq!((back[1].updated_at, back[1].synced_at), (at(2), at(3)), "nothing of it changed");
}

#[tokio::test]
async fn a_page_is_stored_once_and_a_new_leader_goes_on_behind_it() {
    let world = World::new().await;
    let sync = new_sync(&[REGION, "eu-west-1"]);
    assert_eq!(world.store.sync_insert(world.epoch, &sync).await.unwrap(), Begun::New);
    let first = walk(sync.id, 0, Step::Keys, "");
    let page = || keys(vec![seen("k1", "Enabled")], Some("after k1"));
    assert_eq!(world.store_page(&first, page(), at(1)).await, Onward::Page(Step::Keys, "after k1".to_owned()));
    assert_eq!(world.store_page(&first, page(), at(1)).await, Onward::Stale);
    let told = world.store.sync_get(&kylo(), sync.id).await.unwrap().unwrap();
    assert_eq!((told.parts[0].keys, told.status.as_str()), (1, "in_progress"));

    let old = world.epoch;
    let new = world.take_over().await;
    let late = world
        .store
        .sync_page_store(old, &walk(sync.id, 0, Step::Keys, "after k1"), page(), Each::Together, at(0), at(2))
        .await;
    assert!(matches!(late, Err(Error::LostLeadership)));
    let left: Vec<_> = world.store.syncs_unfinished().await.unwrap();
    let places: Vec<_> = left
        .iter()
        .map(|part| match part {
            Unfinished::Walk(walk) => (walk.id.part, walk.step, walk.marker.as_str()),
            Unfinished::Sweep(id) => panic!("{id:?}"),
        })
        .collect();
    assert_eq!(places, [(0, Step::Keys, "after k1"), (1, Step::Keys, "")]);

    // One part fails, and the other is swept: the whole is an error, and nothing of the failed one is marked gone.
    world.store.sync_fail(new, WalkId { sync: sync.id, part: 0 }, "AccessDeniedException: no", at(3)).await.unwrap();
    let other = NewWalk { region: "eu-west-1".into(), ..walk(sync.id, 1, Step::Keys, "") };
    world.store.sync_page_store(new, &other, keys(Vec::new(), None), Each::Together, at(0), at(3)).await.unwrap();
    let other = NewWalk { step: Step::Aliases, ..other };
    world.store.sync_page_store(new, &other, aliases(&[]), Each::Together, at(0), at(3)).await.unwrap();
    assert!(matches!(world.store.syncs_unfinished().await.unwrap()[..], [Unfinished::Sweep(WalkId { part: 1, .. })]));
    assert!(!world.store.sync_sweep(new, other.id, at(4)).await.unwrap());
    let told = world.store.sync_get(&kylo(), sync.id).await.unwrap().unwrap();
    assert_eq!((told.status.as_str(), told.completed_at), ("error", Some(at(4))));
    assert_eq!(told.parts[0].detail.as_deref(), Some("AccessDeniedException: no"));
    assert_eq!(world.states_of_keys().await, states(&[("k1", "Enabled", false)]));
}

#[tokio::test]
async fn a_key_that_cannot_be_stored_costs_itself_alone() {
    let world = World::new().await;
    let sync = new_sync(&[REGION]);
    assert_eq!(world.store.sync_insert(world.epoch, &sync).await.unwrap(), Begun::New);
    let place = walk(sync.id, 0, Step::Keys, "");
    let page = || keys(vec![seen("k1", "Enabled"), seen("k\0", "Enabled"), seen("k3", "Enabled")], Some("more"));
    let whole = world.store.sync_page_store(world.epoch, &place, page(), Each::Together, at(0), at(1)).await;
    assert!(whole.is_err_and(|error| error.is_lasting()));
    assert!(world.states_of_keys().await.is_empty());

    let onward = world.store.sync_page_store(world.epoch, &place, page(), Each::Alone, at(0), at(1)).await.unwrap();
    assert_eq!(onward, Onward::Page(Step::Keys, "more".to_owned()));
    assert_eq!(world.states_of_keys().await, states(&[("k1", "Enabled", false), ("k3", "Enabled", false)]));
    let told = world.store.sync_get(&kylo(), sync.id).await.unwrap().unwrap();
    assert_eq!((told.parts[0].keys, told.parts[0].skipped), (2, 1));

    // A marker is no entry.
    let place = walk(sync.id, 0, Step::Keys, "more");
    let page = keys(vec![seen("k4", "Enabled")], Some("\0"));
    let refused = world.store.sync_page_store(world.epoch, &place, page, Each::Alone, at(0), at(1)).await;
    assert!(refused.is_err_and(|error| error.is_lasting()));
    // And what passes is told apart.
    let late =
        world.store.sync_page_store(world.epoch + 1, &place, keys(Vec::new(), None), Each::Alone, at(0), at(1)).await;
    assert!(late.is_err_and(|error| !error.is_lasting()));
}

#[tokio::test]
async fn one_at_a_time_for_a_container_until_it_ends_or_is_canceled() {
    let world = World::new().await;
    let (first, elsewhere) = (new_sync(&[REGION]), new_sync(&["eu-west-1"]));
    assert_eq!(world.store.sync_insert(world.epoch, &first).await.unwrap(), Begun::New);
    for second in [&new_sync(&["eu-west-1", REGION]), &elsewhere] {
        assert_eq!(world.store.sync_insert(world.epoch, second).await.unwrap(), Begun::Runs);
        assert!(world.store.sync_get(&kylo(), second.id).await.unwrap().is_none(), "nothing of it is left");
    }

    assert!(!world.store.sync_cancel(world.epoch, &"acme:acme".parse().unwrap(), first.id, at(1)).await.unwrap());
    for _ in 0..2 {
        assert!(world.store.sync_cancel(world.epoch, &kylo(), first.id, at(1)).await.unwrap());
    }
    let late =
        world.store_page(&walk(first.id, 0, Step::Keys, ""), keys(vec![seen("k", "Enabled")], None), at(2)).await;
    assert_eq!(late, Onward::Stale);
    assert!(world.states_of_keys().await.is_empty());
    let told = world.store.sync_get(&kylo(), first.id).await.unwrap().unwrap();
    assert_eq!(
        (told.status.as_str(), told.parts[0].step.as_str(), told.completed_at),
        ("canceled", "canceled", Some(at(1)))
    );
    assert_eq!(world.store.sync_insert(world.epoch, &new_sync(&[REGION])).await.unwrap(), Begun::New);

    let listed =
        async |query: SyncQuery| world.store.sync_page(&kylo(), &SyncQuery { limit: 10, ..query }).await.unwrap().0;
    assert_eq!(listed(SyncQuery::default()).await, 2);
    assert_eq!(listed(SyncQuery { status: Some("canceled".to_owned()), ..SyncQuery::default() }).await, 1);
    for (account, count) in [("222233334444", 0), (ACCOUNT, 2)] {
        let account = Some(vec![account.to_owned()]);
        assert_eq!(listed(SyncQuery { seen: account.clone(), ..SyncQuery::default() }).await, count);
        assert_eq!(listed(SyncQuery { accounts: account, ..SyncQuery::default() }).await, count);
    }
}

#[tokio::test]
async fn a_list_has_the_keys_that_match() {
    let world = World::new().await;
    world
        .synchronize(
            vec![seen("k1", "Enabled"), seen("k2", "Disabled"), seen("k3", "Enabled")],
            &[("alias/pay-1", "k1"), ("alias/pay_2", "k2"), ("alias/log", "k2")],
            at(1),
        )
        .await;
    let all = world.keys(KeyFilter::default()).await;
    let names = async |filter: KeyFilter| {
        world.keys(filter).await.into_iter().map(|key| key.key_id).collect::<Vec<_>>().join(" ")
    };
    let text = |text: &str| vec![text.to_owned()];
    let described = |field: &str, value: &str| (field.to_owned(), text(value));
    for (filter, expected) in [
        (KeyFilter { ids: vec![all[1].id], ..KeyFilter::default() }, "k2"),
        (
            KeyFilter { key_ids: vec!["k1".to_owned(), "k3".to_owned(), "k9".to_owned()], ..KeyFilter::default() },
            "k1 k3",
        ),
        (KeyFilter { arns: text(&all[2].arn), ..KeyFilter::default() }, "k3"),
        (KeyFilter { aliases: text("alias/log"), ..KeyFilter::default() }, "k2"),
        (KeyFilter { alias_prefix: Some("alias/pay".to_owned()), ..KeyFilter::default() }, "k1 k2"),
        (KeyFilter { alias_prefix: Some("alias/pay_".to_owned()), ..KeyFilter::default() }, "k2"),
        (KeyFilter { accounts: Some(text(ACCOUNT)), regions: text(REGION), ..KeyFilter::default() }, "k1 k2 k3"),
        (KeyFilter { accounts: Some(Vec::new()), ..KeyFilter::default() }, ""),
        (KeyFilter { regions: text("eu-west-1"), ..KeyFilter::default() }, ""),
        (KeyFilter { states: text("Disabled"), ..KeyFilter::default() }, "k2"),
        (KeyFilter { enabled: Some(true), gone: Some(false), ..KeyFilter::default() }, "k1 k3"),
        (KeyFilter { gone: Some(true), ..KeyFilter::default() }, ""),
        (
            KeyFilter {
                tags: vec![
                    HashMap::from([("name".to_owned(), "k1".to_owned())]),
                    HashMap::from([("name".to_owned(), "k3".to_owned())]),
                ],
                ..KeyFilter::default()
            },
            "k1 k3",
        ),
        (KeyFilter { origins: text("EXTERNAL"), ..KeyFilter::default() }, ""),
        (KeyFilter { partitions: text("aws"), ..KeyFilter::default() }, "k1 k2 k3"),
        (KeyFilter { partitions: text("aws-cn"), ..KeyFilter::default() }, ""),
        (KeyFilter { described: vec![described("MultiRegion", "false")], ..KeyFilter::default() }, "k1 k2 k3"),
        (KeyFilter { described: vec![described("MultiRegion", "true")], ..KeyFilter::default() }, ""),
        (
            KeyFilter {
                described: vec![described("Of.Name", "k2"), described("Origin", "AWS_KMS")],
                ..KeyFilter::default()
            },
            "k2",
        ),
        (KeyFilter { described: vec![described("Elsewhere", "k2")], ..KeyFilter::default() }, ""),
    ] {
        assert_eq!(names(filter.clone()).await, expected, "{filter:?}");
    }
    let strangers =
        world.store.key_page(&"acme:acme".parse().unwrap(), &KeyFilter::default(), &[], 0, 10).await.unwrap();
    assert_eq!(strangers, (0, Vec::new()));
    for by in [
        KeySort::Id,
        KeySort::CreatedAt,
        KeySort::UpdatedAt,
        KeySort::Arn,
        KeySort::Region,
        KeySort::State,
        KeySort::Alias,
        KeySort::Enabled,
        KeySort::CreationDate,
        KeySort::Origin,
    ] {
        let (total, page) = world.store.key_page(&kylo(), &KeyFilter::default(), &[(by, true)], 1, 1).await.unwrap();
        assert_eq!((total, page.len()), (3, 1), "{by:?}");
    }
}

/// A job whose keys have ended so, in this order.
async fn follow(world: &World, changes: &[(&str, Change)], now: OffsetDateTime) {
    let lanes = vec![Some(0); changes.len()];
    let job = new_job(&lanes);
    assert_eq!(world.create(&job, &lanes).await, Created::New);
    let batch: Vec<_> = (0..)
        .zip(changes)
        .map(|(seq, (key, change))| {
            let key = KeyAddress { account: ACCOUNT.into(), region: REGION.into(), id: (*key).into() };
            FinalTask { follow: Some(Follow { key, change: *change }), ..ended(job.id, seq, TaskState::Succeeded) }
        })
        .collect();
    world.store.task_finish_batch(world.epoch, &batch, now).await.unwrap();
}

#[tokio::test]
async fn the_cached_state_follows_jobs_and_an_older_reading_does_not_undo_it() {
    let world = World::new().await;
    let all = || vec![seen("k1", "Enabled"), seen("k2", "Enabled"), seen("k3", "Enabled"), seen("k4", "Enabled")];
    world.synchronize(all(), &[], at(0)).await;
    let brought = |state, days| Change::Brought { state, days };
    follow(
        &world,
        &[
            ("k1", brought(KeyState::Enabled, None)),
            ("k1", brought(KeyState::Disabled, None)),
            ("k2", brought(KeyState::PendingDeletion, Some(7))),
            ("k3", Change::Seen(KeyState::PendingImport)),
            ("k4", Change::Gone),
            ("unregistered", brought(KeyState::Disabled, None)),
        ],
        at(100),
    )
    .await;
    let after = states(&[
        ("k1", "Disabled", false),
        ("k2", "PendingDeletion", false),
        ("k3", "PendingImport", false),
        ("k4", "Enabled", true),
    ]);
    assert_eq!(world.states_of_keys().await, after);
    assert_eq!(world.keys(KeyFilter::default()).await[1].deletion_date, Some(at(100 + 7 * 24 * 60 * 60)));

    // A page that was asked for before the write may tell of an older state; one from well after it does not.
    follow(&world, &[("k1", Change::Seen(KeyState::Enabled))], at(105)).await;
    world.synchronize(all(), &[], at(108)).await;
    let kept = states(&[
        ("k1", "Disabled", false),
        ("k2", "PendingDeletion", false),
        ("k3", "Enabled", false),
        ("k4", "Enabled", false),
    ]);
    assert_eq!(world.states_of_keys().await, kept);
    world.synchronize(all(), &[], at(111)).await;
    assert!(world.states_of_keys().await.iter().all(|(_, state, gone)| state == "Enabled" && !gone));
}

#[tokio::test]
async fn a_task_named_by_a_resource_id_is_dispatched_by_its_key_and_told_as_it_was_named() {
    let world = World::new().await;
    world.synchronize(vec![seen("k1", "Enabled")], &[], at(0)).await;
    assert!(world.store.keys_any(&kylo()).await.unwrap());
    assert!(!world.store.keys_any(&"acme:acme".parse().unwrap()).await.unwrap());
    let resource = world.keys(KeyFilter::default()).await[0].id.as_uuid();
    let found = world.store.keys_resolve(&kylo(), &[resource, Uuid::now_v7()]).await.unwrap();
    assert_eq!(found, HashMap::from([(resource, (ACCOUNT.to_owned(), REGION.to_owned(), "k1".to_owned()))]));
    assert!(world.store.keys_resolve(&"acme:acme".parse().unwrap(), &[resource]).await.unwrap().is_empty());

    let job = NewJob { id: JobId::from_uuid(Uuid::now_v7()), ..new_job(&[Some(0)]) };
    let mut draft = world.store.draft_begin(job.id).await.unwrap();
    let task =
        NewTask { seq: 0, lane: Some(0), key: resource.to_string(), aws_key: Some("k1".to_owned()), detail: None };
    draft.tasks_insert(vec![task], at(0)).await.unwrap();
    assert!(draft.any_registered(&job.lanes).await.unwrap());
    let follows = NewJob { follows: true, ..job.clone() };
    assert_eq!(draft.commit(world.epoch, &follows, None, MANY_JOBS).await.unwrap(), Created::New);
    assert!(world.read(job.id).await.follows);
    for from in [0, 0] {
        let dispatched = world.store.task_dispatch(world.epoch, job.id, 0, 10, from, 0).await.unwrap();
        assert_eq!(dispatched.tasks, [(0, "k1".to_owned())]);
    }
    assert_eq!(world.store.lanes_of(job.id).await.unwrap()[0].open, [(0, "k1".to_owned())]);
    assert_eq!(world.store.task_page(job.id, 0, 1).await.unwrap()[0].key, resource.to_string());
}

#[tokio::test]
async fn a_selection_makes_one_task_of_each_key_that_matches_at_that_moment() {
    let world = World::new().await;
    world
        .synchronize(
            vec![seen("k2", "Enabled"), seen("k1", "Enabled"), seen("k3", "Disabled")],
            &[("alias/pay", "k3")],
            at(1),
        )
        .await;
    let select = async |filter: KeyFilter| {
        let id = JobId::from_uuid(Uuid::now_v7());
        let mut draft = world.store.draft_begin(id).await.unwrap();
        let lanes = draft.tasks_select(&kylo(), &filter).await.unwrap();
        let total = lanes.iter().map(|lane| lane.tasks).sum();
        if total == 0 {
            return Vec::new();
        }
        let selector = Some("{\"state\": \"Enabled\"}".to_owned());
        let job = NewJob { id, lanes, total, failed: 0, selector, ..new_job(&[]) };
        assert_eq!(draft.commit(world.epoch, &job, None, MANY_JOBS).await.unwrap(), Created::New);
        assert_eq!(world.read(id).await.selector, job.selector);
        assert_eq!(world.dispatch(id, 0, 10, 0).await.len(), usize::try_from(total).unwrap());
        let tasks = world.store.task_page(id, 0, 10).await.unwrap();
        tasks.into_iter().map(|task| task.key.rsplit('/').next().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let state = |state: &str| KeyFilter { states: vec![state.to_owned()], ..KeyFilter::default() };
    assert_eq!(select(state("Enabled")).await, ["k1", "k2"]);
    let prefix = Some("alias/p".to_owned());
    assert_eq!(select(KeyFilter { alias_prefix: prefix, ..KeyFilter::default() }).await, ["k3"]);
    assert!(select(state("PendingDeletion")).await.is_empty());
    assert_eq!(world.count("SELECT count(*) FROM tasks").await, 3, "what is not committed leaves nothing");
}
