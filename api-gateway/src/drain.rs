//! Reads what a client is still sending after its call was refused.
//!
//! Over HTTP/1.1 most clients send the whole body before they look at the answer. When the gateway answers and closes
//! in the middle of it, they see a broken connection and never the error body. So the body is lent to the handler, and
//! after a refusal the rest of it is read and thrown away, within limits.

use std::{
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
    time::Duration,
};

use axum::{
    body::{Body, BodyDataStream, HttpBody as _},
    extract::Request,
};
use bytes::Bytes;
use futures_util::{Stream, StreamExt as _};
use http::header;

/// How long a refused client may go on sending.
const LONGEST: Duration = Duration::from_secs(5);
/// How long a refused client may pause while it does: one that was refused for its pauses will make another.
const PAUSE: Duration = Duration::from_secs(1);
/// How much a refused client may go on sending: twice the largest body allowed by default.
const MOST_BYTES: usize = 256 << 20;

/// The body of a request whose handler has it on loan; `None` when there is none.
pub(crate) struct Loan(Option<Lent>);

impl Loan {
    /// Puts a lent body in the place of the request's own.
    pub(crate) fn lend(request: &mut Request) -> Self {
        if request.body().is_end_stream() {
            return Self(None);
        }
        // A client that waits for `100 Continue` sends nothing before the body is read for the first time.
        let waits = request.headers().contains_key(header::EXPECT);
        let stream = std::mem::take(request.body_mut()).into_data_stream();
        let lent = Lent(Arc::new(Mutex::new(State { stream, flows: !waits, ended: false })));
        *request.body_mut() = Body::from_stream(lent.clone());
        Self(Some(lent))
    }

    /// Throws away what is still coming.
    pub(crate) async fn drain(self) {
        let Some(mut lent) = self.0 else { return };
        {
            let state = lent.state();
            if state.ended || !state.flows {
                return;
            }
        }
        let read = async {
            let mut left = MOST_BYTES;
            while let Ok(Some(Ok(data))) = tokio::time::timeout(PAUSE, lent.next()).await {
                left = match left.checked_sub(data.len()) {
                    Some(left) => left,
                    None => return,
                };
            }
        };
        // Too slow or too much: the connection closes with the answer.
        let _in_time = tokio::time::timeout(LONGEST, read).await;
    }
}

#[derive(Clone)]
struct Lent(Arc<Mutex<State>>);

struct State {
    stream: BodyDataStream,
    flows: bool,
    ended: bool,
}

impl Lent {
    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Stream for Lent {
    type Item = Result<Bytes, axum::Error>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let mut state = self.state();
        if state.ended {
            return Poll::Ready(None);
        }
        state.flows = true;
        let polled = Pin::new(&mut state.stream).poll_next(context);
        if matches!(polled, Poll::Ready(None | Some(Err(_)))) {
            state.ended = true;
        }
        polled
    }
}

#[cfg(test)]
mod tests {
    use futures_util::stream;

    use super::*;

    fn body_of(pieces: usize) -> Request {
        Request::new(Body::from_stream(stream::iter(
            (0..pieces).map(|_| Ok::<_, axum::Error>(Bytes::from_static(b"x"))),
        )))
    }

    #[tokio::test]
    async fn what_the_handler_left_is_read() {
        let mut request = body_of(3);
        let loan = Loan::lend(&mut request);
        let lent = loan.0.clone().unwrap();
        let mut handler = request.into_body().into_data_stream();
        assert_eq!(handler.next().await.unwrap().unwrap(), "x");
        drop(handler);
        loan.drain().await;
        assert!(lent.state().ended);
    }

    #[tokio::test]
    async fn a_client_that_waits_for_leave_to_send_is_not_told_to() {
        let mut request = body_of(3);
        request.headers_mut().insert(header::EXPECT, http::HeaderValue::from_static("100-continue"));
        let loan = Loan::lend(&mut request);
        let lent = loan.0.clone().unwrap();
        drop(request);
        loan.drain().await;
        assert!(!lent.state().ended);
    }
}
