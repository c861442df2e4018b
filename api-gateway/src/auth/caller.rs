//! The caller of a request, as its token tells, and what the scheduler is told of it.
//!
//! Whether a caller may do something depends on the container, which the scheduler knows. So nothing is decided here:
//! every question to the scheduler carries the caller's [`Rights`], and what it refuses is answered 403 in its words.

use axum::extract::FromRequestParts;
use http::{header, request::Parts};
use job_model::Tenant;
use keyfleet_proto::estate::v1::Rights;
use uuid::Uuid;

use super::ADMIN_GROUPS;
use crate::{app::App, audit::Who, error::ApiError};

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
    /// Of a group that `BULK_GROUPS` names. A token does not know; [`super::Access`] does.
    pub(crate) bulk: bool,
}

impl Caller {
    /// Whether the caller may do everything in the tenant.
    pub(crate) fn is_admin(&self) -> bool {
        self.groups.iter().any(|group| ADMIN_GROUPS.contains(&group.as_str()))
    }

    /// What the scheduler judges by. Every request to it that names a tenant carries this.
    pub(crate) fn rights(&self) -> Rights {
        Rights { everything: self.is_admin(), user: self.subject.clone(), groups: self.groups.clone(), bulk: self.bulk }
    }
}

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
        let caller = app.access.caller(token).await?;
        if let Some(who) = parts.extensions.get::<Who>() {
            who.is(&caller);
        }
        Ok(caller)
    }
}

/// A refusal of what was presented.
pub(super) fn unauthorized(why: &str) -> ApiError {
    ApiError::Unauthorized(why.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_scheduler_is_told_who_calls_and_who_may_do_everything() {
        let caller = |groups: &[&str], bulk| Caller {
            subject: "local|u".to_owned(),
            username: "u".to_owned(),
            tenant: "kylo:kylo".parse().unwrap(),
            groups: groups.iter().map(|&group| group.to_owned()).collect(),
            session: None,
            bulk,
        };
        for (groups, everything) in [
            (&[][..], false),
            (&["operators", "Admin", "cckm admins"][..], false),
            (&["operators", "admin"][..], true),
            (&["CCKM Admins"][..], true),
        ] {
            for bulk in [false, true] {
                let groups_told = groups.iter().map(|&group| group.to_owned()).collect();
                let told = Rights { everything, user: "local|u".to_owned(), groups: groups_told, bulk };
                assert_eq!(caller(groups, bulk).rights(), told);
            }
        }
    }
}
