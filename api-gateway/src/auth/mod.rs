//! Who calls, and what the caller may do.
//!
//! Local users log in and get tokens signed with keys that all replicas share; tokens of configured outside issuers are
//! taken as they are. An access token says it all, so that any replica takes any replica's tokens, also after a restart,
//! and nobody is asked. What must be remembered of a session (its refresh token, that it was revoked) the schedulers
//! remember.

mod caller;
mod claims;
#[cfg(test)]
mod fuzz;
mod guesses;
pub(crate) mod issuers;
pub(crate) mod jwks;
mod keys;
mod keyset;
mod passwords;
pub(crate) mod revoke;
mod revoked;
pub(crate) mod self_user;
mod sessions;
mod signing;
pub(crate) mod tokens;
mod users;

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use job_model::Tenant;
use service_kit::settings::Invalid;
use uuid::Uuid;

pub(crate) use self::{caller::Caller, sessions::Sessions};
use self::{guesses::Guesses, issuers::Issuers, keys::Keys, passwords::Passwords, revoked::Revoked, users::Users};
use crate::{auth::caller::unauthorized, error::ApiError, limits::TokenRate, settings::AccessSettings};

/// The groups that may do everything.
const ADMIN_GROUPS: [&str; 2] = ["admin", "CCKM Admins"];

/// How often the files of users and keys are looked at, and idle limits are forgotten.
const UPKEEP: Duration = Duration::from_secs(5);

/// All that decides about access.
pub struct Access {
    users: Users,
    passwords: Passwords,
    guesses: Guesses,
    keys: Keys,
    refresh_lifetime: Duration,
    revoked: Revoked,
    issuers: Issuers,
    bulk_groups: BTreeSet<String>,
    rate: TokenRate,
}

impl Access {
    /// Reads keys and files.
    ///
    /// # Errors
    /// [`Invalid`] naming the setting that cannot be used.
    pub fn new(settings: &AccessSettings) -> Result<Self, Invalid> {
        let keys = Keys::open(settings.token_key.as_ref(), settings.token_key_file.as_deref())?;
        let users = Users::open(&settings.users_file).map_err(|error| Invalid::new("USERS_FILE", error))?;
        let issuers = match &settings.issuers_file {
            Some(path) => Issuers::open(path).map_err(|error| Invalid::new("ISSUERS_FILE", error))?,
            None => Issuers::none(),
        };
        Ok(Self {
            users,
            passwords: Passwords::default(),
            guesses: Guesses::default(),
            keys,
            refresh_lifetime: settings.refresh_lifetime.get(),
            revoked: Revoked::default(),
            issuers,
            bulk_groups: settings
                .bulk_groups
                .iter()
                .map(|group| group.trim().to_owned())
                .filter(|g| !g.is_empty())
                .collect(),
            rate: TokenRate::new(settings.token_rate, settings.token_burst),
        })
    }

    /// Who a bearer token speaks for.
    async fn caller(&self, token: &str) -> Result<Caller, ApiError> {
        let now = service_kit::clock::wall();
        let issuer = claims::issuer_of(token)?;
        let mut caller = if issuer == signing::ISSUER {
            self.keys.now().verify(token, now)?
        } else {
            self.issuers.verify(&issuer, token, now, service_kit::clock::boottime()).await?
        };
        if caller.session.is_some_and(|session| self.revoked.contains(session)) {
            return Err(unauthorized("the token's session was revoked"));
        }
        self.rate.admit(token)?;
        caller.bulk = caller.groups.iter().any(|group| self.bulk_groups.contains(group));
        Ok(caller)
    }

    /// The access tokens of this session are refused from now on.
    fn revoked(&self, session: Uuid) {
        self.revoked.insert(session, service_kit::clock::boottime());
    }

    /// Keeps users and keys current and the limits small, for as long as it is polled.
    pub async fn upkeep(self: Arc<Self>) {
        loop {
            tokio::time::sleep(UPKEEP).await;
            let access = Arc::clone(&self);
            let reloaded = tokio::task::spawn_blocking(move || (access.users.reload(), access.keys.reload())).await;
            if let Ok((users, keys)) = reloaded {
                if let Err(error) = users {
                    tracing::error!(%error, "The users file cannot be read any more; the users read before stay.");
                }
                if let Err(error) = keys {
                    tracing::error!(%error, "The token keys cannot be read any more; those read before stay.");
                }
            }
            self.rate.forget_idle();
            let now = service_kit::clock::boottime();
            self.guesses.forget_old(now);
            self.revoked.forget_old(now);
        }
    }
}

/// Reads a tenant's name in a configuration file.
fn tenant<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Tenant, D::Error> {
    let text: String = serde::Deserialize::deserialize(deserializer)?;
    text.parse().map_err(serde::de::Error::custom)
}
