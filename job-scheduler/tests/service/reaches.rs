//! How accounts are reached: told first in each session, told when it changes, and told before any Go that needs it.
//! (That no Go comes before the way to its account is asserted of every frame, in `worker`.)

use job_model::JobId;
use keyfleet_proto::workers::v1::Go;
use rustix::process::Signal;
use tonic::Code;

use super::{
    estate::{PROD, REGION, TEST, arn, the},
    site::{CALM, SHORT_TERM, Site, admin, created, parts, tasks},
    worker::{Worker, succeeded},
};

const DEFAULT: &str = "111122223333";

fn ways(of: &[(&str, &str)]) -> Vec<(String, String)> {
    of.iter().map(|(account, connection)| ((*account).to_owned(), (*connection).to_owned())).collect()
}

/// Runs the only task of a job as far as its Go.
async fn go(site: &Site, worker: &mut Worker, key: &str) -> (JobId, Go) {
    let job = created(&site.send(parts(&[key])).await.unwrap());
    let task = tasks(job, 0..1)[0];
    site.offered(vec![task]).await;
    worker.start(&[task]);
    (job, worker.go(task).await)
}

#[tokio::test]
async fn ways_are_told_in_the_first_frame_and_before_the_gos_of_a_new_container() {
    let site = Site::with(&CALM).await;
    let mut worker = Worker::new(&site).await;
    worker.fence().await;
    assert_eq!(worker.inbox.reaches, ways(&[(DEFAULT, "")]));
    for (number, account) in [PROD, TEST].into_iter().enumerate() {
        site.container(&format!("c{number}"), account).await;
        go(&site, &mut worker, &arn(account, REGION, "key-0")).await;
    }
    assert_eq!(worker.inbox.reaches, ways(&[(DEFAULT, ""), (PROD, "c0"), (TEST, "c1")]));
    assert_eq!(worker.inbox.reaches_told, 3, "once each");

    // Nothing that changes no way is told.
    site.permit("c0", "alice", &["view"]).await;
    site.containers().await.archive_container(the("c1", admin())).await.unwrap();
    go(&site, &mut worker, "key-0").await;
    assert_eq!(worker.inbox.reaches_told, 3);

    let mut late = Worker::new(&site).await;
    late.fence().await;
    assert_eq!(late.inbox.reaches, ways(&[(DEFAULT, ""), (PROD, "c0"), (TEST, "c1")]));
}

#[tokio::test]
async fn a_created_container_takes_the_defaults_account_over_and_gives_it_back() {
    let site = Site::with(&CALM).await;
    let mut worker = Worker::new(&site).await;
    site.container("mine", DEFAULT).await;
    worker.until(|inbox| (inbox.reaches == ways(&[(DEFAULT, "mine")])).then_some(())).await;
    // A bare id is still the default one's, and goes the new way; so it keeps the new one from being deleted.
    let (job, go) = go(&site, &mut worker, "key-0").await;
    let of_default = "SELECT count(*) FROM jobs WHERE containers = '{00000000-0000-4000-8000-000000000000}'";
    assert_eq!(site.count(of_default).await, 1);
    let busy = site.containers().await.delete_container(the("mine", admin())).await.unwrap_err();
    assert_eq!(busy.code(), Code::FailedPrecondition);

    assert!(worker.report(&go, true, succeeded()).await);
    site.finished(job).await;
    site.containers().await.delete_container(the("mine", admin())).await.unwrap();
    worker.until(|inbox| (inbox.reaches == ways(&[(DEFAULT, "")])).then_some(())).await;
}

#[tokio::test]
async fn a_new_leader_tells_the_ways_before_it_gives_anything() {
    let mut site = Site::of(2, &SHORT_TERM).await;
    site.container("prod", PROD).await;
    site.schedulers[0].signal(Signal::KILL);
    site.schedulers[0].ended().await;
    site.leader.lost();
    let mut worker = Worker::new(&site).await;
    go(&site, &mut worker, &arn(PROD, REGION, "key-0")).await;
    assert_eq!(worker.inbox.reaches, ways(&[(DEFAULT, ""), (PROD, "prod")]));
    assert_eq!(worker.inbox.reaches_told, 1);
}
