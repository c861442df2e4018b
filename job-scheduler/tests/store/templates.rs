//! Policy templates, and the keys that have them.

use job_model::{JobId, KeyAddress, Operation, TaskState, ids::TemplateId};
use job_scheduler::{
    policies::Grants,
    store::{
        create::{Created, NewJob},
        follow::{Change, Follow},
        report::FinalTask,
        templates::{Template, TemplateQuery, TemplateSort},
    },
};
use uuid::Uuid;

use super::{MANY_JOBS, World, at, ended, kylo, new_job};

const ACCOUNT: &str = "111122223333";

fn template(name: &str) -> Template {
    Template {
        id: TemplateId::from_uuid(Uuid::now_v7()),
        name: name.to_owned(),
        account: Some(ACCOUNT.to_owned()),
        policy: "{}".to_owned(),
        grants: Some(Grants { key_users: vec!["bob".to_owned()], ..Grants::default() }),
        created_at: at(0),
        updated_at: at(0),
        verified: false,
    }
}

fn page() -> TemplateQuery {
    TemplateQuery { limit: 10, ..TemplateQuery::default() }
}

async fn insert(world: &World, template: &Template) {
    assert!(world.store.template_insert(&kylo(), template, "admin").await.unwrap());
}

/// A job that has put the template on these keys of its first Region.
async fn applied(world: &World, template: &Template, keys: &[&str]) -> JobId {
    let lanes = vec![Some(0); keys.len()];
    let job = NewJob {
        operation: Operation::ApplyPolicyTemplate,
        policy_template_id: Some(template.id.to_string()),
        policy: Some(template.policy.clone()),
        ..new_job(&lanes)
    };
    assert_eq!(world.create(&job, &lanes).await, Created::New);
    let batch: Vec<_> = (0..)
        .zip(keys)
        .map(|(seq, key)| {
            let key = KeyAddress { account: ACCOUNT.into(), region: "eu-west-0".into(), id: (*key).into() };
            let follow = Some(Follow { key, change: Change::Policy });
            FinalTask { follow, ..ended(job.id, seq, TaskState::Succeeded) }
        })
        .collect();
    world.store.task_finish_batch(world.epoch, &batch, at(1)).await.unwrap();
    job.id
}

#[tokio::test]
async fn a_template_is_found_by_id_or_name_in_its_tenant_alone() {
    let world = World::new().await;
    let ours = template("lock");
    insert(&world, &ours).await;
    let acme = "acme:acme".parse().unwrap();
    for named in ["lock", &ours.id.to_string()] {
        assert_eq!(world.store.template_get(&kylo(), named).await.unwrap().as_ref(), Some(&ours));
        assert_eq!(world.store.template_get(&acme, named).await.unwrap(), None);
    }
    assert_eq!(world.store.template_get(&kylo(), "lock2").await.unwrap(), None);

    // A name is one of a kind in its tenant, and an id goes before a name that reads like it.
    let again = template("lock");
    assert!(!world.store.template_insert(&kylo(), &again, "admin").await.unwrap());
    assert!(world.store.template_insert(&acme, &again, "admin").await.unwrap());
    insert(&world, &template(&ours.id.to_string())).await;
    assert_eq!(world.store.template_get(&kylo(), &ours.id.to_string()).await.unwrap().unwrap().name, "lock");

    assert!(!world.store.template_delete(&acme, ours.id).await.unwrap());
    assert!(world.store.template_delete(&kylo(), ours.id).await.unwrap());
    assert!(!world.store.template_delete(&kylo(), ours.id).await.unwrap());
    assert_eq!(world.store.template_get(&kylo(), "lock").await.unwrap(), None);
}

#[tokio::test]
async fn a_list_has_what_matches_in_the_asked_order() {
    let world = World::new().await;
    let documents = Template { account: None, grants: None, created_at: at(5), ..template("b") };
    for each in [&template("c"), &documents, &template("a")] {
        insert(&world, each).await;
    }
    let names = async |query: TemplateQuery| {
        let (total, found) = world.store.template_page(&kylo(), &query).await.unwrap();
        (total, found.into_iter().map(|template| template.name).collect::<Vec<_>>().concat())
    };
    assert_eq!(names(page()).await, (3, "abc".to_owned()));
    assert_eq!(names(TemplateQuery { skip: 1, limit: 1, ..page() }).await, (3, "b".to_owned()));
    let newest = Some((TemplateSort::CreatedAt, true));
    assert_eq!(names(TemplateQuery { sort: newest, limit: 1, ..page() }).await, (3, "b".to_owned()));
    let accounts = Some(vec![ACCOUNT.to_owned()]);
    assert_eq!(names(TemplateQuery { accounts, ..page() }).await, (2, "ac".to_owned()));
    assert_eq!(names(TemplateQuery { id: Some(documents.id), ..page() }).await, (1, "b".to_owned()));
    assert_eq!(names(TemplateQuery { name: Some("c".to_owned()), ..page() }).await, (1, "c".to_owned()));
    assert_eq!(names(TemplateQuery { verified: Some(true), ..page() }).await, (0, String::new()));
}

#[tokio::test]
async fn a_key_has_the_template_that_was_put_on_it_last_and_a_push_goes_to_the_keys_that_have_it() {
    let world = World::new().await;
    let (one, other) = (template("one"), template("other"));
    insert(&world, &one).await;
    insert(&world, &other).await;
    applied(&world, &one, &["k1", "k2", "k3", "k3"]).await;
    applied(&world, &other, &["k2"]).await;
    for (template, verified) in [(&one, true), (&other, true)] {
        assert_eq!(world.store.template_get(&kylo(), &template.name).await.unwrap().unwrap().verified, verified);
    }

    let id = JobId::from_uuid(Uuid::now_v7());
    let mut draft = world.store.draft_begin(id).await.unwrap();
    let locked = draft.template_lock(&kylo(), "one").await.unwrap().unwrap();
    let changed = Template { policy: "{\"a\": 1}".to_owned(), grants: None, updated_at: at(9), ..locked };
    draft.template_change(&changed).await.unwrap();
    let lanes = draft.tasks_of_template(one.id).await.unwrap();
    assert_eq!(lanes.iter().map(|lane| (lane.region.as_str(), lane.tasks)).collect::<Vec<_>>(), [("eu-west-0", 2)]);
    let job = NewJob { id, lanes, total: 2, failed: 0, ..new_job(&[]) };
    assert_eq!(draft.commit(world.epoch, &job, None, MANY_JOBS).await.unwrap(), Created::New);

    let keys: Vec<_> = world.store.task_page(id, 0, 10).await.unwrap().into_iter().map(|task| task.key).collect();
    assert_eq!(keys, ["k1", "k3"].map(|key| format!("arn:aws:kms:eu-west-0:{ACCOUNT}:key/{key}")));
    assert_eq!(world.dispatch(id, 0, 10, 0).await, [0, 1]);
    let told = world.store.template_get(&kylo(), "one").await.unwrap().unwrap();
    assert_eq!((told.policy.as_str(), told.grants, told.updated_at), ("{\"a\": 1}", None, at(9)));
}

#[tokio::test]
async fn a_change_whose_push_is_not_committed_is_none() {
    let world = World::new().await;
    let template = template("one");
    insert(&world, &template).await;
    applied(&world, &template, &["k1"]).await;
    let before = world.everything().await;
    let old_epoch = world.epoch;
    let changed = Template { policy: "[]".to_owned(), ..template.clone() };

    let mut dropped = world.store.draft_begin(JobId::from_uuid(Uuid::now_v7())).await.unwrap();
    dropped.template_change(&changed).await.unwrap();
    dropped.tasks_of_template(template.id).await.unwrap();
    drop(dropped);
    assert_eq!(world.store.template_get(&kylo(), "one").await.unwrap().unwrap().policy, "{}");
    assert_eq!(world.everything().await, before);

    world.take_over().await;
    let mut late = world.store.draft_begin(JobId::from_uuid(Uuid::now_v7())).await.unwrap();
    late.template_change(&changed).await.unwrap();
    assert!(late.commit_without_job(old_epoch).await.is_err());
    assert_eq!(world.store.template_get(&kylo(), "one").await.unwrap().unwrap().policy, "{}");
}
