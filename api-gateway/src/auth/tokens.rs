//! `POST /api/v1/auth/tokens`: a password or a refresh token for an access token.
//!
//! Clients differ in what they send, so unknown fields are ignored, `name` is an older word for `username`, and an
//! `Authorization` header, however broken, is not looked at. Every refusal of a login is the same, so that nobody
//! learns from it which part was wrong.
//!
//! A login needs no scheduler: while none can keep its refresh token it is answered without one, because who logs in
//! wants to call, and the access token is good for that. Going on with a refresh token does need one.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::Arc,
};

use axum::{
    Json,
    extract::{ConnectInfo, FromRequestParts, State},
    response::{IntoResponse, Response},
};
use http::request::Parts;
use keyfleet_proto::auth::v1 as proto;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use uuid::Uuid;

use super::{
    Access,
    caller::unauthorized,
    passwords::Crowded,
    sessions::{RefreshToken, Sessions, digest, session_id},
    signing::{ACCESS_SECONDS, LOCAL, password_mark},
    users::User,
};
use crate::{app::App, audit::Who, content::JsonBody, error::ApiError};

/// What a client sends.
#[derive(Deserialize, utoipa::ToSchema)]
pub(crate) struct TokenRequest {
    /// `password` or `refresh_token`; may be absent
    grant_type: Option<String>,
    /// The local user's name
    username: Option<String>,
    /// An older word for `username`
    name: Option<String>,
    password: Option<String>,
    refresh_token: Option<String>,
    /// When given, it must be the domain of the user's tenant
    domain: Option<String>,
    /// The same as `domain`
    auth_domain: Option<String>,
}

/// What it gets.
#[derive(Serialize, utoipa::ToSchema)]
pub(crate) struct TokenAnswer {
    /// The access token: `Authorization: Bearer <jwt>`
    jwt: String,
    /// How long it lasts, in seconds
    #[schema(example = 300)]
    duration: i64,
    #[schema(example = "Bearer")]
    token_type: &'static str,
    client_id: &'static str,
    #[serde(flatten)]
    refresh: Option<RefreshAnswer>,
}

/// The part of it that is absent while no scheduler can keep a refresh token.
#[derive(Serialize, utoipa::ToSchema)]
struct RefreshAnswer {
    /// Also the id of the session
    refresh_token_id: String,
    /// Stays the same when it is used
    refresh_token: String,
    /// How long the refresh token still lasts, in seconds
    refresh_token_expires_in: i64,
}

/// Log in, or go on with a refresh token.
#[utoipa::path(post, path = "/api/v1/auth/tokens", operation_id = "log_in", tag = "Tokens", security(()), request_body = TokenRequest,
    responses((status = 200, description = "The tokens", body = TokenAnswer)))]
pub(crate) async fn create(
    State(app): State<App>,
    ClientAddress(address): ClientAddress,
    who: Who,
    JsonBody(request): JsonBody<TokenRequest>,
) -> Result<Response, ApiError> {
    let now = service_kit::clock::wall();
    let answer = match request.grant()? {
        Grant::Password { username, password } => {
            let domains = [request.domain.as_deref(), request.auth_domain.as_deref()];
            let user = app.access.log_in(&username, &password, domains, address).await;
            let user = user.inspect_err(|_| who.claims(&username))?;
            who.is_user(&user.tenant, subject(&user), &user.username);
            app.access.begin(&app.sessions, &user, now).await?
        }
        Grant::Refresh(token) => app.access.go_on(&app.sessions, token, &who, now).await?,
    };
    Ok(Json(answer).into_response())
}

enum Grant {
    Password { username: String, password: String },
    Refresh(String),
}

impl TokenRequest {
    fn grant(&self) -> Result<Grant, ApiError> {
        let given = |value: &Option<String>| value.clone().filter(|text| !text.is_empty());
        let missing = |field: &str| ApiError::BadRequest(format!("{field}: is missing"));
        let refresh = match self.grant_type.as_deref() {
            Some("password") => false,
            Some("refresh_token") => true,
            None | Some("") => given(&self.password).is_none() && given(&self.refresh_token).is_some(),
            Some(other) => {
                return Err(ApiError::BadRequest(format!(
                    "grant_type: must be password or refresh_token, not {other:?}"
                )));
            }
        };
        if refresh {
            return given(&self.refresh_token).map(Grant::Refresh).ok_or_else(|| missing("refresh_token"));
        }
        let username = given(&self.username).or_else(|| given(&self.name)).ok_or_else(|| missing("username"))?;
        let password = given(&self.password).ok_or_else(|| missing("password"))?;
        Ok(Grant::Password { username, password })
    }
}

impl Access {
    /// The user, if the password is right.
    async fn log_in(
        &self,
        username: &str,
        password: &str,
        domains: [Option<&str>; 2],
        address: IpAddr,
    ) -> Result<Arc<User>, ApiError> {
        let blocked = || {
            let wait = self.guesses.blocked(username, address, service_kit::clock::boottime())?;
            Some(ApiError::TooFast { message: "too many failed logins; wait".to_owned(), retry_after: wait })
        };
        if let Some(refusal) = blocked() {
            return Err(refusal);
        }
        let users = self.users.now();
        let user = users.named(username);
        let right = self
            .passwords
            .check(user.as_deref(), users.decoy(), password, || blocked().is_none())
            .await
            .map_err(|Crowded| ApiError::Unavailable("too many logins at once; try again".to_owned()))?;
        match user.filter(|user| right && domains.into_iter().flatten().all(|domain| names(domain, user))) {
            Some(user) => {
                self.guesses.succeeded(username, address);
                Ok(user)
            }
            None => {
                if let Some(refusal) = blocked() {
                    return Err(refusal);
                }
                self.guesses.failed(username, address, service_kit::clock::boottime());
                metrics::counter!("keyfleet_failed_logins_total").increment(1);
                Err(unauthorized("the username, the password or the domain is wrong"))
            }
        }
    }

    /// Begins a session of the user.
    async fn begin(&self, sessions: &Sessions, user: &User, now: OffsetDateTime) -> Result<TokenAnswer, ApiError> {
        let id = Uuid::new_v4();
        let token = RefreshToken::random();
        let expires_at = now + self.refresh_lifetime;
        let kept = sessions
            .open(proto::Session {
                id: id.as_bytes().to_vec().into(),
                token_digest: token.digest.to_vec().into(),
                tenant: user.tenant.to_string(),
                subject: subject(user),
                password_mark: password_mark(user).into(),
                created_at_us: micros(now),
                expires_at_us: micros(expires_at),
            })
            .await;
        let refresh = match kept {
            Ok(()) => Some(RefreshAnswer::of(id, token.text, expires_at, now)),
            Err(error) => {
                tracing::warn!(%error, "A login is answered without a refresh token.");
                metrics::counter!("keyfleet_logins_unkept_total").increment(1);
                None
            }
        };
        self.answer(user, id, refresh, now)
    }

    /// A new access token in the session of a refresh token.
    async fn go_on(
        &self,
        sessions: &Sessions,
        token: String,
        who: &Who,
        now: OffsetDateTime,
    ) -> Result<TokenAnswer, ApiError> {
        let refused = || unauthorized("the refresh token is not valid");
        let session = sessions.find(digest(&token)).await?.ok_or_else(refused)?;
        let expires_at = OffsetDateTime::from_unix_timestamp_nanos(i128::from(session.expires_at_us) * 1_000)
            .map_err(|_| refused())?;
        let user = session
            .subject
            .strip_prefix(LOCAL)
            .and_then(|id| self.users.now().with_id(id.parse().ok()?))
            .filter(|user| session.password_mark == password_mark(user) && session.tenant == user.tenant.as_str())
            .ok_or_else(refused)?;
        who.is_user(&user.tenant, session.subject, &user.username);
        let id = session_id(&session.id)?;
        self.answer(&user, id, Some(RefreshAnswer::of(id, token, expires_at, now)), now)
    }

    fn answer(
        &self,
        user: &User,
        session: Uuid,
        refresh: Option<RefreshAnswer>,
        now: OffsetDateTime,
    ) -> Result<TokenAnswer, ApiError> {
        Ok(TokenAnswer {
            jwt: self.keys.now().access(user, session, now)?,
            duration: ACCESS_SECONDS,
            token_type: "Bearer",
            client_id: "keyfleet",
            refresh,
        })
    }

    /// The public keys of the gateway's own tokens.
    pub(super) fn public_keys(&self) -> jsonwebtoken::jwk::JwkSet {
        self.keys.now().public_keys().clone()
    }
}

impl RefreshAnswer {
    fn of(id: Uuid, token: String, expires_at: OffsetDateTime, now: OffsetDateTime) -> Self {
        Self {
            refresh_token_id: id.to_string(),
            refresh_token: token,
            refresh_token_expires_in: (expires_at - now).whole_seconds(),
        }
    }
}

fn micros(at: OffsetDateTime) -> i64 {
    i64::try_from(at.unix_timestamp_nanos() / 1_000).unwrap_or(i64::MAX)
}

/// The user as tokens name it.
fn subject(user: &User) -> String {
    format!("{LOCAL}{}", user.id)
}

/// Whether `domain`, if anything, is a name of the user's tenant.
fn names(domain: &str, user: &User) -> bool {
    domain.is_empty() || domain == user.tenant.domain() || domain == user.tenant.as_str()
}

/// Where the client's connection comes from.
pub(crate) struct ClientAddress(IpAddr);

impl<S: Sync> FromRequestParts<S> for ClientAddress {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Self::Rejection> {
        let connection = parts.extensions.get::<ConnectInfo<SocketAddr>>();
        Ok(Self(connection.map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |ConnectInfo(address)| address.ip())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grant(body: &str) -> Result<Grant, ApiError> {
        serde_json::from_str::<TokenRequest>(body).unwrap().grant()
    }

    #[test]
    fn the_grant_follows_from_what_is_sent() {
        for body in [
            r#"{"grant_type":"password","username":"a","password":"p"}"#,
            r#"{"username":"a","password":"p"}"#,
            r#"{"name":"a","password":"p","connection":"local_account","elsewhere":[1]}"#,
            r#"{"username":null,"name":"a","password":"p","refresh_token":"","domain":null}"#,
        ] {
            let Ok(Grant::Password { username, password }) = grant(body) else { panic!("{body}") };
            assert_eq!((username.as_str(), password.as_str()), ("a", "p"));
        }
        for body in [r#"{"grant_type":"refresh_token","refresh_token":"r"}"#, r#"{"refresh_token":"r"}"#] {
            assert!(matches!(grant(body), Ok(Grant::Refresh(token)) if token == "r"), "{body}");
        }
    }

    #[test]
    fn what_is_missing_is_named() {
        for (body, field) in [
            ("{}", "username"),
            (r#"{"username":"a"}"#, "password"),
            (r#"{"username":"","password":"p"}"#, "username"),
            (r#"{"grant_type":"refresh_token"}"#, "refresh_token"),
            (r#"{"grant_type":"client_credential"}"#, "grant_type"),
        ] {
            let Err(ApiError::BadRequest(message)) = grant(body) else { panic!("{body}") };
            assert!(message.starts_with(&format!("{field}: ")), "{message}");
        }
    }
}
