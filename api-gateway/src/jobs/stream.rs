//! Answers that are written while they are read: as slowly as the client takes them, and never whole in memory.
//!
//! A task of its own reads from the scheduler and writes into a short channel that is the response's body; it ends when
//! the client leaves. What fails after the head has gone can only break the body off, which the client sees.

use std::{io, sync::Arc, time::Duration};

use axum::body::Body;
use bytes::Bytes;
use keyfleet_proto::jobs::v1 as proto;
use tokio::{
    sync::{Semaphore, mpsc},
    time::timeout,
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;
use tracing::Instrument as _;

use super::form::{JobForm, write_key, write_status};
use crate::{error::ApiError, limits, scheduler::Scheduler};

/// The bytes of one write.
const WRITE: usize = 64 << 10;
/// Writes that wait for the client.
const WAITING: usize = 2;
/// Answers streamed at once, each with some 300 KB.
const AT_ONCE: usize = 64;
/// How long one answer may wait for its turn.
const TURN: Duration = Duration::from_secs(5);
/// How long the scheduler may take for the next batch.
const NEXT_BATCH: Duration = Duration::from_secs(20);
/// How long a client may take for the next write.
const PATIENCE: Duration = Duration::from_secs(60);

/// Rations the answers that are streamed at once.
#[derive(Clone)]
pub(crate) struct Streams(Arc<Semaphore>);

impl Default for Streams {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(AT_ONCE)))
    }
}

/// Where a streamed answer is written to.
pub(super) struct Out {
    buffer: Vec<u8>,
    to: mpsc::Sender<io::Result<Bytes>>,
}

/// Why an answer broke off.
#[derive(Debug, thiserror::Error)]
pub(super) enum BrokenOff {
    /// The client left or was too slow.
    #[error("the client has gone")]
    Client,
    /// There was no more to write.
    #[error("{0}")]
    Source(#[from] ApiError),
}

impl Out {
    /// Where to write the next few bytes; [`Self::flow`] sends them.
    pub(super) const fn buffer(&mut self) -> &mut Vec<u8> {
        &mut self.buffer
    }

    /// Sends what was written, if it is worth it, and waits for the client.
    pub(super) async fn flow(&mut self) -> Result<(), BrokenOff> {
        if self.buffer.len() >= WRITE { self.send().await } else { Ok(()) }
    }

    async fn send(&mut self) -> Result<(), BrokenOff> {
        let full = std::mem::replace(&mut self.buffer, Vec::with_capacity(WRITE + WRITE / 8));
        match timeout(PATIENCE, self.to.send(Ok(full.into()))).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(BrokenOff::Client),
        }
    }
}

impl Streams {
    /// A body that `write` writes.
    pub(super) async fn body<F>(&self, write: F) -> Result<Body, ApiError>
    where
        F: AsyncWrite,
    {
        let turn = timeout(TURN, Arc::clone(&self.0).acquire_owned()).await;
        let turn = turn
            .ok()
            .and_then(Result::ok)
            .ok_or_else(|| ApiError::Unavailable("too many large answers are being written; try again".to_owned()))?;
        let (to, body) = mpsc::channel(WAITING);
        let task = async move {
            let _turn = turn;
            let mut out = Out { buffer: Vec::with_capacity(WRITE + WRITE / 8), to };
            let written = match write.write(&mut out).await {
                Ok(()) => out.send().await,
                Err(error) => Err(error),
            };
            match written {
                Ok(()) => {}
                Err(BrokenOff::Client) => tracing::debug!("A client left in the middle of an answer."),
                Err(BrokenOff::Source(error)) => {
                    tracing::warn!(%error, "An answer broke off in the middle.");
                    let _gone = out.to.send(Err(io::Error::other(error))).await;
                }
            }
        };
        tokio::spawn(task.in_current_span());
        Ok(Body::from_stream(ReceiverStream::new(body)))
    }
}

/// Something that writes an answer.
pub(super) trait AsyncWrite: Send + 'static {
    /// Writes all of it.
    fn write(self, out: &mut Out) -> impl Future<Output = Result<(), BrokenOff>> + Send;
}

/// A job with all its keys. The statuses come first, and the keys follow by a second reading: between the two lies the
/// whole job, which is too much to keep.
pub(super) struct WholeJob {
    pub(super) scheduler: Scheduler,
    pub(super) form: JobForm,
    /// Asks for the statuses of all keys.
    pub(super) all: proto::StreamTasksRequest,
    /// The first reading, begun before the answer so that its refusal can still be told.
    pub(super) statuses: Streaming<proto::StreamTasksResponse>,
}

impl AsyncWrite for WholeJob {
    async fn write(mut self, out: &mut Out) -> Result<(), BrokenOff> {
        self.form.write_head(out.buffer());
        let mut first = true;
        while let Some(batch) = next(&self.scheduler, &mut self.statuses).await? {
            for task in &batch.tasks {
                write_status(out.buffer(), task, first)?;
                first = false;
                out.flow().await?;
            }
        }
        self.form.write_middle(out.buffer());
        let keys_only = proto::StreamTasksRequest { keys_only: true, ..self.all };
        let mut keys = tasks(&self.scheduler, &keys_only).await?;
        let mut first = true;
        while let Some(batch) = next(&self.scheduler, &mut keys).await? {
            for task in &batch.tasks {
                write_key(out.buffer(), task, first);
                first = false;
                out.flow().await?;
            }
        }
        self.form.write_tail(out.buffer());
        Ok(())
    }
}

/// Begins to read a job's tasks.
pub(super) async fn tasks(
    scheduler: &Scheduler,
    request: &proto::StreamTasksRequest,
) -> Result<Streaming<proto::StreamTasksResponse>, ApiError> {
    scheduler
        .read(|mut client| {
            let request = request.clone();
            async move { client.stream_tasks(request).await }
        })
        .await
}

async fn next(
    scheduler: &Scheduler,
    stream: &mut Streaming<proto::StreamTasksResponse>,
) -> Result<Option<proto::StreamTasksResponse>, ApiError> {
    match timeout(NEXT_BATCH, stream.message()).await {
        Ok(Ok(batch)) => Ok(batch),
        Ok(Err(status)) => Err(scheduler.refused(&status)),
        Err(_) => Err(limits::too_late()),
    }
}
