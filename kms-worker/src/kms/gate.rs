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
