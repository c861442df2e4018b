//! What a gateway reads: its own tenant's jobs and tasks, in pages and streams.

use keyfleet_proto::jobs::v1::{
    GetJobRequest, GetJobResponse, JobField, ListJobsRequest, ListTasksRequest, SortKey, StreamTasksRequest, TaskState,
};
use tonic::Code;

use super::site::{CALM, STRANGER, Site, TENANT, admin, begin, commit, created, keys_part, stop};

/// More than a page.
const KEYS: usize = 2_500;

#[tokio::test]
async fn a_strangers_job_is_not_found_and_not_stopped() {
    let site = Site::with(&CALM).await;
    let job = site.create(&["key-0"]).await;
    let mut jobs = site.jobs().await;
    let (tenant, id) = (STRANGER.to_owned(), job.to_string());
    let get = GetJobRequest { tenant: tenant.clone(), id: id.clone(), with_tasks: false, rights: admin() };
    let with_tasks = GetJobRequest { with_tasks: true, ..get.clone() };
    let list =
        ListTasksRequest { tenant: tenant.clone(), id: id.clone(), rights: admin(), ..ListTasksRequest::default() };
    let stream = StreamTasksRequest { tenant: tenant.clone(), id: id.clone(), keys_only: false, rights: admin() };
    let stop = keyfleet_proto::jobs::v1::AwaitStoppedRequest { tenant: tenant.clone(), ..stop(job, 60_000) };
    let refused = [
        jobs.get_job(get).await.unwrap_err(),
        jobs.get_job(with_tasks).await.unwrap_err(),
        jobs.list_tasks(list).await.unwrap_err(),
        jobs.stream_tasks(stream).await.unwrap_err(),
        jobs.await_stopped(stop).await.unwrap_err(),
    ];
    assert!(refused.iter().all(|status| status.code() == Code::NotFound), "{refused:?}");
    let listed = jobs.list_jobs(ListJobsRequest { tenant, limit: 10, rights: admin(), ..ListJobsRequest::default() });
    let listed = listed.await.unwrap().into_inner();
    assert_eq!((listed.total, listed.jobs.len()), (0, 0));
    assert!(!site.read(job).await.job.unwrap().abort);

    // Nobody's job looks the same, and so does what is no id at all.
    for id in [uuid::Uuid::now_v7().to_string(), "7".to_owned()] {
        let get = GetJobRequest { tenant: TENANT.to_owned(), id, with_tasks: false, rights: admin() };
        assert_eq!(jobs.get_job(get).await.unwrap_err().code(), Code::NotFound);
    }
}

#[tokio::test]
async fn a_large_job_is_read_in_pages_and_streams() {
    let site = Site::with(&CALM).await;
    let names: Vec<String> = (0..KEYS).map(|seq| format!("key-{seq}")).collect();
    let (first, rest) = names.split_at(1_000);
    let texts = |names: &[String]| keys_part(&names.iter().map(String::as_str).collect::<Vec<_>>());
    let commit = keyfleet_proto::jobs::v1::create_job_request::Part::Commit(commit());
    let answer = site.send(vec![begin(TENANT), texts(first), texts(rest), commit]).await.unwrap();
    assert!(answer.tasks.is_empty(), "it is no small job");
    let job = created(&answer);
    assert!(site.read(job).await.tasks.is_empty());

    let mut jobs = site.jobs().await;
    for keys_only in [true, false] {
        let request = StreamTasksRequest { tenant: TENANT.to_owned(), id: job.to_string(), keys_only, rights: admin() };
        let mut stream = jobs.stream_tasks(request).await.unwrap().into_inner();
        let mut read = Vec::new();
        while let Some(page) = stream.message().await.unwrap() {
            let state = if keys_only { TaskState::Unspecified } else { TaskState::Pending };
            assert!(page.tasks.iter().all(|task| task.state() == state));
            read.extend(page.tasks.into_iter().map(|task| (task.seq, task.key)));
        }
        assert!(read.into_iter().eq((0..).zip(names.iter().cloned())));
    }

    let page = ListTasksRequest {
        tenant: TENANT.to_owned(),
        id: job.to_string(),
        state: TaskState::Pending.into(),
        skip: 2_498,
        limit: 10,
        rights: admin(),
    };
    let found = jobs.list_tasks(page.clone()).await.unwrap().into_inner();
    assert_eq!(found.total, 2_500);
    assert_eq!(found.tasks.iter().map(|task| task.seq).collect::<Vec<_>>(), [2_498, 2_499]);
    let page = ListTasksRequest { state: TaskState::Failed.into(), ..page };
    let found = jobs.list_tasks(page).await.unwrap().into_inner();
    assert_eq!((found.total, found.tasks.len()), (0, 0));
}

#[tokio::test]
async fn the_list_sorts_and_pages_as_asked() {
    let site = Site::with(&CALM).await;
    let mut ids = Vec::new();
    for key in ["key-0", "key-1", "key-2"] {
        ids.push(site.create(&[key]).await.to_string());
    }
    let mut jobs = site.jobs().await;
    let all = ListJobsRequest { tenant: TENANT.to_owned(), limit: 10, rights: admin(), ..ListJobsRequest::default() };
    let oldest_first = vec![SortKey { field: JobField::CreatedAt.into(), descending: false }];
    for (request, expected) in [
        (all.clone(), vec![2, 1, 0]),
        (ListJobsRequest { sort: oldest_first, ..all.clone() }, vec![0, 1, 2]),
        (ListJobsRequest { skip: 1, limit: 1, ..all.clone() }, vec![1]),
        (ListJobsRequest { skip: 3, ..all.clone() }, vec![]),
    ] {
        let found = jobs.list_jobs(request).await.unwrap().into_inner();
        assert_eq!(found.total, 3);
        let seen: Vec<_> = found.jobs.iter().map(|job| job.job.as_ref().unwrap().id.clone()).collect();
        assert_eq!(seen, expected.into_iter().map(|number: usize| ids[number].clone()).collect::<Vec<_>>());
    }
    let found = jobs.list_jobs(ListJobsRequest { with_tasks: true, ..all.clone() }).await.unwrap().into_inner();
    let keys = |job: &GetJobResponse| job.tasks.iter().map(|task| task.key.clone()).collect::<Vec<_>>();
    assert_eq!(found.jobs.iter().map(keys).collect::<Vec<_>>(), [["key-2"], ["key-1"], ["key-0"]]);
    let one = ListJobsRequest { id: ids[1].clone(), with_tasks: true, ..all.clone() };
    let found = jobs.list_jobs(one).await.unwrap().into_inner();
    assert_eq!((found.total, found.jobs[0].tasks.len()), (1, 1));
    let unknown = ListJobsRequest { sort: vec![SortKey::default()], ..all };
    assert_eq!(jobs.list_jobs(unknown).await.unwrap_err().code(), Code::InvalidArgument);
}
