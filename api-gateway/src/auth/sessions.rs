//! What the gateway has the scheduler remember of logins: refresh tokens, and what was revoked.
//!
//! A refresh token is 256 random bits, of which only the digest leaves this process. Keeping one is no leader's work:
//! every replica of the scheduler answers, so that logins do not feel a change of leaders. Clients that log in before
//! every call make many rows at once, so the logins that come while one batch is on its way make up the next one.

use std::time::Duration;

use keyfleet_proto::auth::v1::{self as proto, revoke_session_request::Which, sessions_client::SessionsClient};
use scheduler_client::Leader;
use sha2::{Digest as _, Sha256};
use tokio::{
    sync::{mpsc, oneshot},
    time::timeout,
};
use tonic::{Code, Response, Status, transport::Channel};
use uuid::Uuid;

use crate::error::ApiError;

/// How long one replica may take to answer before the next is asked.
const ANSWER: Duration = Duration::from_secs(1);
/// Logins of one batch: what the scheduler takes at once.
const BATCH: usize = 1_000;
/// Logins that may wait for a batch; no more than there are requests worked on at once.
const WAITING: usize = 1_024;

/// The scheduler's memory of sessions.
#[derive(Clone)]
pub(crate) struct Sessions {
    leader: Leader,
    opening: mpsc::Sender<Opening>,
}

/// A session that is to be kept, and who waits for it.
struct Opening(proto::Session, oneshot::Sender<Result<(), ApiError>>);

/// A new refresh token: what the client gets, and what is kept of it.
pub(super) struct RefreshToken {
    pub(super) text: String,
    pub(super) digest: [u8; 32],
}

impl RefreshToken {
    /// 64 letters and digits from 256 random bits.
    pub(super) fn random() -> Self {
        let bits: [u8; 32] = rand::random();
        let text: String = bits.iter().map(|byte| format!("{byte:02x}")).collect();
        let digest = digest(&text);
        Self { text, digest }
    }
}

/// What is kept of a refresh token. It is as random as it is long: a plain digest tells nothing of it.
pub(super) fn digest(token: &str) -> [u8; 32] {
    Sha256::digest(token.as_bytes()).into()
}

impl Sessions {
    /// Speaks to the schedulers. Call it within the async runtime.
    pub(crate) fn new(leader: Leader) -> Self {
        let (opening, openings) = mpsc::channel(WAITING);
        tokio::spawn(open_in_batches(leader.clone(), openings));
        Self { leader, opening }
    }

    /// Keeps a session; once it answers, every replica finds it.
    pub(super) async fn open(&self, session: proto::Session) -> Result<(), ApiError> {
        let (done, opened) = oneshot::channel();
        self.opening.send(Opening(session, done)).await.map_err(|_| ApiError::Internal)?;
        opened.await.map_err(|_| ApiError::Internal)?
    }

    /// The session of the refresh token of this digest.
    pub(super) async fn find(&self, digest: [u8; 32]) -> Result<Option<proto::Session>, ApiError> {
        let request = proto::FindSessionRequest { token_digest: digest.to_vec().into() };
        let found = ask(&self.leader, |mut client| {
            let request = request.clone();
            async move { client.find_session(request).await }
        })
        .await;
        or_none(found)
    }

    /// Revokes a session; answers its id, or `None` when there is no such session.
    pub(super) async fn revoke(&self, which: Which) -> Result<Option<Uuid>, ApiError> {
        let request = proto::RevokeSessionRequest { which: Some(which) };
        let revoked = ask(&self.leader, |mut client| {
            let request = request.clone();
            async move { client.revoke_session(request).await }
        })
        .await;
        or_none(revoked)?.map(|revoked| session_id(&revoked.id)).transpose()
    }

    /// What was revoked after this moment, in microseconds of the schedulers' clock.
    pub(super) async fn revocations(&self, after_us: i64) -> Result<Vec<proto::Revocation>, ApiError> {
        let request = proto::ListRevocationsRequest { after_us };
        let listed = ask(&self.leader, |mut client| async move { client.list_revocations(request).await }).await;
        listed.map(|listed| listed.revocations)
    }
}

/// The id of a session in a message.
pub(super) fn session_id(bytes: &[u8]) -> Result<Uuid, ApiError> {
    Uuid::from_slice(bytes).map_err(|_| {
        tracing::error!("The scheduler named a session by something that is no id.");
        ApiError::Internal
    })
}

fn or_none<T>(answer: Result<T, ApiError>) -> Result<Option<T>, ApiError> {
    match answer {
        Ok(found) => Ok(Some(found)),
        Err(ApiError::NotFound(_)) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Asks one replica after the other until one answers. What is asked here is safe to ask twice.
async fn ask<T, F, Fut>(leader: &Leader, question: F) -> Result<T, ApiError>
where
    F: Fn(SessionsClient<Channel>) -> Fut,
    Fut: Future<Output = Result<Response<T>, Status>>,
{
    for client in leader.sessions() {
        match timeout(ANSWER, question(client)).await {
            Ok(Ok(answer)) => return Ok(answer.into_inner()),
            Ok(Err(status)) if may_answer_elsewhere(&status) => {
                tracing::debug!(%status, "A scheduler could not answer for sessions.");
            }
            Ok(Err(status)) => return Err(ApiError::of_scheduler(&status)),
            Err(_) => tracing::debug!("A scheduler did not answer for sessions in time."),
        }
    }
    Err(ApiError::Unavailable("no scheduler can answer for sessions now; try again".to_owned()))
}

/// Whether another replica may do better: this one is away, or too old to know of sessions.
fn may_answer_elsewhere(status: &Status) -> bool {
    matches!(status.code(), Code::Unavailable | Code::DeadlineExceeded | Code::Cancelled | Code::Unimplemented)
        || std::error::Error::source(status).is_some()
}

async fn open_in_batches(leader: Leader, mut openings: mpsc::Receiver<Opening>) {
    let mut batch = Vec::new();
    while openings.recv_many(&mut batch, BATCH).await > 0 {
        let (sessions, waiting): (Vec<_>, Vec<_>) =
            batch.drain(..).map(|Opening(session, done)| (session, done)).unzip();
        let request = proto::OpenSessionsRequest { sessions };
        let opened = ask(&leader, |mut client| {
            let request = request.clone();
            async move { client.open_sessions(request).await }
        })
        .await
        .map(drop);
        for done in waiting {
            // Whose client has gone away does not wait any more.
            let _gone = done.send(opened.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refresh_tokens_are_long_and_never_the_same() {
        let (one, other) = (RefreshToken::random(), RefreshToken::random());
        assert_eq!(one.text.len(), 64);
        assert!(one.text.bytes().all(|byte| byte.is_ascii_hexdigit()));
        assert_ne!(one.text, other.text);
        assert_eq!(digest(&one.text), one.digest);
        assert_ne!(one.digest, other.digest);
    }
}
