//! Who may create, see and stop which jobs, and what belongs to containers.

use job_model::JobId;
use keyfleet_proto::{
    estate::v1::{CreateSynchronizationRequest, GetSynchronizationRequest, ListKeysRequest, Rights},
    jobs::v1::{
        AwaitStoppedRequest, CreateJobRequest, CreateTemplateRequest, GetJobRequest, ListJobsRequest, ListTasksRequest,
        StreamTasksRequest, UpdateTemplateRequest,
        create_job_request::{Commit, Part},
    },
};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status};

use super::{
    estate::{BOB, PROD, REGION, TEST, arn, bob, bulk, user},
    in_time,
    site::{CALM, STRANGER, Site, TENANT, admin, begin_as, commit, created, keys_part, stop},
};

fn parts_as(rights: Option<Rights>, keys: &[&str]) -> Vec<Part> {
    vec![begin_as(TENANT, rights), keys_part(keys), Part::Commit(commit())]
}

fn denied(status: &Status, said: &str) {
    assert_eq!((status.code(), status.message()), (Code::PermissionDenied, said));
}

fn missing(permission: &str, container: &str) -> String {
    format!("the permission {permission} is missing on the container \"{container}\"")
}

/// Two containers, of which bob may use the first.
async fn two() -> Site {
    let site = Site::with(&CALM).await;
    site.container("prod", PROD).await;
    site.container("test", TEST).await;
    site.permit("prod", &format!("user::{BOB}"), &["keybulkoperation"]).await;
    site
}

#[tokio::test]
async fn a_job_needs_the_permission_on_the_container_of_each_key() {
    let site = two().await;
    let (prod, test, nobodys) =
        (arn(PROD, REGION, "key-0"), arn(TEST, REGION, "key-0"), arn("999922223333", REGION, "key-0"));
    let elsewhere = arn(PROD, "us-east-1", "key-0");
    let missing = |container: &str| missing("keybulkoperation", container);
    for (keys, refused_for) in [
        (vec![&*prod], None),
        (vec![&*prod, &*test], Some("test")),
        (vec![&*prod, "key-0"], Some("default")),
        // Keys that nobody knows.
        (vec![&*prod, &*nobodys], Some("default")),
        (vec![&*prod, "alias/prod"], Some("default")),
        (vec![&*prod, &*elsewhere], Some("default")),
    ] {
        match (site.send(parts_as(bob(), &keys)).await, refused_for) {
            (Ok(_), None) => {}
            (Err(status), Some(container)) => denied(&status, &missing(container)),
            (answer, _) => panic!("{keys:?}: {answer:?}"),
        }
    }
    assert_eq!(site.count("SELECT count(*) FROM jobs").await, 1);
    for rights in [admin(), bulk()] {
        let answer = site.send(parts_as(rights, &[&prod, &test, &elsewhere, &nobodys, "key-0"])).await.unwrap();
        let details: Vec<_> = answer.tasks.iter().map(|task| task.detail.as_str()).collect();
        let lost = "NotFoundException: container prod has no Region us-east-1";
        assert_eq!(details, ["", "", lost, "NotFoundException: no container for account 999922223333", ""]);
    }
    // In another tenant the same user is another one, and what is no key of it is the default container's.
    let strangers = vec![begin_as(STRANGER, bob()), keys_part(&[&prod]), Part::Commit(commit())];
    let said = "the permission keybulkoperation is missing on every container";
    denied(&site.send(strangers).await.unwrap_err(), said);
}

#[tokio::test]
async fn who_may_use_no_container_is_refused_before_the_keys_are_read() {
    let site = two().await;
    let (stream, outgoing) = mpsc::channel(1);
    stream.send(CreateJobRequest { part: Some(begin_as(TENANT, user("local|carol", &["ops"]))) }).await.unwrap();
    let mut jobs = site.jobs().await;
    // The stream stays open: no key ever comes.
    let refused = in_time(jobs.create_job(ReceiverStream::new(outgoing))).await.unwrap_err();
    denied(&refused, "the permission keybulkoperation is missing on every container");
    drop(stream);
}

#[tokio::test]
async fn jobs_of_other_containers_are_neither_listed_nor_read_nor_stopped() {
    let site = two().await;
    let (prod, test) = (arn(PROD, REGION, "key-0"), arn(TEST, REGION, "key-0"));
    let send = async |keys: &[&str]| created(&site.send(parts_as(admin(), keys)).await.unwrap());
    let (mine, both, default) = (send(&[&prod]).await, send(&[&prod, &test]).await, send(&["key-0"]).await);
    let listed = async |rights: Option<Rights>| {
        let request = ListJobsRequest { tenant: TENANT.to_owned(), limit: 10, rights, ..ListJobsRequest::default() };
        let found = site.jobs().await.list_jobs(request).await?.into_inner();
        assert_eq!(found.total, found.jobs.len() as u64);
        let ids = found.jobs.iter().map(|job| job.job.as_ref().unwrap().id.parse::<JobId>().unwrap());
        Ok::<_, Status>(ids.collect::<Vec<_>>())
    };
    assert_eq!(listed(bob()).await.unwrap(), [mine]);
    for rights in [admin(), bulk()] {
        assert_eq!(listed(rights).await.unwrap(), [default, both, mine]);
    }
    let said = "the permission keybulkoperation is missing on every container";
    denied(&listed(user("local|carol", &[])).await.unwrap_err(), said);

    for (job, container) in [(both, "test"), (default, "default")] {
        for refused in reading(&site, job, bob()).await {
            denied(&refused.unwrap_err(), &missing("keybulkoperation", container));
        }
        assert!(!site.read(job).await.job.unwrap().abort);
    }
    for allowed in reading(&site, mine, bob()).await {
        allowed.unwrap();
    }
    assert!(site.read(mine).await.job.unwrap().abort);

    // Without the container the job is for those alone who may do everything.
    site.finished(mine).await;
    site.jobs().await.await_stopped(stop(both, 60_000)).await.unwrap();
    site.containers().await.delete_container(super::estate::the("prod", admin())).await.unwrap();
    for rights in [bob(), bulk()] {
        let refused = reading(&site, mine, rights).await;
        assert!(
            refused.iter().all(|refused| refused.as_ref().unwrap_err().code() == Code::PermissionDenied),
            "{refused:?}"
        );
    }
    assert_eq!(listed(bulk()).await.unwrap(), [default]);
    assert_eq!(listed(admin()).await.unwrap(), [default, both, mine]);
}

/// All that is asked about one job, its cancel last.
async fn reading(site: &Site, job: JobId, rights: Option<Rights>) -> Vec<Result<(), Status>> {
    let mut jobs = site.jobs().await;
    let (tenant, id) = (TENANT.to_owned(), job.to_string());
    let get = GetJobRequest { tenant: tenant.clone(), id: id.clone(), with_tasks: false, rights: rights.clone() };
    let with_tasks = GetJobRequest { with_tasks: true, ..get.clone() };
    let list = ListTasksRequest {
        tenant: tenant.clone(),
        id: id.clone(),
        rights: rights.clone(),
        ..ListTasksRequest::default()
    };
    let stream = StreamTasksRequest { tenant, id, keys_only: false, rights: rights.clone() };
    let stop = AwaitStoppedRequest { rights, ..stop(job, 60_000) };
    vec![
        jobs.get_job(get).await.map(drop),
        jobs.get_job(with_tasks).await.map(drop),
        jobs.list_tasks(list).await.map(drop),
        jobs.stream_tasks(stream).await.map(drop),
        jobs.await_stopped(stop).await.map(drop),
    ]
}

#[tokio::test]
async fn an_idempotency_key_opens_nothing_to_who_has_lost_the_permission() {
    let site = two().await;
    site.permit("test", BOB, &["keybulkoperation"]).await;
    let prod = arn(PROD, REGION, "key-0");
    let send = async || {
        let commit = Commit { idempotency_key: "once".to_owned(), body_digest: b"body".to_vec().into(), ..commit() };
        site.send(vec![begin_as(TENANT, bob()), keys_part(&[&prod]), Part::Commit(commit)]).await
    };
    let first = created(&send().await.unwrap());
    assert_eq!(created(&send().await.unwrap()), first);
    site.acl("prod", BOB, false, &["keybulkoperation"]).await.unwrap();
    denied(&send().await.unwrap_err(), &missing("keybulkoperation", "prod"));
}

#[tokio::test]
async fn templates_and_synchronizations_ask_for_their_own_permissions() {
    let site = two().await;
    let policy = r#"{"Statement": {"Effect": "Allow", "Principal": "*", "Action": "kms:*", "Resource": "*"}}"#;
    let template = |kms: &str, rights: Option<Rights>| CreateTemplateRequest {
        tenant: TENANT.to_owned(),
        name: format!("of {kms}"),
        policy: policy.to_owned(),
        kms: kms.to_owned(),
        rights,
        ..CreateTemplateRequest::default()
    };
    let sync = |kms: &[&str], rights: Option<Rights>| CreateSynchronizationRequest {
        tenant: TENANT.to_owned(),
        kms: kms.iter().map(|kms| (*kms).to_owned()).collect(),
        rights,
        ..CreateSynchronizationRequest::default()
    };
    let mut templates = site.leader.templates().await.unwrap();
    let mut syncs = site.leader.synchronizations().await.unwrap();
    let mut keys = site.leader.keys().await.unwrap();
    denied(
        &templates.create_template(template("prod", bob())).await.unwrap_err(),
        &missing("policytemplatecreate", "prod"),
    );
    denied(
        &syncs.create_synchronization(sync(&["prod"], bob())).await.unwrap_err(),
        &missing("keysynchronize", "prod"),
    );

    site.permit("prod", BOB, &["policytemplatecreate", "keysynchronize"]).await;
    let made = templates.create_template(template("prod", bob())).await.unwrap().into_inner();
    assert_eq!((made.kms.as_str(), made.account_id.as_str()), ("prod", PROD));
    denied(
        &templates.create_template(template("test", bob())).await.unwrap_err(),
        &missing("policytemplatecreate", "test"),
    );
    denied(
        &syncs.create_synchronization(sync(&["prod", "test"], bob())).await.unwrap_err(),
        &missing("keysynchronize", "test"),
    );
    let running = syncs.create_synchronization(sync(&["prod"], bob())).await.unwrap().into_inner();
    let both = syncs.create_synchronization(sync(&["test", "default"], admin())).await.unwrap().into_inner();
    let the = |id: &str| GetSynchronizationRequest { tenant: TENANT.to_owned(), id: id.to_owned(), rights: bob() };
    syncs.get_synchronization(the(&running.id)).await.unwrap();
    denied(&syncs.get_synchronization(the(&both.id)).await.unwrap_err(), &missing("view", "test"));
    denied(
        &syncs.cancel_synchronization(the(&running.id)).await.unwrap_err(),
        &missing("keysynchronizecancel", "prod"),
    );

    let all = ListKeysRequest { tenant: TENANT.to_owned(), limit: 10, rights: bob(), ..ListKeysRequest::default() };
    keys.list_keys(all.clone()).await.unwrap();
    let carol = ListKeysRequest { rights: user("local|carol", &[]), ..all };
    denied(&keys.list_keys(carol).await.unwrap_err(), "the permission view is missing on every container");
}

#[tokio::test]
async fn a_push_of_a_template_is_a_job_and_needs_what_a_job_needs() {
    let site = two().await;
    let carol = || user("local|carol", &[]);
    site.permit("prod", "local|carol", &["policytemplatecreate", "policytemplateupdate"]).await;
    site.permit("prod", BOB, &["policytemplateupdate"]).await;
    let policy = r#"{"Statement": {"Effect": "Allow", "Principal": "*", "Action": "kms:*", "Resource": "*"}}"#;
    let mut templates = site.leader.templates().await.unwrap();
    let new = CreateTemplateRequest {
        tenant: TENANT.to_owned(),
        name: "lock".to_owned(),
        policy: policy.to_owned(),
        kms: "prod".to_owned(),
        rights: carol(),
        ..CreateTemplateRequest::default()
    };
    let made = templates.create_template(new).await.unwrap().into_inner();
    sqlx::query("INSERT INTO template_uses VALUES ($1, $2, 'key-0', $3::uuid)")
        .bind(PROD)
        .bind(REGION)
        .bind(&made.id)
        .execute(&site.pool)
        .await
        .unwrap();
    let update = |auto_push: bool, rights: Option<Rights>| UpdateTemplateRequest {
        tenant: TENANT.to_owned(),
        template: made.id.clone(),
        policy: policy.to_owned(),
        auto_push,
        rights,
        ..UpdateTemplateRequest::default()
    };
    templates.update_template(update(false, carol())).await.unwrap();
    denied(&templates.update_template(update(true, carol())).await.unwrap_err(), &missing("keybulkoperation", "prod"));
    let pushed = templates.update_template(update(true, bob())).await.unwrap().into_inner();
    for result in reading(&site, pushed.pushed_by.parse().unwrap(), bob()).await {
        result.unwrap();
    }
}
