//! Tokens as nobody should send them: whatever it is, it is refused as a token, and nothing panics.
//!
//! Two kinds of issuer are asked, the gateway's own keys and a shared secret: what is no token of theirs, damaged or
//! written without the key, is never taken.

use std::sync::OnceLock;

use jsonwebtoken::{Algorithm, EncodingKey, Header};
use proptest::prelude::*;
use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256};
use serde_json::{Value, json};
use time::OffsetDateTime;
use uuid::Uuid;

use super::{
    caller::Caller,
    claims::issuer_of,
    issuers::Issuers,
    signing::{ISSUER, Signing},
    users::User,
};
use crate::{error::ApiError, junk};

const SECRET: &str = "0123456789abcdef0123456789abcdef";
const NOW: i64 = 1_700_000_000;

/// Both issuers, and good tokens of each.
struct Stage {
    own: Signing,
    key: EncodingKey,
    header: Value,
    others: Issuers,
    runtime: tokio::runtime::Runtime,
    good: Vec<String>,
}

fn stage() -> &'static Stage {
    static STAGE: OnceLock<Stage> = OnceLock::new();
    STAGE.get_or_init(|| {
        let pem = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap().serialize_pem();
        let own = Signing::new(&pem).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("issuers.json");
        let entry = json!([{"issuer": "idp", "audience": "keyfleet", "hs256_secret": SECRET, "tenant": "acme:ops",
            "groups_claim": "realm.roles"}]);
        std::fs::write(&file, entry.to_string()).unwrap();
        let user = |name: &str, groups: &[&str]| User {
            id: Uuid::from_u128(7),
            username: name.to_owned(),
            password_hash: "$argon2id$one".to_owned(),
            tenant: "kylo:kylo".parse().unwrap(),
            groups: groups.iter().map(|&group| group.to_owned()).collect(),
        };
        let now = OffsetDateTime::from_unix_timestamp(NOW).unwrap();
        let own_token = |user| own.access(&user, Uuid::from_u128(9), now).unwrap();
        let good = vec![
            own_token(user("admin", &["CCKM Admins"])),
            own_token(user("nobody", &[])),
            shared(&claims("idp")),
            shared(&json!({"iss": "idp", "aud": "keyfleet", "sub": "u2", "exp": NOW + 90})),
        ];
        let header = jsonwebtoken::decode_header(&good[0]).unwrap();
        Stage {
            header: serde_json::to_value(header).unwrap(),
            key: EncodingKey::from_ec_pem(pem.as_bytes()).unwrap(),
            own,
            others: Issuers::open(&file).unwrap(),
            runtime: tokio::runtime::Builder::new_current_thread().build().unwrap(),
            good,
        }
    })
}

/// Everything a token of either issuer says.
fn claims(issuer: &str) -> Value {
    json!({"aud": "keyfleet", "sub": "local|x", "iss": issuer, "acc": "kylo", "preferred_username": "x",
        "cust": {"domain_id": "kylo", "groups": ["admin"], "sid": Uuid::from_u128(9).to_string(), "zone_id": "z"},
        "realm": {"roles": ["ops"]}, "jwtid": "j", "iat": NOW, "nbf": NOW, "exp": NOW + 60})
}

fn shared(claims: &Value) -> String {
    jsonwebtoken::encode(&Header::new(Algorithm::HS256), claims, &EncodingKey::from_secret(SECRET.as_bytes())).unwrap()
}

/// What all issuers make of a token, whomever it names.
fn judge(token: &str) -> Result<Caller, ApiError> {
    let stage = stage();
    let now = OffsetDateTime::from_unix_timestamp(NOW).unwrap();
    let _named = issuer_of(token);
    match stage.own.verify(token, now) {
        Ok(caller) => Ok(caller),
        Err(error) => {
            assert!(matches!(error, ApiError::Unauthorized(_)), "{error:?}");
            stage.runtime.block_on(stage.others.verify("idp", token, now, job_model::Moment::default()))
        }
    }
}

fn refused(token: &str) {
    match judge(token) {
        Err(ApiError::Unauthorized(why)) => assert!(!why.is_empty()),
        other => panic!("{token} gave {other:?}"),
    }
}

/// The base64url of a token's part, by the library's own encoder.
fn part(value: &Value) -> String {
    let token = jsonwebtoken::encode(&Header::default(), value, &EncodingKey::from_secret(b"x")).unwrap();
    token.split('.').nth(1).unwrap().to_owned()
}

fn good() -> impl Strategy<Value = String> {
    prop::sample::select(stage().good.clone())
}

/// Headers with every algorithm's name, keys of their own, and things that are none of it.
fn header() -> impl Strategy<Value = Value> {
    let algorithm = prop::sample::select(vec![
        "none", "None", "", "HS256", "HS384", "HS512", "ES256", "ES384", "RS256", "PS512", "EdDSA", "es256", "ES256K",
    ]);
    let jwk = json!({"kty": "oct", "k": "AAAA", "alg": "HS256"});
    let named = algorithm.prop_map(move |alg| {
        let mut header = stage().header.clone();
        header["alg"] = json!(alg);
        header["jwk"] = jwk.clone();
        header["jku"] = json!("http://127.0.0.1:1/keys");
        header
    });
    prop_oneof![named, junk::spoilt(stage().header.clone()), junk::json()]
}

#[test]
fn the_tokens_that_are_damaged_below_are_good_ones() {
    for token in &stage().good {
        judge(token).unwrap();
    }
}

proptest! {
    #[test]
    fn what_is_no_token_is_refused(text in prop_oneof![
        any::<String>(),
        "[A-Za-z0-9_=-]{0,60}(\\.[A-Za-z0-9_=-]{0,60}){0,5}",
        (junk::json(), junk::json(), "[A-Za-z0-9_-]{0,90}")
            .prop_map(|(header, claims, signature)| format!("{}.{}.{signature}", part(&header), part(&claims))),
    ]) {
        refused(&text);
    }

    #[test]
    fn a_token_with_one_character_changed_is_refused(token in good(), at: prop::sample::Index, new in any::<char>(), of_token in any::<bool>()) {
        let mut characters: Vec<char> = token.chars().collect();
        let at = at.index(characters.len());
        // Also by one that a token may have: the last character of a part has bits that mean nothing.
        let letters = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
        let new = if of_token { char::from(letters[new as usize % letters.len()]) } else { new };
        prop_assume!(characters[at] != new);
        characters[at] = new;
        refused(&characters.into_iter().collect::<String>());
    }

    #[test]
    fn a_token_cut_or_lengthened_is_refused(token in good(), at: prop::sample::Index, more in "[A-Za-z0-9_.=-]{1,9}") {
        refused(&token[..at.index(token.len())]);
        refused(&format!("{token}{more}"));
        refused(&format!("{more}{token}"));
    }

    #[test]
    fn parts_of_several_tokens_make_none(places in prop::collection::vec((0..4_usize, 0..3_usize), 0..5)) {
        let whole = |from: usize| places.len() == 3 && places.iter().zip(0..3).all(|(place, part)| *place == (from, part));
        let parts = |token: &str| token.split('.').map(str::to_owned).collect::<Vec<_>>();
        let made: Vec<String> = places.iter().map(|(from, part)| parts(&stage().good[*from])[*part].clone()).collect();
        let made = made.join(".");
        // Both tokens of one issuer have the same header.
        prop_assume!(!(0..4).any(whole) && !stage().good.contains(&made));
        refused(&made);
    }

    #[test]
    fn what_is_written_without_the_key_is_refused(
        token in good(),
        header in header(),
        claims in prop_oneof![junk::spoilt(claims(ISSUER)), junk::spoilt(claims("idp")), Just(claims(ISSUER)), Just(claims("idp"))],
        secret in prop::sample::select(vec!["", "null", "x", "keyfleet"]),
    ) {
        let parts: Vec<&str> = token.split('.').collect();
        let signed = jsonwebtoken::encode(&Header::default(), &claims, &EncodingKey::from_secret(secret.as_bytes())).unwrap();
        for token in [
            format!("{}.{}.{}", part(&header), part(&claims), parts[2]),
            format!("{}.{}.", part(&header), part(&claims)),
            format!("{}.{}.{}", parts[0], part(&claims), parts[2]),
            format!("{}.{}.{}", part(&header), part(&claims), signed.split('.').nth(2).unwrap()),
            signed,
        ] {
            prop_assume!(!stage().good.contains(&token));
            refused(&token);
        }
    }

    /// Whoever has the key may say anything: it is read, or refused as a token. What an outside issuer calls its users is
    /// not ours to choose.
    #[test]
    fn rightly_signed_claims_of_any_form_break_nothing(own in junk::spoilt(claims(ISSUER)), other in junk::spoilt(claims("idp"))) {
        let mut header = Header::new(Algorithm::ES256);
        header.kid = stage().header["kid"].as_str().map(str::to_owned);
        let own = judge(&jsonwebtoken::encode(&header, &own, &stage().key).unwrap());
        let other = judge(&shared(&other));
        if let Ok(caller) = &other {
            let subject = caller.subject.strip_prefix("idp|").unwrap_or_default();
            prop_assert!(!subject.is_empty() && !subject.contains('\0'), "{:?}", subject);
        }
        for error in [own, other].into_iter().filter_map(Result::err) {
            prop_assert!(matches!(error, ApiError::Unauthorized(_)), "{:?}", error);
        }
    }
}
