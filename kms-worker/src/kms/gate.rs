//! The last check before a request leaves.
//!
//! Problem: KMS has no fencing token, so a process that is frozen between its check and its write sends something
//! stale when it thaws. The check therefore sits where hyper hands bytes to the connection: after resolving,
//! connecting and the TLS handshake, right before the write. What is left between them is the encryption of one
//! record and the system call: microseconds.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
};

use hyper::rt::{Read, ReadBufCursor, Write};

use super::flight::Flight;

/// Names the request whose bytes may be written now.
#[derive(Clone, Debug, Default)]
pub(super) struct Guard(Arc<Mutex<Option<Arc<Flight>>>>);

impl Guard {
    /// From here on the bytes written are this request's.
    pub(super) fn arm(&self, flight: Arc<Flight>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(flight);
    }

    /// From here on nothing may be written.
    pub(super) fn disarm(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    fn admit(&self) -> io::Result<()> {
        match &*self.0.lock().unwrap_or_else(PoisonError::into_inner) {
            Some(flight) => flight.admit().map_err(io::Error::other),
            None => Err(io::Error::other("no request is under way on this connection")),
        }
    }
}

/// A connection whose every write is checked.
#[derive(Debug)]
pub(super) struct Gate<I> {
    io: I,
    guard: Guard,
}

impl<I> Gate<I> {
    pub(super) const fn new(io: I, guard: Guard) -> Self {
        Self { io, guard }
    }
}

impl<I: Read + Unpin> Read for Gate<I> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: ReadBufCursor<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(cx, buf)
    }
}

impl<I: Write + Unpin> Write for Gate<I> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.guard.admit()?;
        Pin::new(&mut self.io).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.guard.admit()?;
        Pin::new(&mut self.io).poll_write_vectored(cx, bufs)
    }
}

#[cfg(test)]
mod tests {
    use std::{future::poll_fn, time::Duration};

    use hyper_util::rt::TokioIo;
    use service_kit::clock;
    use tokio::io::{AsyncReadExt, DuplexStream, duplex};

    use super::*;
    use crate::{
        kms::flight::Progress,
        lease::{Heartbeats, Lease},
        permit::Permit,
        stops::Stops,
    };

    struct Setup {
        stops: Stops,
        flight: Arc<Flight>,
        gate: Gate<TokioIo<DuplexStream>>,
        guard: Guard,
        other_end: DuplexStream,
    }

    fn job() -> job_model::JobId {
        job_model::JobId::from_uuid(uuid::Uuid::from_u128(1))
    }

    fn setup(timeout: Duration) -> Setup {
        let (lease, stops) = (Arc::new(Lease::default()), Stops::default());
        let mut beats = Heartbeats::new(lease.clone());
        let number = beats.beat(clock::boottime());
        beats.granted(number, Duration::from_secs(60), clock::boottime());
        let permit = Arc::new(Permit::for_go(&lease, stops.flag(job()), clock::boottime));
        let (here, other_end) = duplex(64);
        let guard = Guard::default();
        let gate = Gate::new(TokioIo::new(here), guard.clone());
        Setup { stops, flight: Arc::new(Flight::new(permit, timeout)), gate, guard, other_end }
    }

    impl Setup {
        async fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            poll_fn(|cx| Pin::new(&mut self.gate).poll_write(cx, bytes)).await
        }

        /// All that arrived at the other end.
        async fn arrived(self) -> Vec<u8> {
            let Self { gate, mut other_end, .. } = self;
            drop(gate);
            let mut bytes = Vec::new();
            other_end.read_to_end(&mut bytes).await.unwrap();
            bytes
        }
    }

    #[tokio::test]
    async fn a_permitted_request_passes() {
        let mut setup = setup(Duration::from_secs(60));
        setup.guard.arm(setup.flight.clone());
        assert_eq!(setup.flight.progress(), Progress::Waiting);
        setup.write(b"request").await.unwrap();
        assert_eq!(setup.flight.progress(), Progress::Sent);
        assert_eq!(setup.arrived().await, b"request");
    }

    #[tokio::test]
    async fn what_became_void_at_the_last_moment_does_not_pass() {
        let mut setup = setup(Duration::from_secs(60));
        setup.guard.arm(setup.flight.clone());
        setup.flight.check().unwrap();
        setup.stops.set(job(), clock::boottime());
        setup.write(b"request").await.unwrap_err();
        assert_eq!(setup.flight.progress(), Progress::Void);
        assert_eq!(setup.arrived().await, b"");
    }

    #[tokio::test]
    async fn what_became_void_halfway_is_not_completed() {
        let mut setup = setup(Duration::from_secs(60));
        setup.guard.arm(setup.flight.clone());
        setup.write(b"first half").await.unwrap();
        setup.stops.set(job(), clock::boottime());
        setup.write(b"second half").await.unwrap_err();
        assert_eq!(setup.flight.progress(), Progress::Sent, "doubtful: its beginning has left");
        assert_eq!(setup.arrived().await, b"first half");
    }

    #[tokio::test]
    async fn what_comes_too_late_does_not_pass() {
        let mut setup = setup(Duration::ZERO);
        setup.guard.arm(setup.flight.clone());
        setup.write(b"request").await.unwrap_err();
        assert_eq!(setup.flight.progress(), Progress::Waiting);
    }

    #[tokio::test]
    async fn nothing_passes_without_a_request() {
        let mut setup = setup(Duration::from_secs(60));
        setup.write(b"x").await.unwrap_err();
        setup.guard.arm(setup.flight.clone());
        setup.guard.disarm();
        setup.write(b"x").await.unwrap_err();
        assert_eq!(setup.arrived().await, b"");
    }
}
