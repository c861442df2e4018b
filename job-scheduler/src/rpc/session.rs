//! A worker's session: frames in both directions until the stream or the leadership ends.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use job_model::{AgainReason, GoId, Outcome, Refusal};
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

/// Characters of a worker's name at the most.
const LONGEST_NAME: usize = 255;
/// What a try is said to have taken at the most; it cannot take a minute.
const LONGEST_TRY: Duration = Duration::from_secs(60 * 60);

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
            tell(leader, Event::Received(session, read(frame))).await?;
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
        name: hello.name.replace('\0', "\u{fffd}").chars().take(LONGEST_NAME).collect(),
        concurrency: hello.concurrency,
        open: hello
            .open_gos
            .iter()
            .map(|open| Ok((GoId::from_u64(open.go), edge::task(open.task.as_ref())?)))
            .collect::<Result<_, BadField>>()?,
    })
}

/// What of a frame makes sense. What does not costs itself alone: a session that ended for it would bring it again.
fn read(frame: wire::FromWorker) -> Received {
    let told = frame.heartbeat.iter().flat_map(|heartbeat| &heartbeat.stops);
    Received {
        stops: sound(told.chain(&frame.stop_acks).map(|ack| edge::job_id(&ack.job_id))),
        heartbeat: frame.heartbeat.map(|heartbeat| heartbeat.number),
        starts: sound(frame.starts.iter().map(TryInto::try_into)),
        reports: sound(frame.reports.into_iter().map(report)),
        looks: frame.look_results.into_iter().map(look).collect(),
        pages: frame.page_results.into_iter().map(page).collect(),
    }
}

fn sound<T>(items: impl Iterator<Item = Result<T, BadField>>) -> Vec<T> {
    items.filter_map(|item| item.map_err(|error| senseless(&error)).ok()).collect()
}

/// Notes what makes no sense, and says so in KMS's place.
fn senseless(error: &BadField) -> Refusal {
    tracing::error!(%error, "A part of a worker's frame makes no sense.");
    metrics::counter!("keyfleet_senseless_items_total").increment(1);
    Refusal { code: "Senseless".to_owned(), text: error.to_string(), status: 0 }
}

/// A report whose outcome makes no sense may be of a try that changed the key.
fn report(report: wire::Report) -> Result<Report, BadField> {
    let task = edge::task(report.task.as_ref())?;
    let (outcome, acted) = match edge::outcome(report.outcome) {
        Ok(outcome) => (outcome, report.acted),
        Err(error) => (Outcome::Again { reason: AgainReason::Unanswered, said: senseless(&error) }, true),
    };
    let took = report.finished_at_us.saturating_sub(report.started_at_us);
    Ok(Report {
        go: GoId::from_u64(report.go),
        task,
        state_before: report.state_before,
        acted,
        took: Duration::from_micros(u64::try_from(took).unwrap_or(0)).min(LONGEST_TRY),
        outcome,
    })
}

fn look(result: wire::LookResult) -> (u64, Sight) {
    let refusal = |code, text| Refusal { code, text, status: 0 };
    let sight = match result.outcome {
        Some(look_result::Outcome::Seen(seen)) => Sight::Seen { there: seen.there },
        Some(look_result::Outcome::Refused(refused)) => Sight::Refused(refusal(refused.code, refused.text)),
        Some(look_result::Outcome::Unavailable(again)) => Sight::Unavailable(refusal(again.code, again.text)),
        None => Sight::Unavailable(senseless(&BadField("outcome"))),
    };
    (result.look, sight)
}

fn page(result: wire::PageResult) -> (u64, bool, Leaf) {
    let refusal = |code, text| Refusal { code, text, status: 0 };
    let next = |marker: String| (!marker.is_empty()).then_some(marker);
    let leaf = match result.outcome {
        Some(page_result::Outcome::Keys(page)) => {
            let told = page.keys.len();
            let keys = sound(page.keys.into_iter().map(seen_key));
            let skipped = page.skipped.saturating_add(u32::try_from(told - keys.len()).unwrap_or(u32::MAX));
            Leaf::Read(Page::Keys { keys, next: next(page.next_marker), skipped })
        }
        Some(page_result::Outcome::Aliases(page)) => Leaf::Read(Page::Aliases {
            aliases: page.aliases.into_iter().map(|seen| SeenAlias { name: seen.name, key_id: seen.key_id }).collect(),
            next: next(page.next_marker),
        }),
        Some(page_result::Outcome::Refused(refused)) => Leaf::Refused(refusal(refused.code, refused.text)),
        Some(page_result::Outcome::Unavailable(again)) => Leaf::Unavailable(refusal(again.code, again.text)),
        None => Leaf::Unavailable(senseless(&BadField("outcome"))),
    };
    (result.page, result.throttled, leaf)
}

fn seen_key(seen: wire::KeySeen) -> Result<SeenKey, BadField> {
    // The API writes its members beside others.
    let metadata: serde_json::Map<_, _> = serde_json::from_str(&seen.metadata).map_err(|_| BadField("metadata"))?;
    let deletion_date = seen
        .deletion_date_us
        .map(|us| OffsetDateTime::from_unix_timestamp_nanos(i128::from(us) * 1_000))
        .transpose()
        .ok()
        // Postgres knows no years as early as some that can be told.
        .filter(|date| date.is_none_or(|date| date >= OffsetDateTime::UNIX_EPOCH))
        .ok_or(BadField("deletion_date_us"))?;
    Ok(SeenKey {
        key_id: seen.key_id,
        arn: seen.arn,
        state: seen.state,
        deletion_date,
        metadata: serde_json::Value::Object(metadata),
        tags: seen.tags.into_iter().collect(),
    })
}

#[cfg(test)]
mod tests {
    use job_model::{JobId, TaskRef};

    use super::*;

    fn task() -> TaskRef {
        TaskRef { job: JobId::from_uuid(uuid::Uuid::from_u128(1)), seq: 3 }
    }

    fn nothing() -> wire::TaskRef {
        wire::TaskRef { job_id: vec![1, 2, 3].into(), seq: 0 }
    }

    #[test]
    fn a_key_that_could_be_kept_but_not_told_is_not_taken() {
        let good = wire::KeySeen { metadata: "{}".to_owned(), deletion_date_us: Some(0), ..wire::KeySeen::default() };
        seen_key(good.clone()).unwrap();
        for metadata in ["null", "7", "[]", "\"x\"", "", "{"] {
            let key = wire::KeySeen { metadata: metadata.to_owned(), ..good.clone() };
            assert!(seen_key(key).is_err_and(|BadField(field)| field == "metadata"), "{metadata}");
        }
        for date in [-1, i64::MIN, i64::MAX, -377_705_116_800_000_000, 253_402_300_800_000_000] {
            let key = wire::KeySeen { deletion_date_us: Some(date), ..good.clone() };
            assert!(seen_key(key).is_err_and(|BadField(field)| field == "deletion_date_us"), "{date}");
        }
    }

    #[test]
    fn what_makes_no_sense_costs_itself_alone() {
        let good = wire::Report {
            go: 7,
            task: Some(task().into()),
            started_at_us: i64::MIN,
            finished_at_us: i64::MAX,
            outcome: Some(wire::report::Outcome::Unstarted(wire::Unstarted {})),
            ..wire::Report::default()
        };
        let of_nothing = wire::Report { task: Some(nothing()), ..good.clone() };
        let without_end = wire::Report { go: 8, outcome: None, ..good.clone() };
        let key = |metadata: &str| wire::KeySeen { metadata: metadata.to_owned(), ..wire::KeySeen::default() };
        let received = read(wire::FromWorker {
            heartbeat: Some(wire::Heartbeat { number: 5, stops: vec![wire::StopAck::default()] }),
            starts: vec![nothing(), task().into()],
            reports: vec![of_nothing, without_end, good],
            look_results: vec![wire::LookResult { look: 9, outcome: None }],
            page_results: vec![
                wire::PageResult { page: 1, ..wire::PageResult::default() },
                wire::PageResult {
                    page: 2,
                    outcome: Some(page_result::Outcome::Keys(wire::KeysPage {
                        keys: vec![key("no JSON"), key("{}")],
                        skipped: 1,
                        ..wire::KeysPage::default()
                    })),
                    ..wire::PageResult::default()
                },
            ],
            ..wire::FromWorker::default()
        });
        assert_eq!((received.heartbeat, received.stops), (Some(5), Vec::new()));
        assert_eq!(received.starts, [task()]);
        let [without_end, good] = &received.reports[..] else { panic!("{:?}", received.reports) };
        assert!(matches!(without_end.outcome, Outcome::Again { reason: AgainReason::Unanswered, .. }));
        assert!(without_end.acted, "it may have changed the key");
        assert!(good.outcome == Outcome::Unstarted && good.took == LONGEST_TRY);
        assert!(matches!(received.looks[..], [(9, Sight::Unavailable(_))]));
        let [(1, false, Leaf::Unavailable(_)), (2, false, Leaf::Read(Page::Keys { keys, skipped: 2, .. }))] =
            &received.pages[..]
        else {
            panic!("{:?}", received.pages)
        };
        assert_eq!(keys.len(), 1);
    }
}

#[cfg(test)]
mod fuzz;
