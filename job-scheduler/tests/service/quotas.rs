//! The file of quotas, while jobs run.

use std::path::PathBuf;

use job_model::TaskRef;
use keyfleet_proto::workers::v1::AgainReason;
use uuid::Uuid;

use super::{
    site::{CALM, Site, counts, tasks},
    worker::{Worker, again, succeeded},
};

struct File(PathBuf);

impl File {
    fn new(content: &str) -> Self {
        let file = Self(std::env::temp_dir().join(format!("keyfleet-quotas-{}.json", Uuid::new_v4())));
        file.write(content);
        file
    }

    fn write(&self, content: &str) {
        std::fs::write(&self.0, content).unwrap();
    }
}

impl Drop for File {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// So slow that no token comes in this test.
const STILL: &str = r#"{"111122223333/us-east-1": {"EnableKey": 0.0001}}"#;

#[tokio::test]
async fn a_quota_of_one_region_changes_while_its_job_runs() {
    let file = File::new(STILL);
    let mut settings = CALM.to_vec();
    settings.push(("KEYFLEET_QUOTAS_FILE", file.0.to_str().unwrap()));
    let site = Site::with(&settings).await;
    let mut worker = Worker::new(&site).await;
    let job = site.create(&["key-0", "key-1", "arn:aws:kms:eu-west-1:111122223333:key/key-2"]).await;
    let all = tasks(job, 0..3);
    worker.start(&all);
    let go = worker.go(all[2]).await;
    assert!(go.acting, "the other Region has another quota");
    assert!(worker.report(&go, true, succeeded()).await);
    for task in &all[..2] {
        let go = worker.go(*task).await;
        assert!(!go.acting);
        assert!(!worker.report(&go, false, again(AgainReason::NeedsActing)).await);
    }
    worker.fence().await;
    assert!(worker.inbox.gos.is_empty(), "there is no token");

    file.write(r#"{"111122223333/us-east-1": {"EnableKey": 1000}}"#);
    for task in &all[..2] {
        let go = worker.go(*task).await;
        assert!(go.acting);
        assert!(worker.report(&go, true, succeeded()).await);
    }
    assert_eq!(counts(&site.finished(job).await), (3, 0, 0));

    // Nonsense is told, and the last good one stays; as it does when the file is gone.
    file.write("{");
    site.schedulers[0].says("The file of quotas makes no sense").await;
    std::fs::remove_file(&file.0).unwrap();
    site.schedulers[0].says("The file of quotas cannot be read").await;
    let task = TaskRef { job: site.create(&["key-3"]).await, seq: 0 };
    worker.start(&[task]);
    loop {
        let go = worker.go(task).await;
        if go.acting {
            assert!(worker.report(&go, true, succeeded()).await);
            break;
        }
        assert!(!worker.report(&go, false, again(AgainReason::NeedsActing)).await);
    }
}
