//! Creating jobs: what is refused, and what a refusal leaves behind (nothing).

use std::time::Duration;

use keyfleet_proto::jobs::v1::{
    CreateJobRequest, CreateTemplateRequest, ListTemplatesRequest, Operation, OverallStatus,
    create_job_request::{Commit, Part},
};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Code;

use super::{
    in_time,
    site::{CALM, STRANGER, Site, TENANT, admin, begin, commit, created, keys_part, parts, tasks},
    worker::Worker,
};

#[tokio::test]
async fn a_stream_without_commit_stores_nothing() {
    let site = Site::with(&CALM).await;
    let ended = site.send(vec![begin(TENANT), keys_part(&["key-0", "key-1"])]).await.unwrap_err();
    assert_eq!(ended.code(), Code::Cancelled);

    // A caller that leaves midway.
    let (stream, outgoing) = mpsc::channel(4);
    let mut jobs = site.jobs().await;
    let calling = tokio::spawn(async move { jobs.create_job(ReceiverStream::new(outgoing)).await });
    for part in [begin(TENANT), keys_part(&["key-2"])] {
        stream.send(CreateJobRequest { part: Some(part) }).await.unwrap();
    }
    in_time(async {
        // Until the scheduler has begun to store it.
        let open = "SELECT count(*) FROM pg_stat_activity
                    WHERE datname = current_database() AND state = 'idle in transaction'";
        while site.count(open).await == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    calling.abort();
    assert!(calling.await.unwrap_err().is_cancelled());

    site.create(&["key-3"]).await;
    assert_eq!(site.count("SELECT count(*) FROM jobs").await, 1);
    assert_eq!(site.count("SELECT count(*) FROM tasks").await, 1);
}

#[tokio::test]
async fn a_stream_out_of_order_is_refused() {
    let site = Site::with(&CALM).await;
    for (parts, said) in [
        (vec![], "Begin comes first"),
        (vec![keys_part(&["key-0"]), Part::Commit(commit())], "Begin comes first"),
        (vec![begin(TENANT), begin(TENANT)], "Begin comes once"),
        (vec![begin(TENANT), Part::Commit(commit())], "keys"),
        (vec![begin("kylo"), keys_part(&["key-0"]), Part::Commit(commit())], "tenant"),
        (vec![begin(TENANT), keys_part(&["key-0"]), Part::Commit(Commit::default())], "operation"),
    ] {
        let refused = site.send(parts).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument, "{refused:?}");
        assert!(refused.message().contains(said), "{refused:?}");
    }
    assert_eq!(site.count("SELECT count(*) FROM jobs").await, 0);
}

#[tokio::test]
async fn an_idempotency_key_answers_with_the_first_job() {
    let site = Site::with(&CALM).await;
    let with_key = |key: &str, body: &[u8]| {
        let commit = Commit { idempotency_key: key.to_owned(), body_digest: body.to_vec().into(), ..commit() };
        vec![begin(TENANT), keys_part(&["key-0"]), Part::Commit(commit)]
    };
    let first = site.send(with_key("once", b"body")).await.unwrap();
    let again = site.send(with_key("once", b"body")).await.unwrap();
    assert_eq!(created(&again), created(&first));
    assert_eq!(site.send(with_key("once", b"other")).await.unwrap_err().code(), Code::AlreadyExists);
    assert_ne!(created(&site.send(with_key("twice", b"body")).await.unwrap()), created(&first));
    assert_eq!(site.count("SELECT count(*) FROM jobs").await, 2);
}

#[tokio::test]
async fn too_many_running_jobs_are_refused() {
    let settings = [&CALM[..], &[("MAX_RUNNING_JOBS", "1")]].concat();
    let site = Site::with(&settings).await;
    site.create(&["key-0"]).await;
    assert_eq!(site.send(parts(&["key-1"])).await.unwrap_err().code(), Code::ResourceExhausted);
}

#[tokio::test]
async fn a_stranger_has_no_keys_here() {
    let site = Site::with(&CALM).await;
    let parts = vec![begin(STRANGER), keys_part(&["key-0"]), Part::Commit(commit())];
    let answer = site.send(parts).await.unwrap();
    assert_eq!(answer.job.unwrap().overall_status(), OverallStatus::Error);
    assert_eq!(answer.tasks[0].detail, "NotFoundException: Key 'key-0' does not exist");
}

#[tokio::test]
async fn a_policy_job_needs_a_template_of_its_tenant_and_workers_get_its_text() {
    let site = Site::with(&CALM).await;
    let with_template = |id: Option<&str>| {
        let operation = Operation::ApplyPolicyTemplate.into();
        let commit = Commit { operation, policy_template_id: id.map(str::to_owned), ..Commit::default() };
        vec![begin(TENANT), keys_part(&["key-0"]), Part::Commit(commit)]
    };
    let mut templates = site.leader.templates().await.unwrap();
    let template = |tenant: &str, policy: &str| CreateTemplateRequest {
        tenant: tenant.to_owned(),
        name: "lock".to_owned(),
        policy: policy.to_owned(),
        created_by: "admin".to_owned(),
        rights: admin(),
        ..CreateTemplateRequest::default()
    };
    let policy = r#"{"Statement": {"Effect": "Allow", "Principal": "*", "Action": "kms:*", "Resource": "*"}}"#;
    let theirs = templates.create_template(template(STRANGER, policy)).await.unwrap().into_inner();
    let unknown = uuid::Uuid::now_v7().to_string();
    for id in [None, Some("lock"), Some(unknown.as_str()), Some(theirs.id.as_str())] {
        let refused = site.send(with_template(id)).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument, "{refused:?}");
        assert!(refused.message().starts_with("policy_template_id"), "{refused:?}");
    }
    assert_eq!(site.count("SELECT count(*) FROM jobs").await, 0);

    let ours = templates.create_template(template(TENANT, policy)).await.unwrap().into_inner();
    let twice = templates.create_template(template(TENANT, policy)).await.unwrap_err();
    assert_eq!(twice.code(), Code::AlreadyExists);
    let broken = templates.create_template(template(TENANT, "{")).await.unwrap_err();
    assert_eq!(broken.code(), Code::InvalidArgument);
    let list = ListTemplatesRequest {
        tenant: TENANT.to_owned(),
        limit: 10,
        rights: admin(),
        ..ListTemplatesRequest::default()
    };
    let listed = templates.list_templates(list).await.unwrap().into_inner();
    assert_eq!((listed.total, listed.templates), (1, vec![ours.clone()]));

    let job = created(&site.send(with_template(Some(&ours.id))).await.unwrap());
    let mut worker = Worker::new(&site).await;
    let task = tasks(job, 0..1)[0];
    site.offered(vec![task]).await;
    worker.start(&[task]);
    worker.go(task).await;
    assert_eq!(
        (worker.inbox.specs[0].operation(), &*worker.inbox.specs[0].policy),
        (Operation::ApplyPolicyTemplate, policy)
    );
}
