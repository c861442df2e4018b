//! What tokens say, and the checks of time that every token passes.
//!
//! The algorithm and the key come from the configuration of the issuer that a token names, never from the token: the
//! name alone is believed before the signature is checked, and only to choose whose key to check it with.

use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use time::OffsetDateTime;

use super::caller::unauthorized;
use crate::error::ApiError;

/// The claims of an access token of ours, as CCKM's clients know them.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct AccessClaims {
    pub(super) aud: String,
    /// `local|<user's id>`
    pub(super) sub: String,
    pub(super) iss: String,
    /// The tenant's account.
    pub(super) acc: String,
    pub(super) preferred_username: String,
    pub(super) cust: Custom,
    pub(super) jwtid: String,
    pub(super) iat: i64,
    pub(super) exp: i64,
}

/// What CCKM adds to the registered claims.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Custom {
    /// The tenant's domain.
    pub(super) domain_id: String,
    pub(super) groups: Vec<String>,
    /// The session: the id of the refresh token.
    pub(super) sid: String,
    pub(super) zone_id: String,
}

/// Who signed a token, and whom it is for.
#[derive(Clone, Copy)]
pub(super) struct Expected<'a> {
    pub(super) issuer: &'a str,
    pub(super) audience: &'a str,
    pub(super) algorithms: &'a [Algorithm],
    /// How far the issuer's clock may be off, in seconds.
    pub(super) leeway: i64,
}

/// The issuer a token claims to be of; not yet believed.
pub(super) fn issuer_of(token: &str) -> Result<String, ApiError> {
    #[derive(Deserialize)]
    struct Issuer {
        iss: String,
    }
    jsonwebtoken::dangerous::insecure_decode_claims::<Issuer>(token)
        .map(|claims| claims.iss)
        .map_err(|_| unauthorized("the token cannot be read"))
}

/// The claims of a token whose signature, issuer, audience and times are as expected.
pub(super) fn verify<T: DeserializeOwned>(
    token: &str,
    key: &DecodingKey,
    expected: Expected<'_>,
    now: OffsetDateTime,
) -> Result<T, ApiError> {
    let first = *expected.algorithms.first().ok_or(ApiError::Internal)?;
    let mut validation = Validation::new(first);
    validation.algorithms = expected.algorithms.to_vec();
    validation.set_issuer(&[expected.issuer]);
    validation.set_audience(&[expected.audience]);
    validation.set_required_spec_claims(&["iss", "aud", "exp"]);
    // Checked below, by the clock that is passed in.
    validation.validate_exp = false;
    validation.validate_nbf = false;
    let value = jsonwebtoken::decode::<serde_json::Value>(token, key, &validation)
        .map_err(|error| {
            tracing::debug!(%error, "A token was refused.");
            unauthorized("the token is not valid")
        })?
        .claims;
    check_times(&value, expected.leeway, now.unix_timestamp())?;
    serde_json::from_value(value).map_err(|error| {
        tracing::debug!(%error, "A token lacks a claim.");
        unauthorized("the token lacks a claim")
    })
}

/// `exp` must be there and ahead; `nbf`, if there, must be past. Both may have fractions (RFC 7519, NumericDate).
fn check_times(claims: &serde_json::Value, leeway: i64, now: i64) -> Result<(), ApiError> {
    #[expect(clippy::cast_possible_truncation, reason = "a float beyond i64 saturates, which is what is meant")]
    let seconds = |value: &serde_json::Value| value.as_i64().or_else(|| value.as_f64().map(|number| number as i64));
    let expires = claims.get("exp").and_then(seconds).ok_or_else(|| unauthorized("the token has no expiry"))?;
    if expires.saturating_add(leeway) <= now {
        return Err(unauthorized("the token has expired"));
    }
    match claims.get("nbf").map(seconds) {
        None => Ok(()),
        Some(Some(begins)) if begins.saturating_sub(leeway) <= now => Ok(()),
        Some(Some(_)) => Err(unauthorized("the token is not valid yet")),
        Some(None) => Err(unauthorized("the token's nbf is no time")),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn times_are_checked_with_the_leeway() {
        let ok = |claims: serde_json::Value| check_times(&claims, 30, 1_000).is_ok();
        assert!(ok(json!({"exp": 1_001})));
        assert!(ok(json!({"exp": 971})));
        assert!(!ok(json!({"exp": 970})));
        assert!(ok(json!({"exp": 2_000.5, "nbf": 1_030})));
        assert!(!ok(json!({"exp": 2_000, "nbf": 1_031})));
        assert!(!ok(json!({"exp": 2_000, "nbf": "soon"})));
        assert!(!ok(json!({"exp": "2000"})));
        assert!(!ok(json!({})));
    }
}
