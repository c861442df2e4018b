//! Leaders come and go: standbys refuse, take over, republish, and hold back what an earlier leader's worker may be at.

use job_model::TaskRef;
use keyfleet_proto::jobs::v1::{GetJobRequest, OverallStatus, TaskState};
use rustix::process::Signal;
use scheduler_client::Leader;
use tonic::Code;

use super::{
    LOOK_EVERY, in_time,
    site::{SHORT_TERM, Site, TENANT, admin, counts, parts, send, status, stop, tasks},
    worker::{Worker, already, succeeded},
};

/// A lost leader is soon replaced; what was dispatched before it waits until it is declared, or longer than any test.
const LONG_WAIT: [(&str, &str); 3] = [("LEASE", "1s"), ("TERM_OF_LEADERSHIP", "2s"), ("OPERATION_TIMEOUT", "10m")];

fn any_job() -> GetJobRequest {
    let id = uuid::Uuid::now_v7().to_string();
    GetJobRequest { tenant: TENANT.to_owned(), id, with_tasks: false, rights: admin() }
}

#[tokio::test]
async fn a_standby_refuses_and_leads_once_the_leader_steps_down() {
    let mut site = Site::of(2, &SHORT_TERM).await;
    let mut standby = site.jobs_of(1).await;
    assert_eq!(standby.get_job(any_job()).await.unwrap_err().code(), Code::Unavailable);
    assert_eq!(send(&mut standby, parts(&["key-0"])).await.unwrap_err().code(), Code::Unavailable);
    assert_eq!(standby.await_stopped(stop(nobodys(), 1)).await.unwrap_err().code(), Code::Unavailable);
    let job = site.create(&["key-0"]).await;

    site.schedulers[0].signal(Signal::TERM);
    assert_eq!(site.schedulers[0].ended().await.code(), Some(0));
    site.leader.lost();
    assert_eq!(status(&site.read(job).await), OverallStatus::InProgress);
    assert_eq!(site.leader.current().unwrap(), site.schedulers[1].url);
}

#[tokio::test]
async fn a_new_leader_republishes_and_holds_back_until_the_old_leaders_worker_declares() {
    let mut site = Site::of(2, &LONG_WAIT).await;
    let mut old = Worker::new(&site).await;
    let job = site.create(&["key-0", "key-1", "key-2", "key-3"]).await;
    let all = tasks(job, 0..4);
    old.start(&all[..2]);
    let (open, voided) = (old.go(all[0]).await, old.go(all[1]).await);

    site.schedulers[0].signal(Signal::KILL);
    site.schedulers[0].ended().await;
    site.leader.lost();
    site.offered(all.clone()).await;
    let mut new = Worker::new(&site).await;
    new.start(&all);
    new.fence().await;
    assert!(new.inbox.gos.is_empty(), "the old worker may be at any of them");

    // It is at the first alone.
    let id = old.id;
    drop(old);
    let mut old = Worker::back(&site, id, &[&open]).await;
    for task in &all[1..] {
        let go = new.go(*task).await;
        assert!(go.go > voided.go, "an epoch's numbers are above those of the one before");
        assert!(new.report(&go, false, already()).await);
    }
    new.fence().await;
    assert!(new.inbox.gos.is_empty(), "the first key's Go is the old worker's");
    assert!(old.report(&open, true, succeeded()).await);
    new.never(all[0]).await;

    let found = site.finished(job).await;
    assert_eq!((status(&found), counts(&found)), (OverallStatus::Completed, (4, 0, 0)));
}

#[tokio::test]
async fn a_worker_that_never_comes_back_is_waited_for_only_so_long() {
    let mut site = Site::of(2, &SHORT_TERM).await;
    let mut old = Worker::new(&site).await;
    let job = site.create(&["key-0", "key-1"]).await;
    let all = tasks(job, 0..2);
    old.start(&all[..1]);
    old.go(all[0]).await;
    site.schedulers[0].signal(Signal::KILL);
    site.schedulers[0].ended().await;
    drop(old);

    site.leader.lost();
    let mut new = Worker::new(&site).await;
    new.start(&all);
    for task in all {
        let go = new.go(task).await;
        assert!(new.report(&go, true, succeeded()).await);
    }
    let found = site.finished(job).await;
    assert_eq!((status(&found), counts(&found)), (OverallStatus::Completed, (2, 0, 0)));
}

#[tokio::test]
async fn a_stop_goes_on_under_the_next_leader() {
    let mut site = Site::of(2, &SHORT_TERM).await;
    let mut worker = Worker::new(&site).await;
    let job = site.create(&["key-0", "key-1", "key-2"]).await;
    let task = TaskRef { job, seq: 0 };
    worker.start(&[task]);
    let go = worker.go(task).await;
    site.jobs().await.await_stopped(stop(job, 1)).await.unwrap();
    site.until(job, |job| job.abort).await;
    site.schedulers[0].signal(Signal::KILL);
    site.schedulers[0].ended().await;

    site.leader.lost();
    let id = worker.id;
    drop(worker);
    let mut worker = Worker::back(&site, id, &[&go]).await;
    worker.until(|inbox| inbox.aborts.contains(&job).then_some(())).await;
    worker.report(&go, true, succeeded()).await;
    // The others were dispatched before this leader: they are looked at, or were never tried.
    let found = tokio::select! {
        found = site.finished(job) => found,
        () = worker.look_for_ever("key-0") => unreachable!("it goes on for ever"),
    };
    assert_eq!((status(&found), counts(&found)), (OverallStatus::Canceled, (1, 0, 2)));
    assert_eq!(found.tasks[0].state(), TaskState::Succeeded);
}

#[tokio::test]
async fn a_frozen_leader_that_thaws_changes_nothing() {
    let site = Site::of(2, &SHORT_TERM).await;
    let mut old = site.jobs_of(0).await;
    assert_eq!(old.get_job(any_job()).await.unwrap_err().code(), Code::NotFound);
    site.schedulers[0].signal(Signal::STOP);
    let second = Leader::new(vec![site.schedulers[1].url.clone()]).unwrap();
    in_time(async {
        while second.jobs().await.is_err() {
            tokio::time::sleep(LOOK_EVERY).await;
        }
    })
    .await;

    // Asked while it sleeps, it answers when it wakes, and believes that it leads.
    let asking = tokio::spawn(async move { send(&mut old, parts(&["key-0"])).await });
    site.schedulers[0].signal(Signal::CONT);
    in_time(asking).await.unwrap().unwrap_err();
    assert_eq!(site.count("SELECT count(*) FROM jobs").await, 0);
    let mut old = site.jobs_of(0).await;
    in_time(async {
        while old.get_job(any_job()).await.unwrap_err().code() != Code::Unavailable {
            tokio::time::sleep(LOOK_EVERY).await;
        }
    })
    .await;
    second.jobs().await.unwrap().get_job(any_job()).await.unwrap_err();
}

fn nobodys() -> job_model::JobId {
    job_model::JobId::from_uuid(uuid::Uuid::now_v7())
}
