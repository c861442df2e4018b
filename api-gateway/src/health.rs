//! `/healthz` and `/readyz` on the API's own port, for load balancers that see no other. Metrics are on the admin port
//! only.

use axum::{
    Json,
    extract::State,
    response::{IntoResponse, Response},
};
use http::{HeaderValue, header};
use serde_json::json;

use crate::{answers::Whole, app::App, error::ApiError};

/// The process answers.
#[utoipa::path(get, path = "/healthz", tag = "Health", security(()), responses((status = 200, description = "The process answers")))]
pub(crate) async fn healthz() -> Response {
    Json(json!({ "service": "api-gateway" })).into_response()
}

/// The gateway can do its work, or names what is missing.
#[utoipa::path(get, path = "/readyz", tag = "Health", security(()), responses(
    (status = 200, description = "All parts are there"),
    (status = 503, description = "A part is missing; the body names it")))]
pub(crate) async fn readyz(State(app): State<App>) -> Response {
    let mut missing = app.service.readiness.missing();
    if app.service.shutdown.requested().is_cancelled() {
        missing.insert("service".to_owned(), "stopping".to_owned());
    }
    let body = Json(json!({ "ready": missing.is_empty(), "missing": missing }));
    if missing.is_empty() {
        return body.into_response();
    }
    // The status of the refusal, with the names of what is missing in its body's place.
    let mut response = ApiError::Unavailable(String::new()).into_response();
    *response.body_mut() = body.into_response().into_body();
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response.extensions_mut().insert(Whole);
    response
}
