//! The sessions that were revoked of late, so that their access tokens are refused before they expire.
//!
//! Access tokens are checked without asking anyone. So every replica asks the schedulers every other second what was
//! revoked, and refuses the access tokens of that; the replica that revokes knows at once. While no scheduler answers
//! the last answer stays, and a token that was revoked meanwhile lives until it expires, 300 s at the most: to refuse
//! everyone because the scheduler is away would be worse.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use job_model::Moment;
use uuid::Uuid;

use super::{
    Access,
    sessions::{Sessions, session_id},
    signing::ACCESS_SECONDS,
};
use crate::error::ApiError;

/// How often the schedulers are asked.
const EVERY: Duration = Duration::from_secs(2);
/// How far back of the newest revocation the next question goes: commits are seen out of order, and the clocks of two
/// schedulers differ.
const OVERLAP_US: i64 = 60_000_000;
/// Revocations of a full answer, after which there may be more.
const PAGE: usize = 10_000;
/// For how long a session is remembered: until its last access token has expired, and a minute for clocks that differ.
const MEMORY: Duration = Duration::from_secs(ACCESS_SECONDS.unsigned_abs() + 60);

/// Sessions whose access tokens are refused.
#[derive(Default)]
pub(super) struct Revoked(Mutex<HashMap<Uuid, Moment>>);

impl Revoked {
    /// Whether the session was revoked.
    pub(super) fn contains(&self, session: Uuid) -> bool {
        self.lock().contains_key(&session)
    }

    /// Remembers that it was.
    pub(super) fn insert(&self, session: Uuid, now: Moment) {
        self.lock().entry(session).or_insert(now);
    }

    /// Forgets those whose access tokens have expired by themselves.
    pub(super) fn forget_old(&self, now: Moment) {
        self.lock().retain(|_, since| now.since(*since) < MEMORY);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Uuid, Moment>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Access {
    /// Keeps the revoked sessions current, for as long as it is polled.
    pub(crate) async fn follow_revocations(&self, sessions: &Sessions) {
        let mut newest_us = 0;
        loop {
            if let Err(error) = self.learn_revocations(sessions, &mut newest_us).await {
                tracing::debug!(%error, "The revoked sessions could not be asked for.");
            }
            tokio::time::sleep(EVERY).await;
        }
    }

    async fn learn_revocations(&self, sessions: &Sessions, newest_us: &mut i64) -> Result<(), ApiError> {
        let mut after_us = newest_us.saturating_sub(OVERLAP_US);
        loop {
            let listed = sessions.revocations(after_us).await?;
            let now = service_kit::clock::boottime();
            for revocation in &listed {
                self.revoked.insert(session_id(&revocation.session_id)?, now);
                *newest_us = (*newest_us).max(revocation.revoked_at_us);
                after_us = after_us.max(revocation.revoked_at_us);
            }
            if listed.len() < PAGE {
                return Ok(());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_is_remembered_until_its_tokens_have_expired() {
        let revoked = Revoked::default();
        let (session, begin) = (Uuid::from_u128(1), Moment::from_nanos(0));
        revoked.insert(session, begin);
        // Listed again: its time still counts from the first.
        revoked.insert(session, begin + Duration::from_secs(100));
        revoked.forget_old(begin + Duration::from_secs(359));
        assert!(revoked.contains(session));
        assert!(!revoked.contains(Uuid::from_u128(2)));
        revoked.forget_old(begin + Duration::from_secs(360));
        assert!(!revoked.contains(session));
    }
}
