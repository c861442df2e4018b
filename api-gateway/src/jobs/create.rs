//! `POST /api/v1/cckm/aws/bulkjob`: make a job.
//!
//! The body goes on to the scheduler while it arrives, and becomes a job only with the Commit at the end: whatever is
//! wrong with it, and whoever breaks off, leaves nothing behind. Small bodies, the usual ones, are read at once; large
//! ones on a thread of their own, a bounded number at a time, because each remembers which keys it has seen.

use std::{pin::pin, sync::Arc, time::Duration};

use axum::{
    extract::{Request, State},
    response::Response,
};
use bytes::Bytes;
use http::{HeaderMap, HeaderName};
use keyfleet_proto::jobs::v1 as proto;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, mpsc},
    task,
    time::timeout,
};
use tokio_stream::wrappers::ReceiverStream;

use super::{
    form::JobForm,
    order::{Closed, KeySink, NoOrder, Order, read_order},
    schema,
    selector::Selector,
    upload::{Upload, feed},
};
use crate::{
    app::App,
    auth::Caller,
    content::{self, Pieces},
    error::{ApiError, Success},
    limits,
};

/// Bodies up to this many bytes are read at once. Parsing one takes well under a millisecond.
const SMALL_BODY: u64 = 64 << 10;
/// Large bodies read at once, each with up to 8 MB.
const LARGE_AT_ONCE: usize = 8;
/// Of these, the ones with very many keys, each with up to 21 MB more.
const HUGE_AT_ONCE: usize = 2;
/// Pieces of a body that wait for the parser. The server reads up to 128 KB at once.
const PIECES: usize = 2;
/// Chunks of keys that wait for the scheduler.
const CHUNKS: usize = 2;

/// How long a parser that was given up may take to end.
const PARSER_ENDS: Duration = Duration::from_secs(1);

/// Makes a create safe to repeat.
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
/// The longest one, in characters.
const LONGEST_IDEMPOTENCY_KEY: usize = 255;

/// Rations the memory of large creates.
pub(crate) struct Uploads {
    large: Arc<Semaphore>,
    huge: Arc<Semaphore>,
}

impl Default for Uploads {
    fn default() -> Self {
        Self { large: Arc::new(Semaphore::new(LARGE_AT_ONCE)), huge: Arc::new(Semaphore::new(HUGE_AT_ONCE)) }
    }
}

/// Create a bulk job.
///
/// The keys are registered resource ids, AWS key ids or ARNs, in any mix; the same text twice is one task. Instead of
/// keys a selector may be given: all registered keys that match at this moment. A field that does not exist is refused. Jobs that share a key take effect on it in either order.
#[utoipa::path(post, path = "/api/v1/cckm/aws/bulkjob", operation_id = "create_job", tag = "Bulk jobs", request_body = schema::Order,
    params(("Idempotency-Key" = Option<String>, Header, description = "Up to 255 visible ASCII characters. For 24 hours a repeat with the same body answers 201 with the same job; with another body, 409")),
    responses((status = 201, description = "The job; with over 1,000 keys without keys and detailed_status", body = schema::Job)))]
pub(crate) async fn create(State(app): State<App>, caller: Caller, request: Request) -> Result<Response, ApiError> {
    let made = timeout(app.create_timeout, make(&app, &caller, request)).await;
    let answer = made.map_err(|_| limits::too_late())??;
    let mut body = Vec::new();
    JobForm::of(answer.job.as_ref())?.write_usual(&mut body, &answer.tasks)?;
    Ok(Success::Created.of(super::json(body)))
}

async fn make(app: &App, caller: &Caller, request: Request) -> Result<proto::CreateJobResponse, ApiError> {
    content::expect_json(request.headers())?;
    let max_keys = u32::try_from(app.max_keys).unwrap_or(u32::MAX);
    let commit = Commit { idempotency_key: idempotency_key(request.headers())?, max_keys };
    let begin = proto::create_job_request::Begin {
        rights: Some(caller.rights()),
        tenant: caller.tenant.to_string(),
        created_by: caller.subject.clone(),
    };
    let max_keys = app.max_keys;
    match content::announced_length(request.headers()) {
        Some(length) if length > app.max_body => Err(ApiError::TooLarge(app.max_body)),
        Some(length) if length <= SMALL_BODY => {
            let body = content::whole(request, SMALL_BODY, app.body_pause).await?;
            let requests = small(body, max_keys, begin, &commit)?;
            let mut client = app.scheduler.jobs().await?;
            app.scheduler.once(client.create_job(tokio_stream::iter(requests))).await.map_err(about_the_order)
        }
        Some(_) | None => large(app, request, max_keys, begin, commit).await,
    }
}

/// All that goes to the scheduler for a small body.
fn small(
    body: Bytes,
    max_keys: usize,
    begin: proto::create_job_request::Begin,
    commit: &Commit,
) -> Result<Vec<proto::CreateJobRequest>, ApiError> {
    struct All(Vec<proto::CreateJobRequest>);
    impl KeySink for All {
        fn take(&mut self, keys: Vec<String>) -> Result<(), Closed> {
            self.0.push(part(keys_of(keys)));
            Ok(())
        }
        fn many(&mut self) -> Result<(), Closed> {
            Ok(())
        }
    }
    let mut all = All(vec![part(proto::create_job_request::Part::Begin(begin))]);
    let mut upload = Upload::whole(body);
    let order = read_order(&mut upload, max_keys, &mut all).map_err(|refused| match refused {
        NoOrder::Refused(error) => error,
        NoOrder::Closed => ApiError::Internal,
    })?;
    all.0.push(commit.of(order, upload.digest()));
    Ok(all.0)
}

/// Sends a body on while it arrives.
async fn large(
    app: &App,
    request: Request,
    max_keys: usize,
    begin: proto::create_job_request::Begin,
    commit: Commit,
) -> Result<proto::CreateJobResponse, ApiError> {
    let place = Arc::clone(&app.uploads.large).acquire_owned().await.map_err(|_| ApiError::Internal)?;
    let mut client = app.scheduler.jobs().await?;
    let (to_parser, pieces) = mpsc::channel(PIECES);
    let (to_scheduler, requests) = mpsc::channel(CHUNKS);
    to_scheduler.try_send(part(proto::create_job_request::Part::Begin(begin))).map_err(|_| ApiError::Internal)?;

    let mut fed = Box::pin(feed(Pieces::new(request.into_body(), app.max_body, app.body_pause), to_parser));
    let mut sink = Sending { to: to_scheduler, huge: Arc::clone(&app.uploads.huge), leave: None };
    let mut parsed = task::spawn_blocking(move || {
        // Held here: an abandoned upload counts until its thread ends.
        let _place = place;
        let mut upload = Upload::arriving(pieces);
        let order = read_order(&mut upload, max_keys, &mut sink)?;
        let commit = commit.of(order, upload.digest());
        sink.to.blocking_send(commit).map_err(|_| NoOrder::Closed)
    });
    let mut called = pin!(client.create_job(ReceiverStream::new(requests)));

    let (mut feeding, mut parsing) = (true, true);
    let answer = loop {
        tokio::select! {
            biased;
            ended = &mut parsed, if parsing => match ended {
                Ok(Ok(()) | Err(NoOrder::Closed)) => parsing = false,
                Ok(Err(NoOrder::Refused(error))) => return Err(error),
                Err(panic) => {
                    tracing::error!(%panic, "A create's parser panicked.");
                    return Err(ApiError::Internal);
                }
            },
            answer = &mut called => break answer,
            () = &mut fed, if feeding => feeding = false,
        }
    };
    match answer {
        Ok(answer) => Ok(answer.into_inner()),
        Err(status) => {
            let refusal = app.scheduler.refused(&status);
            // Who may not run the job at all learns it at once, whatever the rest of the body says.
            if matches!(refusal, ApiError::Forbidden(_)) {
                return Err(refusal);
            }
            // The scheduler also refuses a stream that was broken off because the body is wrong; then the body's
            // mistake is the answer. With nothing more coming and nobody taking it the parser ends at once.
            drop(fed);
            if parsing && let Ok(Ok(Err(NoOrder::Refused(error)))) = timeout(PARSER_ENDS, &mut parsed).await {
                return Err(error);
            }
            Err(about_the_order(refusal))
        }
    }
}

/// Hands keys to the scheduler from the parser's thread.
struct Sending {
    to: mpsc::Sender<proto::CreateJobRequest>,
    huge: Arc<Semaphore>,
    leave: Option<OwnedSemaphorePermit>,
}

impl KeySink for Sending {
    fn take(&mut self, keys: Vec<String>) -> Result<(), Closed> {
        self.to.blocking_send(part(keys_of(keys))).map_err(|_| Closed)
    }

    fn many(&mut self) -> Result<(), Closed> {
        let huge = Arc::clone(&self.huge);
        let closed = self.to.clone();
        let leave = tokio::runtime::Handle::current().block_on(async {
            tokio::select! {
                leave = huge.acquire_owned() => leave.ok(),
                // The caller has gone.
                () = closed.closed() => None,
            }
        });
        self.leave = Some(leave.ok_or(Closed)?);
        Ok(())
    }
}

/// What ends a good stream.
struct Commit {
    idempotency_key: String,
    /// That a selector may match.
    max_keys: u32,
}

impl Commit {
    fn of(&self, order: Order, body_digest: Vec<u8>) -> proto::CreateJobRequest {
        let asked = proto::Operation::from(order.operation);
        let (operation, dry_run) = match order.dry_run {
            true => (proto::Operation::Unspecified, asked),
            false => (asked, proto::Operation::Unspecified),
        };
        part(proto::create_job_request::Part::Commit(proto::create_job_request::Commit {
            operation: operation.into(),
            dry_run: dry_run.into(),
            days: order.days,
            policy_template_id: order.policy_template_id,
            force: order.force,
            max_rate: order.max_rate,
            filter: order.selector.as_ref().map(Selector::filter),
            selector: order
                .selector
                .map(|selector| serde_json::to_string(&selector).expect("strings have a JSON form"))
                .unwrap_or_default(),
            max_keys: self.max_keys,
            idempotency_key: self.idempotency_key.clone(),
            body_digest: body_digest.into(),
        }))
    }
}

fn part(part: proto::create_job_request::Part) -> proto::CreateJobRequest {
    proto::CreateJobRequest { part: Some(part) }
}

fn keys_of(keys: Vec<String>) -> proto::create_job_request::Part {
    proto::create_job_request::Part::Keys(proto::create_job_request::Keys { keys })
}

/// A create's path names nothing that could be missing: what is unknown is the template that its body names.
fn about_the_order(error: ApiError) -> ApiError {
    if let ApiError::NotFound(message) = error {
        let named = message.starts_with("policy_template_id");
        return ApiError::BadRequest(if named { message } else { format!("policy_template_id: {message}") });
    }
    error
}

fn idempotency_key(headers: &HeaderMap) -> Result<String, ApiError> {
    let Some(value) = headers.get(IDEMPOTENCY_KEY) else { return Ok(String::new()) };
    value
        .to_str()
        .ok()
        .filter(|key| (1..=LONGEST_IDEMPOTENCY_KEY).contains(&key.len()) && key.bytes().all(|b| b.is_ascii_graphic()))
        .map(str::to_owned)
        .ok_or_else(|| ApiError::BadRequest("Idempotency-Key: must be 1 to 255 visible ASCII characters".to_owned()))
}
