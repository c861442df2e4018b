//! What the database will never take, and what makes no sense, costs itself alone.

use job_model::TaskRef;
use keyfleet_proto::{
    jobs::v1::{OverallStatus, TaskState},
    workers::v1::{self as wire, FromWorker, report::Outcome},
};

use super::{
    site::{CALM, Site, counts, status, tasks},
    worker::{Worker, succeeded},
};

#[tokio::test]
async fn a_text_that_cannot_be_stored_keeps_nobody_waiting() {
    let site = Site::with(&CALM).await;
    let mut worker = Worker::new(&site).await;
    let keys = ["key-0", "key-1", "key-2", "key-3", "key-4"];
    let job = site.create(&keys).await;
    let all = tasks(job, 0..5);
    worker.start(&all);
    let mut gos = Vec::new();
    for task in &all {
        gos.push(worker.go(*task).await);
    }
    // In one frame, so that they are written in one batch.
    let said = wire::Refused { code: "SomeException".to_owned(), text: "no\0".to_owned() };
    let outcome = |seq| if seq == 2 { Outcome::Refused(said.clone()) } else { succeeded() };
    let reports = gos.iter().zip(0..).map(|(go, seq)| wire::Report {
        go: go.go,
        task: go.task.clone(),
        acted: true,
        outcome: Some(outcome(seq)),
        ..wire::Report::default()
    });
    worker.send(FromWorker { reports: reports.collect(), ..FromWorker::default() });
    let found = site.finished(job).await;
    assert_eq!((status(&found), counts(&found)), (OverallStatus::Completed, (4, 1, 0)));
    assert_eq!(found.tasks[2].state(), TaskState::Failed);
    assert_eq!(found.tasks[2].detail, "SomeException: (its text cannot be stored)");
}

#[tokio::test]
async fn a_row_that_cannot_be_written_waits_by_itself() {
    let site = Site::with(&CALM).await;
    let mut worker = Worker::new(&site).await;
    let forbid = "ALTER TABLE tasks ADD CONSTRAINT forbidden CHECK (key <> 'key-bad' OR state = 'pending')";
    sqlx::query(forbid).execute(&site.pool).await.unwrap();
    let (bad, good) = (site.create(&["key-bad"]).await, site.create(&["key-0", "key-1"]).await);
    let all = [TaskRef { job: bad, seq: 0 }, TaskRef { job: good, seq: 0 }, TaskRef { job: good, seq: 1 }];
    worker.start(&all);
    for task in all {
        let go = worker.go(task).await;
        let report = wire::Report {
            go: go.go,
            task: go.task,
            acted: true,
            outcome: Some(succeeded()),
            ..wire::Report::default()
        };
        worker.send(FromWorker { reports: vec![report], ..FromWorker::default() });
    }
    assert_eq!(counts(&site.finished(good).await), (2, 0, 0));
    assert_eq!(status(&site.read(bad).await), OverallStatus::InProgress);
    // Somebody has looked at it.
    sqlx::query("ALTER TABLE tasks DROP CONSTRAINT forbidden").execute(&site.pool).await.unwrap();
    assert_eq!(counts(&site.finished(bad).await), (1, 0, 0));
}

#[tokio::test]
async fn what_makes_no_sense_ends_no_session() {
    let site = Site::with(&CALM).await;
    let mut worker = Worker::new(&site).await;
    let job = site.create(&["key-0"]).await;
    let task = TaskRef { job, seq: 0 };
    let nothing = wire::TaskRef { job_id: vec![1, 2, 3].into(), seq: 0 };
    worker.send(FromWorker { starts: vec![nothing, task.into()], ..FromWorker::default() });
    let go = worker.go(task).await;
    let report = wire::Report { go: go.go, task: go.task, outcome: None, ..wire::Report::default() };
    worker.send(FromWorker { reports: vec![report], ..FromWorker::default() });
    let go = worker.go(task).await;
    assert!(go.doubted, "nobody knows what the try has done");
    assert!(worker.report(&go, true, succeeded()).await);
    assert_eq!(counts(&site.finished(job).await), (1, 0, 0));
}

#[tokio::test]
async fn a_job_whose_finish_cannot_be_written_holds_up_no_other() {
    let site = Site::with(&CALM).await;
    let mut worker = Worker::new(&site).await;
    let forbid = "ALTER TABLE jobs ADD CONSTRAINT forbidden CHECK (total <> 2 OR state <> 'finished')";
    sqlx::query(forbid).execute(&site.pool).await.unwrap();
    let (bad, good) = (site.create(&["key-0", "key-1"]).await, site.create(&["key-2"]).await);
    for task in [tasks(bad, 0..2), tasks(good, 0..1)].concat() {
        worker.start(&[task]);
        let go = worker.go(task).await;
        assert!(worker.report(&go, true, succeeded()).await);
    }
    site.finished(good).await;
    let found = site.read(bad).await;
    assert_eq!((status(&found), counts(&found)), (OverallStatus::InProgress, (2, 0, 0)));
    sqlx::query("ALTER TABLE jobs DROP CONSTRAINT forbidden").execute(&site.pool).await.unwrap();
    assert_eq!(status(&site.finished(bad).await), OverallStatus::Completed);
}
