//! Tokens of the company's own identity providers.
//!
//! The configuration says everything that matters: whose keys, which algorithms, which audience, which tenant, where
//! the groups stand, and whether `admin` and `CCKM Admins` from there count. A token only names its issuer.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use job_model::{Moment, Tenant};
use jsonwebtoken::{Algorithm, AlgorithmFamily, DecodingKey};
use serde::Deserialize;
use serde_json::Value;
use service_kit::settings::{Secret, Span};
use time::OffsetDateTime;

use super::{
    ADMIN_GROUPS,
    caller::{Caller, unauthorized},
    claims::{self, Expected},
    keyset::KeySet,
    signing,
};
use crate::error::ApiError;

/// How far an issuer's clock may be off unless its entry says otherwise.
const LEEWAY: Duration = Duration::from_secs(30);
/// The most an entry may say: more would keep expired tokens alive.
const MOST_LEEWAY: Duration = Duration::from_secs(300);
/// The least bytes of a shared secret (RFC 7518, 3.2).
const LEAST_SECRET: usize = 32;

/// All of them.
pub(crate) struct Issuers(Vec<Issuer>);

/// One entry of the file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    issuer: String,
    audience: String,
    jwks_url: Option<String>,
    hs256_secret: Option<String>,
    hs256_secret_file: Option<PathBuf>,
    #[serde(default)]
    algorithms: Vec<Algorithm>,
    #[serde(deserialize_with = "super::tenant")]
    tenant: Tenant,
    #[serde(default = "groups")]
    groups_claim: String,
    #[serde(default)]
    admins: bool,
    /// How far its clock may be off, like `30s`.
    #[serde(default, deserialize_with = "leeway")]
    leeway: Option<Duration>,
}

fn leeway<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
    let text: String = Deserialize::deserialize(deserializer)?;
    let span: Span = text.parse().map_err(serde::de::Error::custom)?;
    Ok(Some(span.get()))
}

fn groups() -> String {
    "groups".to_owned()
}

struct Issuer {
    name: String,
    audience: String,
    algorithms: Vec<Algorithm>,
    keys: KeySource,
    tenant: Tenant,
    groups_claim: String,
    admins: bool,
    leeway: i64,
}

enum KeySource {
    Shared(DecodingKey),
    Published(Arc<KeySet>),
}

/// Why the file cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BadIssuers {
    /// It or a file it names cannot be read.
    #[error("{0}: {1}")]
    Unreadable(PathBuf, io::Error),
    /// It is not of the form.
    #[error("it must be a JSON list of issuers: {0}")]
    Malformed(serde_json::Error),
    /// An entry makes no sense.
    #[error("the issuer {0:?}: {1}")]
    Entry(String, String),
}

impl Issuers {
    /// No outside tokens.
    pub(super) const fn none() -> Self {
        Self(Vec::new())
    }

    /// Reads the file. Blocks.
    pub(super) fn open(path: &Path) -> Result<Self, BadIssuers> {
        let text = fs::read(path).map_err(|error| BadIssuers::Unreadable(path.to_owned(), error))?;
        let entries: Vec<Entry> = serde_json::from_slice(&text).map_err(BadIssuers::Malformed)?;
        entries.into_iter().map(Issuer::of).collect::<Result<_, _>>().map(Self)
    }

    /// Who a token of an outside issuer speaks for. The same issuer may stand in the file more than once, with another
    /// audience and tenant each. `now` judges the token, `moment` paces the fetching of keys.
    pub(super) async fn verify(
        &self,
        name: &str,
        token: &str,
        now: OffsetDateTime,
        moment: Moment,
    ) -> Result<Caller, ApiError> {
        let mut refusal = unauthorized("the token's issuer is unknown");
        for issuer in self.0.iter().filter(|issuer| issuer.name == name) {
            match issuer.verify(token, now, moment).await {
                Ok(caller) => return Ok(caller),
                Err(error) => refusal = error,
            }
        }
        Err(refusal)
    }
}

impl Issuer {
    fn of(entry: Entry) -> Result<Self, BadIssuers> {
        let name = entry.issuer.clone();
        let wrong = |why: &str| BadIssuers::Entry(name.clone(), why.to_owned());
        if name == signing::ISSUER {
            return Err(wrong("the name is taken by the gateway's own tokens"));
        }
        // ACLs name users by `issuer|subject`, local ones by `local|<id>`, both with or without `user::` before it. No
        // issuer's user may read like another's.
        if name.is_empty() || name == "local" || name.starts_with("user::") || name.contains('|') {
            return Err(wrong("the name must not be empty or local, begin with user:: or contain a |"));
        }
        if entry.audience.is_empty() {
            return Err(wrong("the audience is empty"));
        }
        let leeway = entry.leeway.unwrap_or(LEEWAY);
        if leeway > MOST_LEEWAY {
            return Err(wrong("the leeway is longer than 300s"));
        }
        let secret = match (entry.hs256_secret, entry.hs256_secret_file) {
            (Some(secret), None) => Some(Secret::new(secret)),
            (None, Some(path)) => {
                let text = fs::read_to_string(&path).map_err(|error| BadIssuers::Unreadable(path, error))?;
                Some(Secret::new(text.trim().to_owned()))
            }
            (None, None) => None,
            (Some(_), Some(_)) => return Err(wrong("it has both hs256_secret and hs256_secret_file")),
        };
        let (keys, default, families): (_, _, &[AlgorithmFamily]) = match (secret, entry.jwks_url) {
            (Some(secret), None) if secret.expose().len() >= LEAST_SECRET => {
                let key = DecodingKey::from_secret(secret.expose().as_bytes());
                (KeySource::Shared(key), Algorithm::HS256, &[AlgorithmFamily::Hmac])
            }
            (Some(_), None) => return Err(wrong("the shared secret has less than 32 bytes")),
            (None, Some(url)) => {
                let set = KeySet::at(url).map_err(|error| wrong(&error.to_string()))?;
                let families = &[AlgorithmFamily::Rsa, AlgorithmFamily::Ec, AlgorithmFamily::Ed];
                (KeySource::Published(set), Algorithm::RS256, families)
            }
            (None, None) => return Err(wrong("it needs jwks_url, hs256_secret or hs256_secret_file")),
            (Some(_), Some(_)) => return Err(wrong("it has both a shared secret and jwks_url")),
        };
        let algorithms = if entry.algorithms.is_empty() { vec![default] } else { entry.algorithms };
        // A public key must never be taken for a shared secret, nor the other way.
        let fits = |algorithm: &Algorithm| families.iter().any(|family| family.algorithms().contains(algorithm));
        if !algorithms.iter().all(fits) {
            return Err(wrong("an algorithm does not fit the kind of its keys"));
        }
        Ok(Self {
            name,
            audience: entry.audience,
            algorithms,
            keys,
            tenant: entry.tenant,
            groups_claim: entry.groups_claim,
            admins: entry.admins,
            leeway: i64::try_from(leeway.as_secs()).unwrap_or(0),
        })
    }

    async fn verify(&self, token: &str, now: OffsetDateTime, moment: Moment) -> Result<Caller, ApiError> {
        let expected = Expected {
            issuer: &self.name,
            audience: &self.audience,
            algorithms: &self.algorithms,
            leeway: self.leeway,
        };
        let claims: Value = match &self.keys {
            KeySource::Shared(key) => claims::verify(token, key, expected, now)?,
            KeySource::Published(set) => {
                let header =
                    jsonwebtoken::decode_header(token).map_err(|_| unauthorized("the token cannot be read"))?;
                // Before the issuer is bothered for a key that could not be used.
                if !self.algorithms.contains(&header.alg) {
                    return Err(unauthorized("the token is not valid"));
                }
                let key = set.key(header.kid.as_deref(), moment).await?;
                claims::verify(token, &key, expected, now)?
            }
        };
        let subject = claims
            .get("sub")
            .and_then(Value::as_str)
            // It is kept beside what the caller makes, and Postgres takes no NUL.
            .filter(|subject| !subject.is_empty() && !subject.contains('\0'))
            .ok_or_else(|| unauthorized("the token has no subject"))?;
        let username = claims.get("preferred_username").and_then(Value::as_str).unwrap_or(subject);
        Ok(Caller {
            subject: format!("{}|{subject}", self.name),
            username: username.to_owned(),
            session: None,
            tenant: self.tenant.clone(),
            groups: self.groups(&claims),
            bulk: false,
        })
    }

    /// The groups, without those that count only where the configuration says so.
    fn groups(&self, claims: &Value) -> Vec<String> {
        let listed = match claim(claims, &self.groups_claim) {
            Some(Value::Array(groups)) => groups.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
            Some(Value::String(group)) => vec![group.clone()],
            Some(Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_)) | None => Vec::new(),
        };
        listed.into_iter().filter(|group| self.admins || !ADMIN_GROUPS.contains(&group.as_str())).collect()
    }
}

/// A claim by its name, or by its path with dots.
fn claim<'a>(claims: &'a Value, name: &str) -> Option<&'a Value> {
    claims.get(name).or_else(|| name.split('.').try_fold(claims, |value, part| value.get(part)))
}

#[cfg(test)]
#[path = "issuers_tests.rs"]
mod tests;
