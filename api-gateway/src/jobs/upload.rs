//! A request's body as something a parser can read from, on a thread that may block.
//!
//! Pieces come from the async side through a bounded channel, so a parser that waits makes the client wait. Each piece
//! is hashed as it comes (a repeat of a create is known by its body's digest), and looked through for strings of
//! unreasonable length: the parser holds each string whole in memory before anyone can judge it.

use std::io::{self, Read};

use bytes::{Buf as _, Bytes};
use sha2::{Digest as _, Sha256};
use tokio::sync::mpsc;

use crate::{content::Pieces, error::ApiError};

/// The longest string a body may hold, in bytes as written: the longest key, each byte written as an escape of six.
const LONGEST_STRING: usize = 6 * 2_048;

/// A piece of the body, or its end, or why the client sends no more.
pub(super) type Piece = Result<Option<Bytes>, ApiError>;

/// The readable end.
pub(super) struct Upload {
    source: Source,
    current: Bytes,
    digest: Sha256,
    strings: Strings,
    /// What comes after `current`.
    then: Option<Then>,
}

enum Then {
    End,
    Error(ApiError),
    /// Nobody brings pieces any more, for a reason that is known elsewhere.
    Abandoned,
}

enum Source {
    Whole(Option<Bytes>),
    Channel(mpsc::Receiver<Piece>),
    #[cfg(test)]
    Pieces(std::vec::IntoIter<Piece>),
}

impl Upload {
    /// A body that is there already.
    pub(super) fn whole(body: Bytes) -> Self {
        Self::from(Source::Whole(Some(body)))
    }

    /// A body that [`feed`] brings.
    pub(super) fn arriving(pieces: mpsc::Receiver<Piece>) -> Self {
        Self::from(Source::Channel(pieces))
    }

    #[cfg(test)]
    pub(super) fn pieces(pieces: impl IntoIterator<Item = Piece>) -> Self {
        Self::from(Source::Pieces(pieces.into_iter().collect::<Vec<_>>().into_iter()))
    }

    fn from(source: Source) -> Self {
        Self { source, current: Bytes::new(), digest: Sha256::new(), strings: Strings::default(), then: None }
    }

    /// SHA-256 of all that has been read; the body's, once its end was read.
    pub(super) fn digest(&self) -> Vec<u8> {
        self.digest.clone().finalize().to_vec()
    }

    /// The next piece; `None` when nobody brings more.
    fn next(&mut self) -> Option<Piece> {
        match &mut self.source {
            Source::Whole(body) => Some(Ok(body.take())),
            Source::Channel(pieces) => pieces.blocking_recv(),
            #[cfg(test)]
            Source::Pieces(pieces) => pieces.next(),
        }
    }
}

impl Read for Upload {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.current.is_empty() {
            match &self.then {
                Some(Then::End) => return Ok(0),
                Some(Then::Error(error)) => return Err(io::Error::other(error.clone())),
                Some(Then::Abandoned) => return Err(io::ErrorKind::BrokenPipe.into()),
                None => {}
            }
            match self.next() {
                Some(Ok(Some(piece))) => {
                    self.digest.update(&piece);
                    self.current = match self.strings.too_long_at(&piece) {
                        Some(at) => {
                            let message = format!("a string is longer than {LONGEST_STRING} bytes");
                            self.then = Some(Then::Error(ApiError::BadRequest(message)));
                            piece.slice(..at)
                        }
                        None => piece,
                    };
                }
                Some(Ok(None)) => self.then = Some(Then::End),
                Some(Err(error)) => self.then = Some(Then::Error(error)),
                None => self.then = Some(Then::Abandoned),
            }
        }
        let len = buffer.len().min(self.current.len());
        self.current.copy_to_slice(&mut buffer[..len]);
        Ok(len)
    }
}

/// Knows, byte by byte, how far into a JSON string a text is.
#[derive(Default)]
struct Strings {
    inside: bool,
    escaped: bool,
    len: usize,
}

impl Strings {
    /// Where in this next piece a string becomes too long.
    fn too_long_at(&mut self, piece: &[u8]) -> Option<usize> {
        for (at, &byte) in piece.iter().enumerate() {
            if !self.inside {
                self.inside = byte == b'"';
                self.len = 0;
            } else if self.escaped {
                self.escaped = false;
                self.len += 1;
            } else if byte == b'"' {
                self.inside = false;
            } else {
                self.escaped = byte == b'\\';
                self.len += 1;
            }
            if self.len > LONGEST_STRING {
                return Some(at);
            }
        }
        None
    }
}

/// Brings the pieces of a body until its end or the first error, or until nobody reads any more.
pub(super) async fn feed(mut body: Pieces, to: mpsc::Sender<Piece>) {
    loop {
        let piece = body.next().await;
        let last = !matches!(piece, Ok(Some(_)));
        if to.send(piece).await.is_err() || last {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_are_measured_across_pieces_and_escapes() {
        let mut strings = Strings::default();
        assert_eq!(strings.too_long_at(&b"x".repeat(LONGEST_STRING * 2)), None, "outside of a string");
        assert_eq!(strings.too_long_at(b"\"a\\"), None);
        assert_eq!(strings.too_long_at(b"\"b"), None, "an escaped quote ends nothing");
        assert!(strings.inside);
        assert_eq!(strings.too_long_at(b"\\\\\""), None);
        assert!(!strings.inside);
        assert_eq!(strings.too_long_at(b"\""), None);
        assert_eq!(strings.too_long_at(&b"y".repeat(LONGEST_STRING)), None);
        assert_eq!(strings.too_long_at(b"y"), Some(0));
    }

    #[tokio::test]
    async fn a_body_arrives_at_a_blocking_reader() {
        let (sender, receiver) = mpsc::channel(1);
        let body = axum::body::Body::from("hello");
        let fed = tokio::spawn(feed(Pieces::new(body, 10, std::time::Duration::from_secs(5)), sender));
        let read = tokio::task::spawn_blocking(|| {
            let mut upload = Upload::arriving(receiver);
            let mut text = String::new();
            upload.read_to_string(&mut text).map(|_| (text, upload.digest()))
        });
        let (text, digest) = read.await.unwrap().unwrap();
        assert_eq!(text, "hello");
        assert_eq!(digest, Sha256::digest(b"hello").to_vec());
        fed.await.unwrap();
    }
}
