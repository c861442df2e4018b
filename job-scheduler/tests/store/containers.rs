//! Containers: one for each account and name, who may do what, and what waits for whom.

use std::collections::HashMap;

use job_model::{ContainerId, TaskState, Tenant};
use job_scheduler::{
    containers::{Acl, Container, DEFAULT_ID, Who},
    store::{
        Error, Store,
        acls::AclChange,
        containers::{Changed, ContainerChange, Deleted, Inserted},
        create::{Created, NewJob, NewLane},
        jobs::ListQuery,
    },
};
use uuid::Uuid;

use super::{World, at, in_time, kylo, new_job};

/// The account of the jobs that the tests make.
const ACCOUNT: &str = "111122223333";

fn container(tenant: &Tenant, name: &str, account: &str) -> Container {
    Container {
        id: ContainerId::from_uuid(Uuid::now_v7()),
        name: name.to_owned(),
        regions: vec!["eu-west-0".to_owned(), "eu-west-1".to_owned()],
        connection: "prod".to_owned(),
        role_arn: "arn:aws:iam::111122223333:role/keyfleet".to_owned(),
        external_id: "secret".to_owned(),
        created_at: at(0),
        updated_at: at(0),
        ..Container::default_of(tenant.clone(), account.to_owned(), String::new())
    }
}

async fn insert(world: &World, container: &Container) {
    let done = world.store.container_insert(world.epoch, container, "admin").await.unwrap();
    assert_eq!(done, Inserted::New);
}

/// A job of one key that needs these containers.
fn needing(containers: &[&Container]) -> NewJob {
    NewJob { containers: containers.iter().map(|container| container.id).collect(), ..new_job(&[Some(0)]) }
}

fn change(who: &Who, permit: bool, actions: &[&str]) -> AclChange {
    let actions = actions.iter().map(|action| (*action).to_owned()).collect();
    AclChange { who: who.clone(), permit, actions }
}

fn acl(who: &Who, actions: &[&str]) -> Acl {
    Acl { who: who.clone(), actions: actions.iter().map(|action| (*action).to_owned()).collect() }
}

#[tokio::test]
async fn an_account_has_one_container_and_a_name_is_one_of_a_kind_in_its_tenant() {
    let world = World::new().await;
    let acme: Tenant = "acme:acme".parse().unwrap();
    let first = container(&kylo(), "prod", "222233334444");
    insert(&world, &first).await;
    insert(&world, &container(&acme, "prod", "333344445555")).await;
    for (other, expected) in [
        (container(&kylo(), "prod", "444455556666"), Inserted::NameTaken),
        (container(&kylo(), "test", "222233334444"), Inserted::AccountTaken),
        (container(&acme, "test", "222233334444"), Inserted::AccountTaken),
    ] {
        let done = world.store.container_insert(world.epoch, &other, "admin").await.unwrap();
        assert_eq!(done, expected);
    }
    let all = world.store.containers_all().await.unwrap();
    assert_eq!((all.len(), &all[0]), (2, &first));
}

#[tokio::test]
async fn only_what_is_given_changes() {
    let world = World::new().await;
    let (first, second) = (container(&kylo(), "prod", "222233334444"), container(&kylo(), "test", "333344445555"));
    insert(&world, &first).await;
    insert(&world, &second).await;
    let update = async |id, change: &ContainerChange| {
        world.store.container_update(world.epoch, id, change, at(9)).await.unwrap()
    };
    let name = |name: &str| ContainerChange { name: Some(name.to_owned()), ..ContainerChange::default() };
    assert_eq!(update(first.id, &name("test")).await, Changed::NameTaken);
    assert_eq!(update(ContainerId::from_uuid(Uuid::now_v7()), &name("new")).await, Changed::Unknown);
    assert_eq!(world.store.containers_all().await.unwrap(), [first.clone(), second.clone()]);

    assert_eq!(update(first.id, &name("new")).await, Changed::Done);
    let rest = ContainerChange {
        name: None,
        regions: Some(vec!["us-east-1".to_owned()]),
        connection: Some(String::new()),
        role_arn: Some(String::new()),
        external_id: Some(String::new()),
    };
    assert_eq!(update(second.id, &rest).await, Changed::Done);
    let all = world.store.containers_all().await.unwrap();
    assert_eq!(all[0], Container { name: "new".to_owned(), updated_at: at(9), ..first });
    assert_eq!((all[1].name.as_str(), all[1].regions.len(), all[1].role_arn.as_str()), ("test", 1, ""));
}

#[tokio::test]
async fn acls_are_given_and_taken_away_in_order() {
    let world = World::new().await;
    let prod = container(&kylo(), "prod", "222233334444");
    insert(&world, &prod).await;
    let (alice, ops) = (Who::user("alice"), Who::Group("ops".to_owned()));
    let give = async |id, changes: &[AclChange]| {
        let done = world.store.acls_change(world.epoch, id, changes, at(5)).await.unwrap();
        (done, world.store.acls_all().await.unwrap())
    };
    // A user and a group of one name are two.
    let both = Who::Group("alice".to_owned());
    let first = [
        change(&alice, true, &["view", "keybulkoperation", "view"]),
        change(&ops, true, &["view"]),
        change(&both, true, &["zeta"]),
    ];
    let (done, all) = give(prod.id, &first).await;
    let expected = vec![acl(&alice, &["keybulkoperation", "view"]), acl(&both, &["zeta"]), acl(&ops, &["view"])];
    assert_eq!((done, all), (Changed::Done, HashMap::from([(prod.id, expected)])));
    assert_eq!(world.store.containers_all().await.unwrap()[0].updated_at, at(5));

    let second = [
        change(&alice, true, &["alpha"]),
        change(&alice, false, &["view", "unknown"]),
        change(&ops, false, &["view"]),
        change(&both, false, &["other"]),
    ];
    let (_, all) = give(prod.id, &second).await;
    assert_eq!(all[&prod.id], [acl(&alice, &["alpha", "keybulkoperation"]), acl(&both, &["zeta"])]);

    // The default one has no row, and ACLs all the same.
    let (done, all) = give(DEFAULT_ID, &[change(&ops, true, &["view"])]).await;
    assert_eq!((done, &all[&DEFAULT_ID][..]), (Changed::Done, &[acl(&ops, &["view"])][..]));
    let (done, all) = give(ContainerId::from_uuid(Uuid::now_v7()), &first).await;
    assert_eq!((done, all.len()), (Changed::Unknown, 2));
}

#[tokio::test]
async fn an_archived_or_deleted_container_takes_no_job() {
    let world = World::new().await;
    let prod = container(&kylo(), "prod", ACCOUNT);
    insert(&world, &prod).await;
    let archive = async |archived| world.store.container_archive(world.epoch, prod.id, archived, at(1)).await.unwrap();
    assert_eq!(archive(true).await, Changed::Done);
    assert_eq!(world.create(&needing(&[&prod]), &[Some(0)]).await, Created::ContainerClosed(prod.id));
    assert_eq!(archive(false).await, Changed::Done);
    let job = needing(&[&prod]);
    assert_eq!(world.create(&job, &[Some(0)]).await, Created::New);

    let delete = async || world.store.container_delete(world.epoch, prod.id).await.unwrap();
    assert_eq!(delete().await, Deleted::JobsRun);
    // Archiving does not wait for it.
    assert_eq!(archive(true).await, Changed::Done);
    world.end(job.id, &[0], TaskState::Succeeded, at(2)).await;
    world.store.job_finish(world.epoch, job.id, at(2)).await.unwrap();
    assert_eq!(delete().await, Deleted::Done);
    assert_eq!(delete().await, Deleted::Unknown);
    assert_eq!(world.create(&needing(&[&prod]), &[Some(0)]).await, Created::ContainerClosed(prod.id));
    assert_eq!(world.read(job.id).await.containers, [prod.id]);
}

/// Whichever commits first, the other sees it.
#[tokio::test]
async fn a_job_that_is_being_created_holds_up_the_delete_of_its_container() {
    let world = World::new().await;
    let prod = container(&kylo(), "prod", ACCOUNT);
    insert(&world, &prod).await;
    let store = Store::from_pool(world.pool.clone());
    // Stops the job after it has taken hold of the container, at the table of jobs.
    let mut holding = world.pool.begin().await.unwrap();
    sqlx::query("LOCK TABLE job_lanes IN EXCLUSIVE MODE").execute(&mut *holding).await.unwrap();
    let (writer, epoch, job) = (store.clone(), world.epoch, needing(&[&prod]));
    let creating = tokio::spawn(async move {
        let mut draft = writer.draft_begin(job.id).await.unwrap();
        draft.tasks_insert(super::new_tasks(&[Some(0)]), job.now).await.unwrap();
        draft.commit(epoch, &job, None, 10).await
    });
    world.until_blocked(1).await;
    let (deleter, id) = (store, prod.id);
    let deleting = tokio::spawn(async move { deleter.container_delete(epoch, id).await });
    world.until_blocked(2).await;
    holding.commit().await.unwrap();
    assert_eq!(in_time(creating).await.unwrap().unwrap(), Created::New);
    assert_eq!(in_time(deleting).await.unwrap().unwrap(), Deleted::JobsRun);
}

#[tokio::test]
async fn an_old_leader_changes_no_container() {
    let world = World::new().await;
    let prod = container(&kylo(), "prod", "222233334444");
    insert(&world, &prod).await;
    let old = world.epoch;
    world.take_over().await;
    let before = world.everything().await;
    let store = &world.store;
    let new = container(&kylo(), "new", "333344445555");
    let ops = [change(&Who::Group("ops".to_owned()), true, &["view"])];
    let refusals = [
        store.container_insert(old, &new, "admin").await.unwrap_err(),
        store.container_update(old, prod.id, &ContainerChange::default(), at(1)).await.unwrap_err(),
        store.container_archive(old, prod.id, true, at(1)).await.unwrap_err(),
        store.container_delete(old, prod.id).await.unwrap_err(),
        store.acls_change(old, prod.id, &ops, at(1)).await.unwrap_err(),
    ];
    assert!(refusals.iter().all(|error| matches!(error, Error::LostLeadership)), "{refusals:?}");
    assert_eq!(world.everything().await, before);
}

#[tokio::test]
async fn the_list_shows_jobs_all_of_whose_containers_are_permitted() {
    let world = World::new().await;
    let (prod, test) = (container(&kylo(), "prod", "222233334444"), container(&kylo(), "test", "333344445555"));
    insert(&world, &prod).await;
    insert(&world, &test).await;
    let job = async |containers: &[&Container]| {
        let lanes = vec![NewLane { account: prod.account.clone(), region: "eu-west-0".to_owned(), tasks: 1 }];
        let job = NewJob { lanes, ..needing(containers) };
        assert_eq!(world.create(&job, &[Some(0)]).await, Created::New);
        job.id
    };
    let (of_prod, of_test, of_both) = (job(&[&prod]).await, job(&[&test]).await, job(&[&prod, &test]).await);
    let of_default = new_job(&[Some(0)]);
    world.create(&of_default, &[Some(0)]).await;
    for (permitted, expected) in [
        (Some(vec![]), vec![]),
        (Some(vec![prod.id]), vec![of_prod]),
        (Some(vec![test.id, DEFAULT_ID]), vec![of_test, of_default.id]),
        (Some(vec![test.id, prod.id]), vec![of_prod, of_test, of_both]),
        (None, vec![of_prod, of_test, of_both, of_default.id]),
    ] {
        let query =
            ListQuery { tenant: kylo(), permitted, id: None, status: None, sort: Vec::new(), skip: 0, limit: 9 };
        let (total, mut found) = world.store.job_list(&query).await.unwrap();
        found.sort_by_key(|job| job.id);
        assert_eq!(found.iter().map(|job| job.id).collect::<Vec<_>>(), expected, "{:?}", query.permitted);
        assert_eq!(total, expected.len() as u64);
    }
}

#[tokio::test]
async fn what_was_known_of_its_keys_goes_with_a_container() {
    let world = World::new().await;
    let prod = container(&kylo(), "prod", ACCOUNT);
    insert(&world, &prod).await;
    world
        .store
        .acls_change(world.epoch, prod.id, &[change(&Who::user("alice"), true, &["view"])], at(1))
        .await
        .unwrap();
    for account in [ACCOUNT, "222233334444"] {
        for rows in [
            "INSERT INTO keys (id, tenant, account, region, key_id, arn, state, metadata, tags, created_at, updated_at,
                               synced_at, seen_by)
             VALUES (gen_random_uuid(), 'kylo:kylo', $1, 'eu-west-0', 'k', '', 'Enabled', '{}', '{}', now(), now(), now(),
                     gen_random_uuid())",
            "INSERT INTO key_aliases VALUES ('kylo:kylo', $1, 'eu-west-0', 'alias/a', 'k', gen_random_uuid())",
            "INSERT INTO template_uses VALUES ($1, 'eu-west-0', 'k', gen_random_uuid())",
        ] {
            sqlx::query(rows).bind(account).execute(&world.pool).await.unwrap();
        }
    }
    assert_eq!(world.store.container_delete(world.epoch, prod.id).await.unwrap(), Deleted::Done);
    for rows in [
        "SELECT count(*) FILTER (WHERE account = '222233334444') * 10 + count(*) FROM keys",
        "SELECT count(*) FILTER (WHERE account = '222233334444') * 10 + count(*) FROM key_aliases",
        "SELECT count(*) FILTER (WHERE account = '222233334444') * 10 + count(*) FROM template_uses",
    ] {
        assert_eq!(world.count(rows).await, 11, "{rows}");
    }
    assert_eq!(world.count("SELECT count(*) FROM container_acls").await, 0);
}
