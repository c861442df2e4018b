//! `GET /api/v1/auth/jwks.json`: the public keys of the gateway's own tokens, for whoever wants to check one.

use axum::{
    Json,
    extract::State,
    response::{IntoResponse, Response},
};

use crate::app::App;

/// The public keys that verify Keyfleet's tokens.
#[utoipa::path(get, path = "/api/v1/auth/jwks.json", operation_id = "public_keys", tag = "Tokens", security(()), responses(
    (status = 200, description = "A JSON Web Key Set (RFC 7517)", content_type = "application/json")))]
pub(crate) async fn keys(State(app): State<App>) -> Response {
    Json(app.access.public_keys()).into_response()
}
