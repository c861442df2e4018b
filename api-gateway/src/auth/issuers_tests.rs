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
    let caller = shared().verify("idp", &signed(&claims()), now()).await.unwrap();
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
    assert!(issuers.verify("idp", &signed(&claims()), now()).await.unwrap().is_admin());
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
        json!({"sub": null}),
    ] {
        let refused = shared().verify("idp", &signed(&with(&changes)), now()).await;
        assert!(matches!(refused, Err(ApiError::Unauthorized(_))), "{changes} was taken");
    }
    shared().verify("idp", &signed(&with(&json!({"aud": ["x", "keyfleet"], "nbf": NOW}))), now()).await.unwrap();
    assert!(shared().verify("unknown", &signed(&claims()), now()).await.is_err());
}

#[tokio::test]
async fn the_algorithm_never_comes_from_the_token() {
    for algorithm in ["none", "None", "HS384", "HS512", "RS256", "ES256"] {
        let token = unsigned(&json!({"alg": algorithm, "typ": "JWT"}), &claims());
        assert!(shared().verify("idp", &token, now()).await.is_err(), "{algorithm} was taken");
    }
    let other = EncodingKey::from_secret(SECRET.as_bytes());
    let hs512 = jsonwebtoken::encode(&Header::new(Algorithm::HS512), &claims(), &other).unwrap();
    assert!(shared().verify("idp", &hs512, now()).await.is_err());
    let wrong = EncodingKey::from_secret(b"another secret of thirty-two bytes");
    let forged = jsonwebtoken::encode(&Header::new(Algorithm::HS256), &claims(), &wrong).unwrap();
    assert!(shared().verify("idp", &forged, now()).await.is_err());
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
        at.issuers.verify("idp", &es256(&at.private, id), now()).await.unwrap();
    }
    assert_eq!(at.server.received_requests().await.unwrap().len(), 1);
    // The last good set stays when the issuer is gone.
    let token = es256(&at.private, Some("one"));
    drop(at.server);
    at.issuers.verify("idp", &token, now()).await.unwrap();
}

#[tokio::test]
async fn made_up_key_ids_do_not_hammer_the_issuer() {
    let (_, at) = published(Value::Null).await;
    for number in 0..20 {
        let token = es256(&at.private, Some(&format!("made-up-{number}")));
        let refused = at.issuers.verify("idp", &token, now()).await;
        assert!(matches!(refused, Err(ApiError::Unauthorized(_))), "{refused:?}");
    }
    assert_eq!(at.server.received_requests().await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_public_key_is_never_taken_for_a_shared_secret() {
    let (_, at) = published(Value::Null).await;
    let mut header = Header::new(Algorithm::HS256);
    header.kid = Some("one".to_owned());
    let key = EncodingKey::from_secret(at.public_pem.as_bytes());
    let confused = jsonwebtoken::encode(&header, &claims(), &key).unwrap();
    assert!(at.issuers.verify("idp", &confused, now()).await.is_err());
    let other = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
    let other = EncodingKey::from_ec_pem(other.serialize_pem().as_bytes()).unwrap();
    assert!(at.issuers.verify("idp", &es256(&other, Some("one")), now()).await.is_err());
}

#[tokio::test]
async fn a_published_shared_secret_is_not_used() {
    let secret =
        json!({"kty": "oct", "kid": "one", "alg": "HS256", "k": "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY"});
    let (_, at) = published(json!({"keys": [secret]})).await;
    assert!(at.issuers.verify("idp", &es256(&at.private, Some("one")), now()).await.is_err());
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
    let answer = tokio::time::timeout(Duration::from_secs(30), issuers.verify("idp", &es256(&key, None), now())).await;
    assert!(matches!(answer, Ok(Err(ApiError::Unavailable(_)))));
}

#[test]
fn a_configuration_that_makes_no_sense_is_refused() {
    let good = json!({"issuer": "idp", "audience": "a", "hs256_secret": SECRET, "tenant": "acme:ops"});
    assert!(open(&json!([good])).is_ok());
    for changes in [
        json!({"issuer": "kylo"}),
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
