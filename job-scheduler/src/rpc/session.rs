//! A worker's session: frames in both directions until the stream or the leadership ends.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use job_model::{GoId, Refusal};
use keyfleet_proto::{
    convert::{self as edge, BadField},
    workers::v1::{self as wire, look_result, page_result, workers_server::Workers},
};
use time::OffsetDateTime;
use tokio::{sync::mpsc, time::timeout};
use tokio_stream::{StreamExt, wrappers::ReceiverStream};
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, Streaming};

use super::Service;
use crate::{
    board::{Hello, Leaf, Page, Report, SessionId, Sight},
    leader::{Event, Handle, Outlet, Received},
    store::keys::{SeenAlias, SeenKey},
};

/// Frames on the way to a worker at the most. A worker that lets so many wait is stuck.
const FRAMES: usize = 256;
/// How long a worker may take to say Hello.
const HELLO_WITHIN: Duration = Duration::from_secs(5);

static NEXT_SESSION: AtomicU64 = AtomicU64::new(1);

type Frames = std::pin::Pin<Box<dyn tokio_stream::Stream<Item = Result<wire::FromLeader, Status>> + Send>>;

#[tonic::async_trait]
impl Workers for Service {
    type SessionStream = Frames;

    async fn session(
        &self,
        request: Request<Streaming<wire::FromWorker>>,
    ) -> Result<Response<Self::SessionStream>, Status> {
        let leader = self.leader()?;
        let (frames, outgoing) = mpsc::channel(FRAMES);
        let incoming = request.into_inner();
        tokio::spawn(async move {
            let session = SessionId(NEXT_SESSION.fetch_add(1, Ordering::Relaxed));
            if let Err(error) = receive(&leader, session, incoming, frames).await {
                tracing::info!(session = session.0, reason = error.message(), "A worker's session ended.");
            }
            let _ = leader.tell(Event::SessionClosed(session)).await;
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(outgoing).map(Ok))))
    }
}

async fn receive(
    leader: &Handle,
    session: SessionId,
    mut incoming: Streaming<wire::FromWorker>,
    frames: mpsc::Sender<wire::FromLeader>,
) -> Result<(), Status> {
    let first = timeout(HELLO_WITHIN, incoming.message())
        .await
        .map_err(|_| Status::deadline_exceeded("no Hello came"))??
        .ok_or_else(|| Status::invalid_argument("no Hello came"))?;
    let greeting = hello(&first).map_err(|error| Status::invalid_argument(error.to_string()))?;
    let close = CancellationToken::new();
    tell(leader, Event::SessionOpened(session, greeting, Outlet { frames, close: close.clone() })).await?;
    let mut next = Some(first);
    loop {
        if let Some(frame) = next.take() {
            let received = read(frame).map_err(|error| Status::invalid_argument(error.to_string()))?;
            tell(leader, Event::Received(session, received)).await?;
        }
        tokio::select! {
            frame = incoming.message() => next = Some(frame?.ok_or_else(|| Status::cancelled("the worker left"))?),
            () = leader.ended.cancelled() => return Err(Status::unavailable("this scheduler no longer leads")),
            () = close.cancelled() => return Err(Status::unavailable("the worker takes no frames")),
        }
    }
}

async fn tell(leader: &Handle, event: Event) -> Result<(), Status> {
    leader.tell(event).await.map_err(|error| Status::unavailable(error.to_string()))
}

fn hello(frame: &wire::FromWorker) -> Result<Hello, BadField> {
    let hello = frame.hello.as_ref().ok_or(BadField("hello"))?;
    Ok(Hello {
        worker: edge::worker_id(&hello.worker_id)?,
        name: hello.name.clone(),
        concurrency: hello.concurrency,
        open: hello
            .open_gos
            .iter()
            .map(|open| Ok((GoId::from_u64(open.go), edge::task(open.task.as_ref())?)))
            .collect::<Result<_, BadField>>()?,
    })
}

fn read(frame: wire::FromWorker) -> Result<Received, BadField> {
    let told = frame.heartbeat.iter().flat_map(|heartbeat| &heartbeat.stops);
    Ok(Received {
        stops: told.chain(&frame.stop_acks).map(|ack| edge::job_id(&ack.job_id)).collect::<Result<_, _>>()?,
        heartbeat: frame.heartbeat.map(|heartbeat| heartbeat.number),
        starts: frame.starts.iter().map(TryInto::try_into).collect::<Result<_, _>>()?,
        reports: frame.reports.into_iter().map(report).collect::<Result<_, _>>()?,
        looks: frame.look_results.into_iter().map(look).collect::<Result<_, _>>()?,
        pages: frame.page_results.into_iter().map(page).collect::<Result<_, _>>()?,
    })
}

fn report(report: wire::Report) -> Result<Report, BadField> {
    Ok(Report {
        go: GoId::from_u64(report.go),
        task: edge::task(report.task.as_ref())?,
        state_before: report.state_before,
        acted: report.acted,
        took: Duration::from_micros(u64::try_from(report.finished_at_us - report.started_at_us).unwrap_or(0)),
        outcome: edge::outcome(report.outcome)?,
    })
}

fn look(result: wire::LookResult) -> Result<(u64, Sight), BadField> {
    let refusal = |code, text| Refusal { code, text, status: 0 };
    let sight = match result.outcome.ok_or(BadField("outcome"))? {
        look_result::Outcome::Seen(seen) => Sight::Seen { there: seen.there },
        look_result::Outcome::Refused(refused) => Sight::Refused(refusal(refused.code, refused.text)),
        look_result::Outcome::Unavailable(again) => Sight::Unavailable(refusal(again.code, again.text)),
    };
    Ok((result.look, sight))
}

fn page(result: wire::PageResult) -> Result<(u64, bool, Leaf), BadField> {
    let refusal = |code, text| Refusal { code, text, status: 0 };
    let next = |marker: String| (!marker.is_empty()).then_some(marker);
    let leaf = match result.outcome.ok_or(BadField("outcome"))? {
        page_result::Outcome::Keys(page) => Leaf::Read(Page::Keys {
            keys: page.keys.into_iter().map(seen_key).collect::<Result<_, _>>()?,
            next: next(page.next_marker),
            skipped: page.skipped,
        }),
        page_result::Outcome::Aliases(page) => Leaf::Read(Page::Aliases {
            aliases: page.aliases.into_iter().map(|seen| SeenAlias { name: seen.name, key_id: seen.key_id }).collect(),
            next: next(page.next_marker),
        }),
        page_result::Outcome::Refused(refused) => Leaf::Refused(refusal(refused.code, refused.text)),
        page_result::Outcome::Unavailable(again) => Leaf::Unavailable(refusal(again.code, again.text)),
    };
    Ok((result.page, result.throttled, leaf))
}

fn seen_key(seen: wire::KeySeen) -> Result<SeenKey, BadField> {
    let metadata: serde_json::Value = serde_json::from_str(&seen.metadata).map_err(|_| BadField("metadata"))?;
    let deletion_date = seen
        .deletion_date_us
        .map(|us| OffsetDateTime::from_unix_timestamp_nanos(i128::from(us) * 1_000))
        .transpose()
        .map_err(|_| BadField("deletion_date_us"))?;
    Ok(SeenKey {
        key_id: seen.key_id,
        arn: seen.arn,
        state: seen.state,
        deletion_date,
        metadata,
        tags: seen.tags.into_iter().collect(),
    })
}
