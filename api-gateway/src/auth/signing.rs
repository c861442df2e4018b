//! The gateway's own access tokens: ES256, signed with keys that all replicas share.
//!
//! There may be several keys: the first signs, all verify, and a token names its key. So a key is changed without
//! logging anyone out: the new one is added behind the old one on every replica, then put before it, and the old one is
//! taken away when its last token has expired. Refresh tokens are not signed, and outlive every key.

use job_model::Tenant;
use jsonwebtoken::{
    Algorithm, DecodingKey, EncodingKey, Header,
    jwk::{Jwk, JwkSet, KeyOperations, PublicKeyUse, ThumbprintHash},
};
use sha2::{Digest as _, Sha256};
use time::OffsetDateTime;
use uuid::Uuid;

use super::{
    caller::{Caller, unauthorized},
    claims::{self, AccessClaims, Custom, Expected},
    users::User,
};
use crate::error::ApiError;

/// The issuer of the gateway's own tokens, as CCKM's clients know it.
pub(super) const ISSUER: &str = "kylo";
/// How long an access token lasts, in seconds: CCKM's own default.
pub(super) const ACCESS_SECONDS: i64 = 300;
/// What begins the subject of a local user.
pub(super) const LOCAL: &str = "local|";
/// How far the clocks of two replicas may be apart, in seconds.
const LEEWAY: i64 = 1;

const AUDIENCE: &str = "keyfleet";
/// CCKM's id of the zone everything is in.
const ZONE: &str = "00000000-0000-0000-0000-000000000000";
/// What a PEM block begins with.
const BLOCK: &str = "-----BEGIN ";

/// The keys, ready for use.
pub(super) struct Signing {
    /// The first key signs.
    private: EncodingKey,
    header: Header,
    /// All keys verify, each under its id.
    public: Vec<(String, DecodingKey)>,
    published: JwkSet,
}

/// The keys cannot be used.
#[derive(Debug, thiserror::Error)]
pub(super) enum BadKey {
    /// One is no key, or of another kind.
    #[error("key {0} of it must be the PKCS#8 PEM of an EC P-256 private key: {1}")]
    Unfit(usize, jsonwebtoken::errors::Error),
    /// There is none.
    #[error("it must hold the PKCS#8 PEM of an EC P-256 private key, or of several")]
    None,
}

impl Signing {
    /// One or more PEM blocks; the first one signs.
    pub(super) fn new(pem: &str) -> Result<Self, BadKey> {
        let mut public: Vec<(String, DecodingKey)> = Vec::new();
        let mut published = JwkSet { keys: Vec::new() };
        let mut first = None;
        for (number, block) in (1..).zip(blocks(pem)) {
            let (private, header, jwk, key) = key(&block).map_err(|error| BadKey::Unfit(number, error))?;
            let id = header.kid.clone().unwrap_or_default();
            if public.iter().any(|(known, _)| *known == id) {
                continue;
            }
            public.push((id, key));
            published.keys.push(jwk);
            first.get_or_insert((private, header));
        }
        let (private, header) = first.ok_or(BadKey::None)?;
        Ok(Self { private, header, public, published })
    }

    /// The public keys that verify the gateway's tokens.
    pub(super) fn public_keys(&self) -> &JwkSet {
        &self.published
    }

    /// A new access token of the user, in the session.
    pub(super) fn access(&self, user: &User, session: Uuid, now: OffsetDateTime) -> Result<String, ApiError> {
        let iat = now.unix_timestamp();
        let claims = AccessClaims {
            aud: AUDIENCE.to_owned(),
            sub: format!("{LOCAL}{}", user.id),
            iss: ISSUER.to_owned(),
            acc: user.tenant.account().to_owned(),
            preferred_username: user.username.clone(),
            cust: Custom {
                domain_id: user.tenant.domain().to_owned(),
                groups: user.groups.clone(),
                sid: session.to_string(),
                zone_id: ZONE.to_owned(),
            },
            jwtid: Uuid::new_v4().to_string(),
            iat,
            exp: iat + ACCESS_SECONDS,
        };
        jsonwebtoken::encode(&self.header, &claims, &self.private).map_err(|error| {
            tracing::error!(%error, "A token could not be signed.");
            ApiError::Internal
        })
    }

    /// Who an access token speaks for.
    pub(super) fn verify(&self, token: &str, now: OffsetDateTime) -> Result<Caller, ApiError> {
        let header = jsonwebtoken::decode_header(token).map_err(|_| unauthorized("the token cannot be read"))?;
        let key = self
            .public
            .iter()
            .find(|(id, _)| header.kid.as_ref() == Some(id))
            .map(|(_, key)| key)
            .ok_or_else(|| unauthorized("the token is signed with a key that is not used any more"))?;
        let expected = Expected { issuer: ISSUER, audience: AUDIENCE, algorithms: &[Algorithm::ES256], leeway: LEEWAY };
        let claims: AccessClaims = claims::verify(token, key, expected, now)?;
        let tenant: Tenant = format!("{}:{}", claims.acc, claims.cust.domain_id)
            .parse()
            .map_err(|_| unauthorized("the token names no tenant"))?;
        let session = claims.cust.sid.parse().map_err(|_| unauthorized("the token names no session"))?;
        Ok(Caller {
            subject: claims.sub,
            username: claims.preferred_username,
            tenant,
            groups: claims.cust.groups,
            session: Some(session),
            bulk: false,
        })
    }
}

/// The mark of the user's password: a few bits of a digest of its hash, enough to see a change, too little to learn
/// anything from.
pub(super) fn password_mark(user: &User) -> Vec<u8> {
    Sha256::digest(user.password_hash.as_bytes()).iter().take(8).copied().collect()
}

/// The PEM blocks of a text; what stands before the first one is a comment.
fn blocks(pem: &str) -> Vec<String> {
    pem.split(BLOCK).skip(1).map(|block| format!("{BLOCK}{block}")).collect()
}

fn key(pem: &str) -> Result<(EncodingKey, Header, Jwk, DecodingKey), jsonwebtoken::errors::Error> {
    let private = EncodingKey::from_ec_pem(pem.as_bytes())?;
    let mut jwk = Jwk::from_encoding_key(&private, Algorithm::ES256)?;
    let id = jwk.thumbprint(ThumbprintHash::SHA256)?;
    jwk.common.key_id = Some(id.clone());
    jwk.common.public_key_use = Some(PublicKeyUse::Signature);
    jwk.common.key_operations = Some(vec![KeyOperations::Verify]);
    let public = DecodingKey::from_jwk(&jwk)?;
    let mut header = Header::new(Algorithm::ES256);
    header.kid = Some(id);
    // A key of another curve shows at its first use: that is to be now.
    let trial = jsonwebtoken::encode(&header, &serde_json::json!({}), &private)?;
    let mut validation = jsonwebtoken::Validation::new(Algorithm::ES256);
    validation.required_spec_claims.clear();
    validation.validate_exp = false;
    jsonwebtoken::decode::<serde_json::Value>(&trial, &public, &validation)?;
    Ok((private, header, jwk, public))
}

#[cfg(test)]
#[path = "signing_tests.rs"]
mod tests;
