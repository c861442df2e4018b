//! The gateway's own tokens: ES256, signed with the key that all replicas share.
//!
//! Access and refresh tokens differ in their audience, so neither passes for the other. A refresh token carries a
//! fingerprint of the user's password hash: a changed password ends it.

use std::time::Duration;

use job_model::Tenant;
use jsonwebtoken::{
    Algorithm, DecodingKey, EncodingKey, Header,
    jwk::{Jwk, JwkSet, KeyOperations, PublicKeyUse, ThumbprintHash},
};
use serde::{Deserialize, Serialize};
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

const ACCESS_AUDIENCE: &str = "keyfleet";
const REFRESH_AUDIENCE: &str = "keyfleet-refresh";
/// What begins the subject of a local user.
const LOCAL: &str = "local|";
/// CCKM's id of the zone everything is in.
const ZONE: &str = "00000000-0000-0000-0000-000000000000";

/// The key, ready for use.
pub(super) struct Signing {
    private: EncodingKey,
    public: DecodingKey,
    header: Header,
    keys: JwkSet,
    refresh_lifetime: Duration,
}

/// The key cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("it must be the PKCS#8 PEM of an EC P-256 private key: {0}")]
pub(super) struct BadKey(#[from] jsonwebtoken::errors::Error);

/// A refresh token's claims.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct RefreshClaims {
    aud: String,
    iss: String,
    sub: String,
    /// The session's id.
    pub(super) jti: String,
    iat: i64,
    pub(super) exp: i64,
    /// [`fingerprint`] of the password hash at login.
    pwd: String,
}

impl RefreshClaims {
    /// The local user's id.
    pub(super) fn user_id(&self) -> Option<Uuid> {
        self.sub.strip_prefix(LOCAL)?.parse().ok()
    }

    /// Whether the user's password is still that of the login.
    pub(super) fn is_of(&self, user: &User) -> bool {
        self.pwd == fingerprint(user)
    }
}

impl Signing {
    pub(super) fn new(pem: &str, refresh_lifetime: Duration) -> Result<Self, BadKey> {
        let private = EncodingKey::from_ec_pem(pem.as_bytes())?;
        let mut jwk = Jwk::from_encoding_key(&private, Algorithm::ES256)?;
        let id = jwk.thumbprint(ThumbprintHash::SHA256)?;
        jwk.common.key_id = Some(id.clone());
        jwk.common.public_key_use = Some(PublicKeyUse::Signature);
        jwk.common.key_operations = Some(vec![KeyOperations::Verify]);
        let public = DecodingKey::from_jwk(&jwk)?;
        let mut header = Header::new(Algorithm::ES256);
        header.kid = Some(id);
        let signing = Self { private, public, header, keys: JwkSet { keys: vec![jwk] }, refresh_lifetime };
        // A key of another curve shows at its first use: that is to be now.
        let trial = jsonwebtoken::encode(&signing.header, &serde_json::json!({}), &signing.private)?;
        let mut validation = jsonwebtoken::Validation::new(Algorithm::ES256);
        validation.required_spec_claims.clear();
        validation.validate_exp = false;
        jsonwebtoken::decode::<serde_json::Value>(&trial, &signing.public, &validation)?;
        Ok(signing)
    }

    /// The public keys that verify the gateway's tokens.
    pub(super) fn public_keys(&self) -> &JwkSet {
        &self.keys
    }

    /// A new access token of the user, in the session.
    pub(super) fn access(&self, user: &User, session: &str, now: OffsetDateTime) -> Result<String, ApiError> {
        let iat = now.unix_timestamp();
        self.sign(&AccessClaims {
            aud: ACCESS_AUDIENCE.to_owned(),
            sub: format!("{LOCAL}{}", user.id),
            iss: ISSUER.to_owned(),
            acc: user.tenant.account().to_owned(),
            preferred_username: user.username.clone(),
            cust: Custom {
                domain_id: user.tenant.domain().to_owned(),
                groups: user.groups.clone(),
                sid: session.to_owned(),
                zone_id: ZONE.to_owned(),
            },
            jwtid: Uuid::new_v4().to_string(),
            iat,
            exp: iat + ACCESS_SECONDS,
        })
    }

    /// A new session of the user: its refresh token and what that says.
    pub(super) fn refresh(&self, user: &User, now: OffsetDateTime) -> Result<(String, RefreshClaims), ApiError> {
        let iat = now.unix_timestamp();
        let lifetime = i64::try_from(self.refresh_lifetime.as_secs()).unwrap_or(i64::MAX);
        let claims = RefreshClaims {
            aud: REFRESH_AUDIENCE.to_owned(),
            iss: ISSUER.to_owned(),
            sub: format!("{LOCAL}{}", user.id),
            jti: Uuid::new_v4().to_string(),
            iat,
            exp: iat.saturating_add(lifetime),
            pwd: fingerprint(user),
        };
        Ok((self.sign(&claims)?, claims))
    }

    /// Who an access token speaks for.
    pub(super) fn verify(&self, token: &str, now: OffsetDateTime) -> Result<Caller, ApiError> {
        let claims: AccessClaims = claims::verify(token, &self.public, expected(ACCESS_AUDIENCE), now)?;
        let tenant: Tenant = format!("{}:{}", claims.acc, claims.cust.domain_id)
            .parse()
            .map_err(|_| unauthorized("the token names no tenant"))?;
        Ok(Caller { subject: claims.sub, tenant, groups: claims.cust.groups })
    }

    /// What a refresh token says.
    pub(super) fn verify_refresh(&self, token: &str, now: OffsetDateTime) -> Result<RefreshClaims, ApiError> {
        claims::verify(token, &self.public, expected(REFRESH_AUDIENCE), now)
    }

    fn sign(&self, claims: &impl Serialize) -> Result<String, ApiError> {
        jsonwebtoken::encode(&self.header, claims, &self.private).map_err(|error| {
            tracing::error!(%error, "A token could not be signed.");
            ApiError::Internal
        })
    }
}

/// What tokens of ours are checked for. Replicas may be on machines whose clocks differ a little.
const fn expected(audience: &str) -> Expected<'_> {
    Expected { issuer: ISSUER, audience, algorithms: &[Algorithm::ES256], leeway: 1 }
}

/// A few bits of a digest of the password hash: enough to see a change, too little to learn anything from.
fn fingerprint(user: &User) -> String {
    let digest = Sha256::digest(user.password_hash.as_bytes());
    digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384};

    use super::*;

    fn user() -> User {
        User {
            id: Uuid::from_u128(7),
            username: "admin".to_owned(),
            password_hash: "$argon2id$one".to_owned(),
            tenant: "kylo:kylo".parse().unwrap(),
            groups: vec!["CCKM Admins".to_owned()],
        }
    }

    fn signing_with(key: &KeyPair) -> Signing {
        Signing::new(&key.serialize_pem(), Duration::from_secs(3_600)).unwrap()
    }

    fn signing() -> Signing {
        signing_with(&KeyPair::generate().unwrap())
    }

    fn at(seconds: i64) -> OffsetDateTime {
        OffsetDateTime::from_unix_timestamp(1_700_000_000 + seconds).unwrap()
    }

    #[test]
    fn an_access_token_lasts_five_minutes_on_every_replica() {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
        let token = signing_with(&key).access(&user(), "s", at(0)).unwrap();
        let other = signing_with(&key);
        let caller = other.verify(&token, at(299)).unwrap();
        assert_eq!(caller.subject, "local|00000000-0000-0000-0000-000000000007");
        assert_eq!(caller.tenant.as_str(), "kylo:kylo");
        assert!(caller.is_admin());
        assert!(other.verify(&token, at(301)).is_err());
        assert!(signing().verify(&token, at(1)).is_err(), "another key's token was taken");
    }

    #[test]
    fn a_refresh_token_is_no_access_token_nor_the_other_way() {
        let signing = signing();
        let (refresh, claims) = signing.refresh(&user(), at(0)).unwrap();
        assert!(signing.verify(&refresh, at(1)).is_err());
        let access = signing.access(&user(), &claims.jti, at(0)).unwrap();
        assert!(signing.verify_refresh(&access, at(1)).is_err());
        assert_eq!(signing.verify_refresh(&refresh, at(1)).unwrap(), claims);
        assert!(signing.verify_refresh(&refresh, at(3_601)).is_err());
    }

    #[test]
    fn a_changed_password_ends_the_session() {
        let (_, claims) = signing().refresh(&user(), at(0)).unwrap();
        assert!(claims.is_of(&user()));
        assert!(!claims.is_of(&User { password_hash: "$argon2id$two".to_owned(), ..user() }));
    }

    #[test]
    fn a_token_with_any_part_changed_is_refused() {
        let signing = signing();
        let token = signing.access(&user(), "s", at(0)).unwrap();
        let parts: Vec<&str> = token.split('.').collect();
        let other = signing.access(&User { groups: vec![], ..user() }, "s", at(0)).unwrap();
        let others: Vec<&str> = other.split('.').collect();
        for forged in [
            format!("{}.{}.{}", parts[0], others[1], parts[2]),
            format!("{}.{}.", parts[0], parts[1]),
            format!("{}.{}", parts[0], parts[1]),
            String::new(),
            "..".to_owned(),
            format!("{token}x"),
        ] {
            assert!(signing.verify(&forged, at(1)).is_err(), "{forged}");
        }
    }

    #[test]
    fn only_p256_keys_sign() {
        assert!(Signing::new("no key", Duration::from_secs(1)).is_err());
        let other_curve = KeyPair::generate_for(&PKCS_ECDSA_P384_SHA384).unwrap().serialize_pem();
        assert!(Signing::new(&other_curve, Duration::from_secs(1)).is_err());
    }

    #[test]
    fn the_published_key_is_the_public_half_alone() {
        let text = serde_json::to_value(signing().public_keys()).unwrap();
        let key = text["keys"][0].as_object().unwrap();
        for name in ["kty", "crv", "x", "y", "kid", "alg", "use"] {
            assert!(key.contains_key(name), "{name} is missing");
        }
        assert!(!key.contains_key("d"));
    }
}
