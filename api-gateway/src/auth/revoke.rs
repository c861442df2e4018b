//! `POST /api/v1/auth/revoke` and `DELETE /api/v1/auth/tokens/{id}`: end a session before its time.
//!
//! Whoever holds a refresh token may end its session; by its id the user may, and an admin of the tenant. Either way
//! the refresh token is gone, and access tokens of the session are refused: here at once, by other replicas within
//! seconds.

use axum::{
    extract::{Path, State},
    response::Response,
};
use keyfleet_proto::auth::v1::{SessionOf, revoke_session_request::Which};
use serde::Deserialize;
use uuid::Uuid;

use super::{caller::Caller, sessions::digest};
use crate::{
    app::App,
    content::JsonBody,
    error::{ApiError, Success},
};

/// What a client sends.
#[derive(Deserialize, utoipa::ToSchema)]
pub(crate) struct RevokeRequest {
    #[schema(value_type = String)]
    refresh_token: Option<String>,
}

/// Revoke a refresh token, and with it its session.
///
/// One that is not known, any more or at all, is as good as revoked.
#[utoipa::path(post, path = "/api/v1/auth/revoke", operation_id = "revoke_token", tag = "Tokens", security(()), request_body = RevokeRequest,
    responses((status = 204, description = "It cannot be used any more")))]
pub(crate) async fn revoke(
    State(app): State<App>,
    JsonBody(request): JsonBody<RevokeRequest>,
) -> Result<Response, ApiError> {
    let token = request
        .refresh_token
        .filter(|token| !token.is_empty())
        .ok_or_else(|| ApiError::BadRequest("refresh_token: is missing".to_owned()))?;
    if let Some(session) = app.sessions.revoke(Which::TokenDigest(digest(&token).to_vec().into())).await? {
        app.access.revoked(session);
    }
    Ok(Success::NoContent.of(()))
}

/// Log out: revoke a session by its id, the `refresh_token_id` of its login.
///
/// The caller's own, or, by an admin, anyone's of the tenant.
#[utoipa::path(delete, path = "/api/v1/auth/tokens/{id}", operation_id = "log_out", tag = "Tokens",
    params(("id" = String, Path, description = "The session's id")),
    responses((status = 204, description = "The session has ended")))]
pub(crate) async fn delete(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Response, ApiError> {
    let nobodys = || ApiError::NotFound("there is no such session".to_owned());
    let id: Uuid = id.parse().map_err(|_| nobodys())?;
    let session = SessionOf {
        id: id.as_bytes().to_vec().into(),
        tenant: caller.tenant.to_string(),
        own: caller.session == Some(id),
        subject: if caller.is_admin() { String::new() } else { caller.subject },
    };
    let revoked = app.sessions.revoke(Which::Session(session)).await?.ok_or_else(nobodys)?;
    app.access.revoked(revoked);
    Ok(Success::NoContent.of(()))
}
