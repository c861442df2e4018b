//! Own tokens: on every replica, over a change of keys, and every way to forge one.

use jsonwebtoken::{Algorithm, EncodingKey, Header};
use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384};
use serde_json::{Value, json};

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

fn pem() -> String {
    KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap().serialize_pem()
}

const SESSION: Uuid = Uuid::from_u128(9);

fn at(seconds: i64) -> OffsetDateTime {
    OffsetDateTime::from_unix_timestamp(1_700_000_000 + seconds).unwrap()
}

#[test]
fn an_access_token_lasts_five_minutes_on_every_replica() {
    let key = pem();
    let token = Signing::new(&key).unwrap().access(&user(), SESSION, at(0)).unwrap();
    let other = Signing::new(&key).unwrap();
    let caller = other.verify(&token, at(299)).unwrap();
    assert_eq!(caller.subject, "local|00000000-0000-0000-0000-000000000007");
    assert_eq!((caller.username.as_str(), caller.tenant.as_str()), ("admin", "kylo:kylo"));
    assert_eq!(caller.session, Some(SESSION));
    assert!(caller.is_admin());
    assert!(other.verify(&token, at(ACCESS_SECONDS + LEEWAY - 1)).is_ok());
    assert!(other.verify(&token, at(ACCESS_SECONDS + LEEWAY)).is_err());
    assert!(Signing::new(&pem()).unwrap().verify(&token, at(1)).is_err(), "another key's token was taken");
}

#[test]
fn a_key_is_changed_without_logging_anyone_out() {
    let (old, new) = (pem(), pem());
    let steps =
        [old.clone(), format!("{old}\n{new}"), format!("{new}{old}"), new].map(|pem| Signing::new(&pem).unwrap());
    // Replicas take a step one after the other: before and after it each takes the tokens of the others. The last step
    // is taken when the old key's last token has expired.
    for (one, other) in [(0, 1), (1, 0), (1, 2), (2, 1), (2, 3), (3, 2)] {
        let token = steps[one].access(&user(), SESSION, at(0)).unwrap();
        steps[other].verify(&token, at(1)).unwrap();
    }
    let forgotten = steps[0].access(&user(), SESSION, at(0)).unwrap();
    assert!(steps[3].verify(&forgotten, at(1)).is_err());
    assert_eq!(steps[2].public_keys().keys.len(), 2);
    assert_eq!(steps[2].public_keys().keys[0].common.key_id, steps[3].public_keys().keys[0].common.key_id);
}

#[test]
fn a_changed_password_changes_its_mark() {
    let other = User { password_hash: "$argon2id$two".to_owned(), ..user() };
    assert_eq!(password_mark(&user()), password_mark(&user()));
    assert_ne!(password_mark(&user()), password_mark(&other));
}

#[test]
fn a_token_with_any_part_changed_is_refused() {
    let signing = Signing::new(&pem()).unwrap();
    let token = signing.access(&user(), SESSION, at(0)).unwrap();
    let parts: Vec<&str> = token.split('.').collect();
    let other = signing.access(&User { groups: vec![], ..user() }, SESSION, at(0)).unwrap();
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

/// The claims of a good token, to be changed.
fn claims() -> Value {
    json!({"aud": AUDIENCE, "sub": "local|x", "iss": ISSUER, "acc": "kylo", "preferred_username": "x",
        "cust": {"domain_id": "kylo", "groups": ["admin"], "sid": SESSION.to_string(), "zone_id": ZONE},
        "jwtid": "j", "iat": at(0).unix_timestamp(), "exp": at(60).unix_timestamp()})
}

#[test]
fn a_token_signed_rightly_with_a_wrong_claim_is_refused() {
    let signing = Signing::new(&pem()).unwrap();
    let signed = |claims: &Value| jsonwebtoken::encode(&signing.header, claims, &signing.private).unwrap();
    signing.verify(&signed(&claims()), at(1)).unwrap();
    for changes in [
        json!({"aud": "keyfleet-other"}),
        json!({"aud": null}),
        json!({"iss": "kylo2"}),
        json!({"exp": at(0).unix_timestamp()}),
        json!({"exp": null}),
        json!({"exp": "9999999999"}),
        json!({"nbf": at(3).unix_timestamp()}),
        json!({"acc": ""}),
        json!({"acc": "kylo:x"}),
        json!({"cust": {"domain_id": "kylo", "groups": [], "sid": "no session", "zone_id": ZONE}}),
        json!({"cust": null}),
        json!({"sub": null}),
    ] {
        let mut claims = claims();
        for (name, value) in changes.as_object().unwrap() {
            claims[name] = value.clone();
        }
        assert!(signing.verify(&signed(&claims), at(1)).is_err(), "{changes} was taken");
    }
}

#[test]
fn neither_the_algorithm_nor_the_key_comes_from_the_token() {
    let pair = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
    let signing = Signing::new(&pair.serialize_pem()).unwrap();
    let id = signing.header.kid.clone();
    let with = |algorithm, kid: Option<String>, key: &EncodingKey| {
        let mut header = Header::new(algorithm);
        header.kid = kid;
        jsonwebtoken::encode(&header, &claims(), key).unwrap()
    };
    // The public key, which anyone has, taken for a shared secret.
    for secret in [pair.public_key_pem().into_bytes(), pair.public_key_raw().to_vec(), b"null".to_vec(), Vec::new()] {
        for algorithm in [Algorithm::HS256, Algorithm::HS384, Algorithm::HS512] {
            let token = with(algorithm, id.clone(), &EncodingKey::from_secret(&secret));
            assert!(signing.verify(&token, at(1)).is_err());
        }
    }
    let other = EncodingKey::from_ec_pem(pem().as_bytes()).unwrap();
    assert!(signing.verify(&with(Algorithm::ES256, id, &other), at(1)).is_err(), "another key under this key's id");
    for kid in [None, Some(String::new()), Some("unknown".to_owned())] {
        let token = with(Algorithm::ES256, kid.clone(), &signing.private);
        assert!(signing.verify(&token, at(1)).is_err(), "{kid:?}");
    }
    // A key that the token brings along.
    let mut header = Header::new(Algorithm::ES256);
    header.jwk = Some(Jwk::from_encoding_key(&other, Algorithm::ES256).unwrap());
    header.kid.clone_from(&signing.header.kid);
    assert!(signing.verify(&jsonwebtoken::encode(&header, &claims(), &other).unwrap(), at(1)).is_err());
}

#[test]
fn only_p256_keys_sign() {
    let other_curve = KeyPair::generate_for(&PKCS_ECDSA_P384_SHA384).unwrap().serialize_pem();
    assert!(matches!(Signing::new("no key"), Err(BadKey::None)));
    assert!(matches!(Signing::new(&other_curve), Err(BadKey::Unfit(1, _))));
    assert!(matches!(Signing::new(&format!("{}{other_curve}", pem())), Err(BadKey::Unfit(2, _))));
}

#[test]
fn the_published_key_is_the_public_half_alone() {
    let signing = Signing::new(&pem()).unwrap();
    let text = serde_json::to_value(signing.public_keys()).unwrap();
    let key = text["keys"][0].as_object().unwrap();
    for name in ["kty", "crv", "x", "y", "kid", "alg", "use"] {
        assert!(key.contains_key(name), "{name} is missing");
    }
    assert!(!key.contains_key("d"));
}
