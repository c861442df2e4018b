//! Outside tokens, good ones and every way to forge one.

use std::time::Duration;

use jsonwebtoken::{EncodingKey, Header, jwk::Jwk};
use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256};
use serde_json::json;
use wiremock::{Mock, MockServer, ResponseTemplate, matchers::any};

use super::*;

const SECRET: &str = "0123456789abcdef0123456789abcdef";
const NOW: i64 = 1_700_000_000;

fn now() -> OffsetDateTime {
    OffsetDateTime::from_unix_timestamp(NOW).unwrap()
}

/// When keys are fetched for the first time.
fn moment() -> Moment {
    Moment::from_nanos(0) + Duration::from_secs(1_000)
}

fn open(entries: &Value) -> Result<Issuers, BadIssuers> {
    // The HTTP client of the published keys wants one.
    let _already = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("issuers.json");
    fs::write(&path, entries.to_string()).unwrap();
    Issuers::open(&path)
}

fn shared() -> Issuers {
    open(&json!([{"issuer": "idp", "audience": "keyfleet", "hs256_secret": SECRET, "tenant": "acme:ops",
        "groups_claim": "realm.roles"}]))
    .unwrap()
}

fn claims() -> Value {
    json!({"iss": "idp", "aud": "keyfleet", "sub": "u1", "exp": NOW + 60, "realm": {"roles": ["ops", "admin", "CCKM Admins"]}})
}

fn with(changes: &Value) -> Value {
    let mut claims = claims();
    for (name, value) in changes.as_object().unwrap() {
        claims[name] = value.clone();
    }
    claims
}

fn signed(claims: &Value) -> String {
    jsonwebtoken::encode(&Header::new(Algorithm::HS256), claims, &EncodingKey::from_secret(SECRET.as_bytes())).unwrap()
}

fn unsigned(header: &Value, claims: &Value) -> String {
    // A token's parts are base64url without padding; the library's own encoder makes them from any two objects.
    let part = |value: &Value| {
        let token = jsonwebtoken::encode(&Header::default(), value, &EncodingKey::from_secret(b"x")).unwrap();
        token.split('.').nth(1).unwrap().to_owned()
    };
    format!("{}.{}.", part(header), part(claims))
}

#[tokio::test]
async fn a_good_token_speaks_for_its_subject_in_the_configured_tenant() {
    let caller = shared().verify("idp", &signed(&claims()), now(), moment()).await.unwrap();
    assert_eq!(caller.subject, "idp|u1");
    assert_eq!(caller.tenant.as_str(), "acme:ops");
    assert_eq!(caller.groups, ["ops"], "the admin groups count only where the configuration says so");
    assert!(!caller.is_admin());
}

#[tokio::test]
async fn admins_from_outside_count_where_the_configuration_says_so() {
    let issuers = open(&json!([{"issuer": "idp", "audience": "keyfleet", "hs256_secret": SECRET,
        "tenant": "acme:ops", "groups_claim": "realm.roles", "admins": true}]))
    .unwrap();
    assert!(issuers.verify("idp", &signed(&claims()), now(), moment()).await.unwrap().is_admin());
}

#[tokio::test]
async fn each_wrong_claim_is_refused() {
    for changes in [
        json!({"aud": "other"}),
        json!({"aud": null}),
        json!({"iss": "other"}),
        json!({"exp": NOW - 31}),
        json!({"exp": null}),
        json!({"nbf": NOW + 60}),
        json!({"sub": ""}),
        json!({"sub": "u\u{0}1"}),
        json!({"sub": null}),
    ] {
        let refused = shared().verify("idp", &signed(&with(&changes)), now(), moment()).await;
        assert!(matches!(refused, Err(ApiError::Unauthorized(_))), "{changes} was taken");
    }
    shared()
        .verify("idp", &signed(&with(&json!({"aud": ["x", "keyfleet"], "nbf": NOW}))), now(), moment())
        .await
        .unwrap();
    assert!(shared().verify("unknown", &signed(&claims()), now(), moment()).await.is_err());
}

#[tokio::test]
async fn clocks_may_differ_by_the_leeway_and_no_more() {
    let open_with = |leeway: Value| {
        let mut entry = json!({"issuer": "idp", "audience": "keyfleet", "hs256_secret": SECRET, "tenant": "acme:ops"});
        if !leeway.is_null() {
            entry["leeway"] = leeway;
        }
        open(&json!([entry]))
    };
    for (leeway, seconds) in [(Value::Null, 30), (json!("1s"), 1), (json!("5s"), 5), (json!("300s"), 300)] {
        let issuers = open_with(leeway).unwrap();
        for (changes, taken) in [
            (json!({"exp": NOW - seconds + 1}), true),
            (json!({"exp": NOW - seconds}), false),
            (json!({"nbf": NOW + seconds}), true),
            (json!({"nbf": NOW + seconds + 1}), false),
        ] {
            let verified = issuers.verify("idp", &signed(&with(&changes)), now(), moment()).await;
            assert_eq!(verified.is_ok(), taken, "{changes} with {seconds} s");
        }
    }
    for bad in [json!("0s"), json!("301s"), json!(30), json!("soon")] {
        assert!(open_with(bad.clone()).is_err(), "{bad} was taken");
    }
}

#[tokio::test]
async fn one_issuer_s_key_signs_for_no_other() {
    let other_secret = "another secret of thirty-two bytes, or more";
    let entry = |issuer: &str, secret: &str, tenant: &str, audience: &str| json!({"issuer": issuer, "audience": audience, "hs256_secret": secret, "tenant": tenant});
    let issuers = open(&json!([
        entry("idp", SECRET, "acme:ops", "keyfleet"),
        entry("other", other_secret, "kylo:kylo", "keyfleet"),
        entry("idp", SECRET, "acme:test", "keyfleet-test"),
    ]))
    .unwrap();
    let other = EncodingKey::from_secret(other_secret.as_bytes());
    let by_other = |claims: &Value| jsonwebtoken::encode(&Header::new(Algorithm::HS256), claims, &other).unwrap();
    let tenant = async |name: &str, token: &str| {
        issuers.verify(name, token, now(), moment()).await.map(|caller| caller.tenant.to_string())
    };
    assert_eq!(tenant("idp", &signed(&claims())).await.unwrap(), "acme:ops");
    assert_eq!(tenant("idp", &signed(&with(&json!({"aud": "keyfleet-test"})))).await.unwrap(), "acme:test");
    assert_eq!(tenant("other", &by_other(&with(&json!({"iss": "other"})))).await.unwrap(), "kylo:kylo");
    // The one's key under the other's name, and a name that the token does not say.
    assert!(tenant("idp", &by_other(&claims())).await.is_err());
    assert!(tenant("other", &signed(&with(&json!({"iss": "other"})))).await.is_err());
    assert!(tenant("other", &by_other(&claims())).await.is_err());
}

#[tokio::test]
async fn the_algorithm_never_comes_from_the_token() {
    for algorithm in ["none", "None", "HS384", "HS512", "RS256", "ES256"] {
        let token = unsigned(&json!({"alg": algorithm, "typ": "JWT"}), &claims());
        assert!(shared().verify("idp", &token, now(), moment()).await.is_err(), "{algorithm} was taken");
    }
    let other = EncodingKey::from_secret(SECRET.as_bytes());
    let hs512 = jsonwebtoken::encode(&Header::new(Algorithm::HS512), &claims(), &other).unwrap();
    assert!(shared().verify("idp", &hs512, now(), moment()).await.is_err());
    let wrong = EncodingKey::from_secret(b"another secret of thirty-two bytes");
    let forged = jsonwebtoken::encode(&Header::new(Algorithm::HS256), &claims(), &wrong).unwrap();
    assert!(shared().verify("idp", &forged, now(), moment()).await.is_err());
}

/// An issuer that publishes the keys, and what signs with the first.
struct Published {
    server: MockServer,
    private: EncodingKey,
    public_pem: String,
    issuers: Issuers,
}

fn public_jwk(pair: &KeyPair, id: &str) -> Jwk {
    let private = EncodingKey::from_ec_pem(pair.serialize_pem().as_bytes()).unwrap();
    let mut jwk = Jwk::from_encoding_key(&private, Algorithm::ES256).unwrap();
    jwk.common.key_id = Some(id.to_owned());
    jwk
}

async fn published(keys: Value) -> (KeyPair, Published) {
    let pair = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
    let server = MockServer::start().await;
    let own = json!({"keys": [public_jwk(&pair, "one")]});
    let body = if keys.is_null() { own } else { keys };
    Mock::given(any()).respond_with(ResponseTemplate::new(200).set_body_json(body)).mount(&server).await;
    let issuers = open(&json!([{"issuer": "idp", "audience": "keyfleet", "jwks_url": server.uri(),
        "algorithms": ["ES256"], "tenant": "acme:ops"}]))
    .unwrap();
    let private = EncodingKey::from_ec_pem(pair.serialize_pem().as_bytes()).unwrap();
    let public_pem = pair.public_key_pem();
    (pair, Published { server, private, public_pem, issuers })
}

fn es256(key: &EncodingKey, id: Option<&str>) -> String {
    let mut header = Header::new(Algorithm::ES256);
    header.kid = id.map(str::to_owned);
    jsonwebtoken::encode(&header, &claims(), key).unwrap()
}

#[tokio::test]
async fn published_keys_are_fetched_once_and_kept() {
    let (_, at) = published(Value::Null).await;
    for id in [Some("one"), None, Some("one")] {
        at.issuers.verify("idp", &es256(&at.private, id), now(), moment()).await.unwrap();
    }
    assert_eq!(at.server.received_requests().await.unwrap().len(), 1);
    // The last good set stays when the issuer is gone.
    let token = es256(&at.private, Some("one"));
    drop(at.server);
    at.issuers.verify("idp", &token, now(), moment()).await.unwrap();
}

#[tokio::test]
async fn made_up_key_ids_do_not_hammer_the_issuer() {
    let (_, at) = published(Value::Null).await;
    for number in 0..20 {
        let token = es256(&at.private, Some(&format!("made-up-{number}")));
        let refused = at.issuers.verify("idp", &token, now(), moment()).await;
        assert!(matches!(refused, Err(ApiError::Unauthorized(_))), "{refused:?}");
    }
    assert_eq!(at.server.received_requests().await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_new_key_is_fetched_when_a_token_names_it_and_the_old_set_stays_when_the_issuer_is_down() {
    let (old, at) = published(Value::Null).await;
    let new = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
    let new_private = EncodingKey::from_ec_pem(new.serialize_pem().as_bytes()).unwrap();
    let verify = async |key: &EncodingKey, id: &str, seconds: u64| {
        at.issuers.verify("idp", &es256(key, Some(id)), now(), moment() + Duration::from_secs(seconds)).await
    };
    let fetched = async || at.server.received_requests().await.unwrap().len();
    let answer = async |answer: ResponseTemplate| {
        at.server.reset().await;
        Mock::given(any()).respond_with(answer).mount(&at.server).await;
    };
    verify(&at.private, "one", 0).await.unwrap();
    answer(
        ResponseTemplate::new(200).set_body_json(json!({"keys": [public_jwk(&old, "one"), public_jwk(&new, "two")]})),
    )
    .await;
    // Within the pause nobody is asked.
    assert!(matches!(verify(&new_private, "two", 9).await, Err(ApiError::Unauthorized(_))));
    assert_eq!(fetched().await, 0);
    verify(&new_private, "two", 10).await.unwrap();
    verify(&at.private, "one", 10).await.unwrap();
    assert_eq!(fetched().await, 1);
    for broken in [
        ResponseTemplate::new(500),
        ResponseTemplate::new(200).set_body_string("<html>"),
        ResponseTemplate::new(200).set_body_string(" ".repeat(2 << 20)),
    ] {
        answer(broken).await;
        assert!(matches!(verify(&new_private, "three", 100).await, Err(ApiError::Unauthorized(_))));
        verify(&new_private, "two", 100).await.unwrap();
    }
    // A key that was taken back is gone with the next set.
    answer(ResponseTemplate::new(200).set_body_json(json!({"keys": [public_jwk(&new, "two")]}))).await;
    assert!(verify(&new_private, "three", 200).await.is_err());
    assert!(verify(&at.private, "one", 201).await.is_err());
    verify(&new_private, "two", 201).await.unwrap();
}

#[tokio::test]
async fn a_public_key_is_never_taken_for_a_shared_secret() {
    let (_, at) = published(Value::Null).await;
    let mut header = Header::new(Algorithm::HS256);
    header.kid = Some("one".to_owned());
    let key = EncodingKey::from_secret(at.public_pem.as_bytes());
    let confused = jsonwebtoken::encode(&header, &claims(), &key).unwrap();
    assert!(at.issuers.verify("idp", &confused, now(), moment()).await.is_err());
    let other = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
    let other = EncodingKey::from_ec_pem(other.serialize_pem().as_bytes()).unwrap();
    assert!(at.issuers.verify("idp", &es256(&other, Some("one")), now(), moment()).await.is_err());
}

#[tokio::test]
async fn a_published_shared_secret_is_not_used() {
    let secret =
        json!({"kty": "oct", "kid": "one", "alg": "HS256", "k": "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY"});
    let (_, at) = published(json!({"keys": [secret]})).await;
    assert!(at.issuers.verify("idp", &es256(&at.private, Some("one")), now(), moment()).await.is_err());
}

#[tokio::test]
async fn an_issuer_that_was_never_reached_is_no_fault_of_the_token() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    drop(listener);
    let issuers = open(&json!([{"issuer": "idp", "audience": "keyfleet", "jwks_url": url,
        "algorithms": ["ES256"], "tenant": "acme:ops"}]))
    .unwrap();
    let pair = KeyPair::generate().unwrap();
    let key = EncodingKey::from_ec_pem(pair.serialize_pem().as_bytes()).unwrap();
    let answer =
        tokio::time::timeout(Duration::from_secs(30), issuers.verify("idp", &es256(&key, None), now(), moment())).await;
    assert!(matches!(answer, Ok(Err(ApiError::Unavailable(_)))));
}

#[test]
fn a_configuration_that_makes_no_sense_is_refused() {
    let good = json!({"issuer": "idp", "audience": "a", "hs256_secret": SECRET, "tenant": "acme:ops"});
    assert!(open(&json!([good])).is_ok());
    for changes in [
        json!({"issuer": "kylo"}),
        json!({"issuer": ""}),
        json!({"issuer": "local"}),
        json!({"issuer": "user::local"}),
        json!({"issuer": "local|x"}),
        json!({"audience": ""}),
        json!({"tenant": "acme"}),
        json!({"hs256_secret": "short"}),
        json!({"algorithms": ["RS256"]}),
        json!({"algorithms": ["none"]}),
        json!({"jwks_url": "https://x"}),
        json!({"hs256_secret_file": "/x"}),
        json!({"hs256_secret": null}),
        json!({"hs256_secret": null, "jwks_url": "https://x", "algorithms": ["RS256", "HS256"]}),
        json!({"admin": true}),
    ] {
        let mut entry = good.clone();
        for (name, value) in changes.as_object().unwrap() {
            entry[name] = value.clone();
        }
        assert!(open(&json!([entry])).is_err(), "{changes} was taken");
    }
}
