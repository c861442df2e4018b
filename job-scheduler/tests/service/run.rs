//! A job from its creation to its end.

use job_model::TaskRef;
use keyfleet_proto::{
    jobs::v1::{
        Operation, OverallStatus, TaskState,
        create_job_request::{Commit, Part},
    },
    workers::v1::{AgainReason, Forecast, Foretold, report::Outcome},
};

use super::{
    site::{CALM, Site, TENANT, begin, commit, counts, created, keys_part, parts, status, tasks},
    worker::{Worker, again, already, refused, succeeded},
};

#[tokio::test]
async fn a_job_is_offered_asked_for_tried_reported_and_completed() {
    let site = Site::with(&CALM).await;
    let mut worker = Worker::new(&site).await;
    let arn = "arn:aws:kms:eu-west-1:111122223333:key/key-1";
    let keys = ["key-0", arn, "key-2", "arn:aws:kms:us-east-1:999922223333:key/other"];
    let job = created(&site.send(parts(&keys)).await.unwrap());
    let all = tasks(job, 0..3);
    site.offered(all.clone()).await;

    worker.start(&all);
    let expected = [("us-east-1", "key-0"), ("eu-west-1", "key-1"), ("us-east-1", "key-2")];
    for ((task, outcome), (region, key)) in all.iter().zip([succeeded(), already(), refused()]).zip(expected) {
        let go = worker.go(*task).await;
        let address = go.key.clone().unwrap();
        assert_eq!((&*address.account, &*address.region, &*address.key_id), ("111122223333", region, key));
        assert!(go.acting && go.trust_reading && !go.doubted);
        assert!(worker.report(&go, task.seq == 0, outcome).await, "its delivery may be acknowledged");
    }
    assert_eq!(worker.inbox.specs.len(), 1, "what is the same for the whole job comes once");
    assert_eq!(worker.inbox.specs[0].operation(), Operation::EnableKey);
    worker.until(|inbox| inbox.forget.contains(&job).then_some(())).await;

    let found = site.finished(job).await;
    assert_eq!((status(&found), counts(&found)), (OverallStatus::Completed, (2, 2, 0)));
    let states: Vec<_> = found.tasks.iter().map(|task| (task.state(), task.already, task.attempts)).collect();
    assert_eq!(
        states,
        [
            (TaskState::Succeeded, false, 1),
            (TaskState::Succeeded, true, 1),
            (TaskState::Failed, false, 1),
            (TaskState::Failed, false, 0),
        ]
    );
    assert_eq!(found.tasks[0].state_before, "Disabled");
    assert_eq!(found.tasks[2].detail, "KMSInvalidStateException: it is gone");
    assert_eq!(found.tasks[3].detail, "NotFoundException: no container for account 999922223333");
    let took = found.tasks[0].finished_at_us.unwrap() - found.tasks[0].started_at_us.unwrap();
    assert_eq!(took, 250_000);

    // A copy of an offer may come at any time.
    worker.start(&all);
    for task in all {
        worker.never(task).await;
    }
    assert!(worker.inbox.gos.is_empty());
}

#[tokio::test]
async fn a_failure_that_passes_gets_another_go() {
    let site = Site::with(&CALM).await;
    let mut worker = Worker::new(&site).await;
    let job = site.create(&["key-0"]).await;
    let task = TaskRef { job, seq: 0 };
    worker.start(&[task]);
    let mut numbers = Vec::new();
    for reason in [AgainReason::Throttled, AgainReason::Unavailable, AgainReason::Unanswered] {
        let go = worker.go(task).await;
        numbers.push(go.go);
        let sent = reason == AgainReason::Unanswered;
        assert!(!worker.report(&go, sent, again(reason)).await, "the delivery is kept");
    }
    let go = worker.go(task).await;
    numbers.push(go.go);
    assert!(go.doubted, "the unanswered try may have changed the key");
    assert!(worker.report(&go, true, succeeded()).await);
    let in_order = numbers.clone();
    numbers.sort_unstable();
    numbers.dedup();
    assert_eq!(numbers, in_order, "no number is used twice");

    let found = site.finished(job).await;
    assert_eq!((status(&found), counts(&found)), (OverallStatus::Completed, (1, 0, 0)));
}

#[tokio::test]
async fn a_key_has_one_go_at_a_time_over_all_jobs() {
    let site = Site::with(&CALM).await;
    let (mut one, mut other) = (Worker::new(&site).await, Worker::new(&site).await);
    let (first, second) = (site.create(&["key-0"]).await, site.create(&["key-0"]).await);
    let (first, second) = (TaskRef { job: first, seq: 0 }, TaskRef { job: second, seq: 0 });
    one.start(&[first]);
    let go = one.go(first).await;
    other.start(&[second]);
    other.fence().await;
    assert!(other.inbox.gos.is_empty());
    assert!(one.report(&go, true, succeeded()).await);

    let go = other.go(second).await;
    assert!(other.report(&go, false, already()).await);
    assert_eq!(counts(&site.finished(second.job).await), (1, 0, 0));
}

#[tokio::test]
async fn a_dry_run_gives_no_leave_to_act_and_tells_what_is_foretold() {
    let site = Site::with(&CALM).await;
    let mut worker = Worker::new(&site).await;
    let stranger = "arn:aws:kms:us-east-1:999922223333:key/other";
    // A scheduler that knows no dry runs finds no operation in it.
    let dry = Commit { operation: Operation::Unspecified.into(), dry_run: Operation::EnableKey.into(), ..commit() };
    let order = vec![begin(TENANT), keys_part(&["key-0", "key-1", "key-2", stranger]), Part::Commit(dry)];
    let answer = site.send(order).await.unwrap();
    assert!(answer.job.as_ref().unwrap().dry_run);
    let job = created(&answer);
    let all = tasks(job, 0..3);
    site.offered(all.clone()).await;
    worker.start(&all);
    let forecasts =
        [(Forecast::Would, ""), (Forecast::Already, ""), (Forecast::Impossible, "the key is pending deletion")];
    for (task, (forecast, reason)) in all.iter().zip(forecasts) {
        let go = worker.go(*task).await;
        assert!(!go.acting);
        let foretold = Foretold { forecast: forecast.into(), reason: reason.to_owned() };
        assert!(worker.report(&go, false, Outcome::Foretold(foretold)).await);
    }
    let spec = &worker.inbox.specs[0];
    assert!(spec.dry_run && spec.operation() == Operation::EnableKey);

    let found = site.finished(job).await;
    assert_eq!((status(&found), counts(&found)), (OverallStatus::Completed, (2, 2, 0)));
    assert_eq!(found.job.as_ref().unwrap().counts.as_ref().unwrap().already, 1);
    let told: Vec<_> = found.tasks.iter().map(|task| task.detail.as_str()).collect();
    assert_eq!(
        told,
        [
            "Would enable the key",
            "Already enabled",
            "Impossible: the key is pending deletion",
            "Impossible: NotFoundException: no container for account 999922223333",
        ]
    );
}
