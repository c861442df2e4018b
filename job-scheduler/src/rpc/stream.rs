//! StreamTasks: a job's tasks in pages, as fast as the caller takes them and no faster.

use keyfleet_proto::jobs::v1 as wire;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

use super::{Service, access::Access, convert, job_id, refused};
use crate::store::{self, Store};

/// Tasks read and sent at once.
const PAGE: u32 = 2_000;
/// Pages on the way at the most: what bounds this call's memory.
const AHEAD: usize = 2;

type Item = Result<wire::StreamTasksResponse, Status>;

pub(super) async fn stream_tasks(
    service: &Service,
    request: wire::StreamTasksRequest,
) -> Result<ReceiverStream<Item>, Status> {
    service.leader()?;
    let access = Access::of(service, &request.tenant, request.rights)?;
    let job = service.job(&access, job_id(&request.id)?).await?;
    let (pages, stream) = mpsc::channel(AHEAD);
    let store = service.context.store.clone();
    tokio::spawn(async move {
        let mut from = 0;
        while from < job.total {
            let page = read(&store, job.id, from, request.keys_only).await;
            from += PAGE;
            let failed = page.is_err();
            let item = page.map(|tasks| wire::StreamTasksResponse { tasks }).map_err(refused);
            if pages.send(item).await.is_err() || failed {
                return;
            }
        }
    });
    Ok(ReceiverStream::new(stream))
}

async fn read(
    store: &Store,
    job: job_model::JobId,
    from: u32,
    keys_only: bool,
) -> Result<Vec<wire::Task>, store::Error> {
    if keys_only {
        let keys = store.task_keys(job, from, PAGE).await?;
        Ok(keys.into_iter().map(|(seq, key)| wire::Task { seq, key, ..wire::Task::default() }).collect())
    } else {
        Ok(store.task_page(job, from, PAGE).await?.into_iter().map(convert::task).collect())
    }
}
