//! The scheduler's part about sessions: remembers them like the real one, in memory.

use std::sync::{Mutex, atomic::Ordering};

use keyfleet_proto::auth::v1::{self as proto, revoke_session_request::Which, sessions_server::Sessions};
use tonic::{Request, Response, Status};

use crate::stand_in::StandIn;

/// What it remembers.
#[derive(Default)]
pub(crate) struct Memory {
    pub(crate) open: Mutex<Vec<proto::Session>>,
    pub(crate) revoked: Mutex<Vec<proto::Revocation>>,
}

impl StandIn {
    fn refuse_sessions(&self) -> Result<(), Status> {
        if self.no_sessions.load(Ordering::Relaxed) { Err(Status::unavailable("no database")) } else { Ok(()) }
    }
}

#[tonic::async_trait]
impl Sessions for StandIn {
    async fn open_sessions(
        &self,
        request: Request<proto::OpenSessionsRequest>,
    ) -> Result<Response<proto::OpenSessionsResponse>, Status> {
        self.refuse_sessions()?;
        self.sessions.open.lock().unwrap().extend(request.into_inner().sessions);
        Ok(Response::new(proto::OpenSessionsResponse {}))
    }

    async fn find_session(
        &self,
        request: Request<proto::FindSessionRequest>,
    ) -> Result<Response<proto::Session>, Status> {
        self.refuse_sessions()?;
        let digest = request.into_inner().token_digest;
        let open = self.sessions.open.lock().unwrap();
        let found = open.iter().find(|session| session.token_digest == digest).cloned();
        found.map(Response::new).ok_or_else(|| Status::not_found("no such session"))
    }

    async fn revoke_session(
        &self,
        request: Request<proto::RevokeSessionRequest>,
    ) -> Result<Response<proto::RevokeSessionResponse>, Status> {
        self.refuse_sessions()?;
        let which = request.into_inner().which.unwrap();
        let mut open = self.sessions.open.lock().unwrap();
        let found = open.iter().position(|session| match &which {
            Which::TokenDigest(digest) => session.token_digest == *digest,
            Which::Session(of) => {
                session.id == of.id
                    && session.tenant == of.tenant
                    && (of.subject.is_empty() || session.subject == of.subject)
            }
        });
        let id = match (found, which) {
            (Some(index), _) => open.remove(index).id,
            (None, Which::Session(of)) if of.own => of.id,
            (None, _) => return Err(Status::not_found("no such session")),
        };
        let mut revoked = self.sessions.revoked.lock().unwrap();
        let revoked_at_us = i64::try_from(revoked.len()).unwrap() + 1;
        revoked.push(proto::Revocation { session_id: id.clone(), revoked_at_us });
        Ok(Response::new(proto::RevokeSessionResponse { id }))
    }

    async fn list_revocations(
        &self,
        request: Request<proto::ListRevocationsRequest>,
    ) -> Result<Response<proto::ListRevocationsResponse>, Status> {
        self.refuse_sessions()?;
        let after = request.into_inner().after_us;
        let revoked = self.sessions.revoked.lock().unwrap();
        let revocations = revoked.iter().filter(|one| one.revoked_at_us > after).cloned().collect();
        Ok(Response::new(proto::ListRevocationsResponse { revocations }))
    }
}
