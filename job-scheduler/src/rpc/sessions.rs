//! The service `Sessions`: what gateways remember of logins. Every replica answers, leading or not.

use job_model::Tenant;
use keyfleet_proto::auth::v1::{self as wire, revoke_session_request::Which, sessions_server::Sessions};
use service_kit::clock::wall;
use time::{Duration, OffsetDateTime};
use tonic::{Request, Response, Status};
use uuid::Uuid;

use super::{Service, convert::micros, refused, tenant};
use crate::store::sessions::{Revoke, Session};

/// Sessions opened at once, at the most.
const MOST: usize = 1_000;
/// Revocations of one answer.
const PAGE: u32 = 10_000;
/// How far back revocations are told: access tokens live five minutes, and clocks differ a little.
const REVOCATIONS_OF: Duration = Duration::minutes(15);
/// The longest name of a user or the mark of a password, in bytes.
const LONGEST: usize = 256;

#[tonic::async_trait]
impl Sessions for Service {
    async fn open_sessions(
        &self,
        request: Request<wire::OpenSessionsRequest>,
    ) -> Result<Response<wire::OpenSessionsResponse>, Status> {
        let sessions = request.into_inner().sessions;
        if sessions.len() > MOST {
            return Err(Status::invalid_argument(format!("sessions: there are more than {MOST}")));
        }
        let sessions = sessions.into_iter().map(session).collect::<Result<Vec<_>, _>>()?;
        self.context.store.sessions_insert(&sessions).await.map_err(refused)?;
        metrics::counter!("keyfleet_sessions_opened_total").increment(sessions.len() as u64);
        Ok(Response::new(wire::OpenSessionsResponse {}))
    }

    async fn find_session(
        &self,
        request: Request<wire::FindSessionRequest>,
    ) -> Result<Response<wire::Session>, Status> {
        let digest = digest(&request.into_inner().token_digest)?;
        let found = self.context.store.session_find(&digest, wall()).await.map_err(refused)?;
        let found = found.ok_or_else(no_such_session)?;
        Ok(Response::new(wire::Session {
            id: found.id.as_bytes().to_vec().into(),
            token_digest: found.token_digest.into(),
            tenant: found.tenant.to_string(),
            subject: found.subject,
            password_mark: found.password_mark.into(),
            created_at_us: micros(found.created_at),
            expires_at_us: micros(found.expires_at),
        }))
    }

    async fn revoke_session(
        &self,
        request: Request<wire::RevokeSessionRequest>,
    ) -> Result<Response<wire::RevokeSessionResponse>, Status> {
        let which = match request.into_inner().which {
            None => return Err(Status::invalid_argument("which: is missing")),
            Some(Which::TokenDigest(bytes)) => Revoke::Token(digest(&bytes)?),
            Some(Which::Session(of)) if of.own => Revoke::Own(id(&of.id)?),
            Some(Which::Session(of)) => {
                let subject = (!of.subject.is_empty()).then_some(of.subject);
                Revoke::Of(id(&of.id)?, tenant(&of.tenant)?, subject)
            }
        };
        let revoked = self.context.store.session_revoke(&which, wall()).await.map_err(refused)?;
        let revoked = revoked.ok_or_else(no_such_session)?;
        metrics::counter!("keyfleet_sessions_revoked_total").increment(1);
        Ok(Response::new(wire::RevokeSessionResponse { id: revoked.as_bytes().to_vec().into() }))
    }

    async fn list_revocations(
        &self,
        request: Request<wire::ListRevocationsRequest>,
    ) -> Result<Response<wire::ListRevocationsResponse>, Status> {
        let asked = at("after_us", request.into_inner().after_us)?;
        let after = asked.max(wall() - REVOCATIONS_OF);
        let found = self.context.store.revocations_after(after, PAGE).await.map_err(refused)?;
        let revocations = found
            .into_iter()
            .map(|(id, at)| wire::Revocation { session_id: id.as_bytes().to_vec().into(), revoked_at_us: micros(at) })
            .collect();
        Ok(Response::new(wire::ListRevocationsResponse { revocations }))
    }
}

fn no_such_session() -> Status {
    Status::not_found("no such session")
}

fn session(session: wire::Session) -> Result<Session, Status> {
    let tenant: Tenant = tenant(&session.tenant)?;
    if session.subject.is_empty() || session.subject.len() > LONGEST || session.subject.contains('\0') {
        return Err(Status::invalid_argument("subject: is empty, too long or no text"));
    }
    if session.password_mark.len() > LONGEST {
        return Err(Status::invalid_argument("password_mark: is too long"));
    }
    Ok(Session {
        id: id(&session.id)?,
        token_digest: digest(&session.token_digest)?,
        tenant,
        subject: session.subject,
        password_mark: session.password_mark.to_vec(),
        created_at: at("created_at_us", session.created_at_us)?,
        expires_at: at("expires_at_us", session.expires_at_us)?,
    })
}

fn id(bytes: &[u8]) -> Result<Uuid, Status> {
    Uuid::from_slice(bytes).map_err(|_| Status::invalid_argument("id: is not 16 bytes"))
}

fn digest(bytes: &[u8]) -> Result<Vec<u8>, Status> {
    if bytes.len() == 32 { Ok(bytes.to_vec()) } else { Err(Status::invalid_argument("token_digest: is not 32 bytes")) }
}

fn at(field: &str, micros: i64) -> Result<OffsetDateTime, Status> {
    OffsetDateTime::from_unix_timestamp_nanos(i128::from(micros) * 1_000)
        .map_err(|_| Status::invalid_argument(format!("{field}: is no time")))
}
