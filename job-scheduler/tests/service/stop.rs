//! Stopping a job: whichever way the abort comes, what has no Go is canceled and what has one is awaited.

use job_model::TaskRef;
use keyfleet_proto::{
    jobs::v1::{OverallStatus, TaskState},
    workers::v1::AgainReason,
};
use task_queue::AbortCommand;

use super::{
    LOOK_EVERY, in_time,
    site::{CALM, SHORT_LEASE, Site, TENANT, counts, status, stop, tasks},
    worker::{Worker, again, succeeded},
};

#[tokio::test]
async fn a_stop_cancels_what_has_no_go_and_waits_for_what_has_one() {
    let site = Site::with(&CALM).await;
    let mut worker = Worker::new(&site).await;
    let job = site.create(&["key-0", "key-1", "key-2", "key-3"]).await;
    let all = tasks(job, 0..4);
    worker.start(&all[..1]);
    let go = worker.go(all[0]).await;

    // It cannot say so yet.
    let answer = site.jobs().await.await_stopped(stop(job, 1)).await.unwrap().into_inner();
    assert!(!answer.stopped);
    assert_eq!(answer.job.unwrap().overall_status(), OverallStatus::InProgress);

    // Workers hear of it by the session, and once it is committed with every renewal.
    worker.until(|inbox| inbox.aborts.contains(&job).then_some(())).await;
    in_time(async {
        while worker.inbox.aborted.is_empty() {
            worker.fence().await;
        }
    })
    .await;
    assert_eq!(worker.inbox.aborted, [job]);
    worker.start(&all[1..]);
    for task in &all[1..] {
        worker.never(*task).await;
    }
    assert!(worker.inbox.gos.is_empty());

    let mut jobs = site.jobs().await;
    let stopping = tokio::spawn(async move { jobs.await_stopped(stop(job, 60_000)).await });
    worker.fence().await;
    assert!(!stopping.is_finished(), "a Go is open");
    assert!(worker.report(&go, true, succeeded()).await);
    let answer = in_time(stopping).await.unwrap().unwrap().into_inner();
    assert!(answer.stopped);
    let told = answer.job.unwrap();
    assert_eq!((told.overall_status(), told.abort), (OverallStatus::Canceled, true));
    let states: Vec<_> = answer.tasks.iter().map(keyfleet_proto::jobs::v1::Task::state).collect();
    assert_eq!(states, [TaskState::Succeeded, TaskState::Canceled, TaskState::Canceled, TaskState::Canceled]);
    assert_eq!(counts(&site.read(job).await), (1, 0, 3));
}

#[tokio::test]
async fn a_stop_of_a_finished_job_sets_the_flag_and_nothing_else() {
    let site = Site::with(&CALM).await;
    let mut worker = Worker::new(&site).await;
    let job = site.create(&["key-0"]).await;
    let task = TaskRef { job, seq: 0 };
    worker.start(&[task]);
    let go = worker.go(task).await;
    worker.report(&go, true, succeeded()).await;
    let before = site.finished(job).await.job.unwrap();

    let answer = site.jobs().await.await_stopped(stop(job, 60_000)).await.unwrap().into_inner();
    assert!(answer.stopped);
    let after = answer.job.unwrap();
    assert!(after.abort && !before.abort);
    assert_eq!(keyfleet_proto::jobs::v1::Job { abort: false, ..after }, before);
}

#[tokio::test]
async fn an_abort_command_of_the_broker_stops_the_job() {
    let site = Site::with(&CALM).await;
    let job = site.create(&["key-0", "key-1"]).await;
    let publisher = site.broker.publisher();
    let command = AbortCommand { job, tenant: TENANT.parse().unwrap(), requested_by: "somebody".to_owned() };
    in_time(async {
        while publisher.publish_abort(command.clone()).await.is_err() {
            tokio::time::sleep(LOOK_EVERY).await;
        }
    })
    .await;
    let found = site.finished(job).await;
    assert_eq!((status(&found), counts(&found)), (OverallStatus::Canceled, (0, 0, 2)));
    assert_eq!(canceled_by(&site).await, ["somebody"]);
}

#[tokio::test]
async fn a_worker_that_heard_of_an_abort_is_enough() {
    let site = Site::with(&CALM).await;
    let worker = Worker::new(&site).await;
    let (one, other) = (site.create(&["key-0"]).await, site.create(&["key-1"]).await);
    worker.stop_ack(one);
    worker.stop_in_heartbeat(other);
    for job in [one, other] {
        let found = site.finished(job).await;
        assert_eq!((status(&found), counts(&found)), (OverallStatus::Canceled, (0, 0, 1)));
        assert!(found.job.unwrap().abort);
    }
}

#[tokio::test]
async fn a_lost_workers_task_is_looked_at_before_it_is_told() {
    let site = Site::with(&SHORT_LEASE).await;
    let mut lost = Worker::new(&site).await;
    let job = site.create(&["key-0", "key-1", "key-2"]).await;
    let all = tasks(job, 0..3);
    lost.start(&all[..2]);
    for task in &all[..2] {
        assert!(lost.go(*task).await.acting);
    }
    drop(lost);

    let mut jobs = site.jobs().await;
    let stopping = async move { jobs.await_stopped(stop(job, 60_000)).await.unwrap().into_inner() };
    let mut looks = Worker::new(&site).await;
    let answer = tokio::select! {
        answer = in_time(stopping) => answer,
        () = looks.look_for_ever("key-0") => unreachable!("it goes on for ever"),
    };
    assert!(answer.stopped);
    // One had been changed, one had not, and the third was never tried.
    let states: Vec<_> = answer.tasks.iter().map(keyfleet_proto::jobs::v1::Task::state).collect();
    assert_eq!(states, [TaskState::Succeeded, TaskState::Canceled, TaskState::Canceled]);
}

#[tokio::test]
async fn an_unanswered_try_is_looked_at_before_it_is_told() {
    let site = Site::with(&SHORT_LEASE).await;
    let mut worker = Worker::new(&site).await;
    let job = site.create(&["key-0"]).await;
    let task = TaskRef { job, seq: 0 };
    worker.start(&[task]);
    let go = worker.go(task).await;
    let mut jobs = site.jobs().await;
    assert!(!jobs.await_stopped(stop(job, 1)).await.unwrap().into_inner().stopped);
    worker.until(|inbox| inbox.aborts.contains(&job).then_some(())).await;
    worker.report(&go, true, again(AgainReason::Unanswered)).await;

    let stopping = async move { jobs.await_stopped(stop(job, 60_000)).await.unwrap().into_inner() };
    let answer = tokio::select! {
        answer = in_time(stopping) => answer,
        () = worker.look_for_ever("key-0") => unreachable!("it goes on for ever"),
    };
    assert!(answer.stopped);
    let told = answer.job.unwrap();
    assert_eq!((told.overall_status(), told.abort), (OverallStatus::Completed, true));
    assert_eq!(answer.tasks[0].state(), TaskState::Succeeded);
}

async fn canceled_by(site: &Site) -> Vec<String> {
    sqlx::query_scalar("SELECT canceled_by FROM jobs").fetch_all(&site.pool).await.unwrap()
}
