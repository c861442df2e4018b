//! `GET /api/v1/auth/self/user`: who the token speaks for.

use axum::{
    Json,
    response::{IntoResponse, Response},
};
use serde::Serialize;

use super::caller::Caller;

/// The caller as its token tells
#[derive(Serialize, utoipa::ToSchema)]
pub(crate) struct SelfUser {
    /// Unique over all issuers
    #[schema(example = "local|5b0d1a52-0c6f-4b39-9e0c-6a8e6c2e8a11")]
    user_id: String,
    #[schema(example = "admin")]
    username: String,
    /// The same as `username`
    name: String,
    /// The same as `username`
    nickname: String,
    groups: Vec<String>,
    #[schema(example = "kylo:kylo:admin:accounts:kylo")]
    account: String,
    current_domain: CurrentDomain,
}

/// The domain the token is for
#[derive(Serialize, utoipa::ToSchema)]
pub(crate) struct CurrentDomain {
    #[schema(example = "kylo")]
    id: String,
    #[schema(example = "kylo")]
    name: String,
}

/// Who the token speaks for.
#[utoipa::path(get, path = "/api/v1/auth/self/user", operation_id = "self_user", tag = "Tokens",
    responses((status = 200, description = "The caller", body = SelfUser)))]
pub(crate) async fn self_user(caller: Caller) -> Response {
    let domain = caller.tenant.domain().to_owned();
    Json(SelfUser {
        account: format!("{}:admin:accounts:{}", caller.tenant, caller.tenant.account()),
        current_domain: CurrentDomain { id: domain.clone(), name: domain },
        user_id: caller.subject,
        name: caller.username.clone(),
        nickname: caller.username.clone(),
        username: caller.username,
        groups: caller.groups,
    })
    .into_response()
}
