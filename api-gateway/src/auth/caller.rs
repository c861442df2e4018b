//! The caller of a request, as its token tells.

use axum::extract::FromRequestParts;
use http::{header, request::Parts};
use job_model::Tenant;
use uuid::Uuid;

use super::ADMIN_GROUPS;
use crate::{app::App, error::ApiError};

/// Who calls.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Caller {
    /// Unique over all issuers, e.g. `local|<uuid>`.
    pub(crate) subject: String,
    /// The name to show.
    pub(crate) username: String,
    pub(crate) tenant: Tenant,
    pub(crate) groups: Vec<String>,
    /// Of a local user: the login that the token comes from.
    pub(crate) session: Option<Uuid>,
}

impl Caller {
    /// Whether the caller may do everything in the tenant.
    pub(crate) fn is_admin(&self) -> bool {
        self.groups.iter().any(|group| ADMIN_GROUPS.contains(&group.as_str()))
    }
}

/// A caller who may run bulk jobs; everyone else is refused.
pub(crate) struct BulkCaller(pub(crate) Caller);

impl FromRequestParts<App> for Caller {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, ApiError> {
        let value = parts
            .headers
            .get(header::AUTHORIZATION)
            .ok_or_else(|| unauthorized("a token is needed: Authorization: Bearer <jwt>"))?;
        let token = value
            .to_str()
            .ok()
            .and_then(|text| text.split_once(' '))
            .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
            .map(|(_, token)| token.trim())
            .filter(|token| !token.is_empty())
            .ok_or_else(|| unauthorized("the Authorization header is not of the form Bearer <jwt>"))?;
        app.access.caller(token).await
    }
}

impl FromRequestParts<App> for BulkCaller {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, ApiError> {
        let caller = Caller::from_request_parts(parts, app).await?;
        if app.access.may_bulk(&caller) {
            Ok(Self(caller))
        } else {
            Err(ApiError::Forbidden("the permission keybulkoperation is missing".to_owned()))
        }
    }
}

/// A refusal of what was presented.
pub(super) fn unauthorized(why: &str) -> ApiError {
    ApiError::Unauthorized(why.to_owned())
}
