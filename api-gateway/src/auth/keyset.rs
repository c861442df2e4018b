//! The published keys of an outside issuer, fetched when needed.
//!
//! Keys rotate: an unknown key id is a reason to fetch again, but whoever sends made-up ids must not make the gateway
//! hammer the issuer, so fetches have a pause between them. When the issuer cannot be reached the last good set stays.

use std::{
    collections::HashMap,
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use job_model::Moment;
use jsonwebtoken::{
    DecodingKey,
    jwk::{AlgorithmParameters, Jwk, JwkSet, PublicKeyUse},
};
use tokio::sync::Mutex;

use super::caller::unauthorized;
use crate::error::ApiError;

/// The least time between two fetches.
const PAUSE: Duration = Duration::from_secs(10);
/// A set older than this is fetched again, so that a key that was taken back goes.
const FRESH: Duration = Duration::from_secs(10 * 60);
/// How long one fetch may take.
const FETCH: Duration = Duration::from_secs(3);
/// The largest set read. Real ones have a few kilobytes.
const MOST_BYTES: usize = 1 << 20;

/// One issuer's keys.
pub(super) struct KeySet {
    url: String,
    http: reqwest::Client,
    keys: RwLock<Keys>,
    /// When the last fetch began; held while one is under way.
    tried: Mutex<Option<Moment>>,
}

#[derive(Default)]
struct Keys {
    by_id: HashMap<String, Arc<DecodingKey>>,
    /// The keys that have no id.
    nameless: Vec<Arc<DecodingKey>>,
    fetched: Option<Moment>,
}

/// The set could not be fetched.
#[derive(Debug, thiserror::Error)]
enum FetchError {
    #[error("{0}")]
    Http(#[from] reqwest::Error),
    #[error("it has more than {MOST_BYTES} bytes")]
    TooLarge,
    #[error("it is not a key set: {0}")]
    Malformed(#[from] serde_json::Error),
}

impl KeySet {
    pub(super) fn at(url: String) -> Result<Arc<Self>, reqwest::Error> {
        let http = reqwest::Client::builder()
            .timeout(FETCH)
            .connect_timeout(FETCH)
            .redirect(reqwest::redirect::Policy::limited(2))
            .build()?;
        Ok(Arc::new(Self { url, http, keys: RwLock::default(), tried: Mutex::default() }))
    }

    /// The key of this id; of a token without one, the only key there is. `now` paces the fetches.
    pub(super) async fn key(self: &Arc<Self>, id: Option<&str>, now: Moment) -> Result<Arc<DecodingKey>, ApiError> {
        let (found, fetched) = self.find(id);
        if let Some(key) = found {
            if fetched.is_some_and(|fetched| now.since(fetched) > FRESH) {
                let set = Arc::clone(self);
                tokio::spawn(async move { set.fetch_again(now).await });
            }
            return Ok(key);
        }
        self.fetch_again(now).await;
        match self.find(id) {
            (Some(key), _) => Ok(key),
            (None, Some(_)) => Err(unauthorized("the token's issuer has no such key")),
            (None, None) => {
                Err(ApiError::Unavailable("the keys of the token's issuer cannot be fetched now".to_owned()))
            }
        }
    }

    fn find(&self, id: Option<&str>) -> (Option<Arc<DecodingKey>>, Option<Moment>) {
        let keys = self.keys.read().unwrap_or_else(PoisonError::into_inner);
        let key = match id {
            Some(id) => keys.by_id.get(id).cloned(),
            None => {
                let mut all = keys.by_id.values().chain(&keys.nameless);
                all.next().filter(|_| all.next().is_none()).cloned()
            }
        };
        (key, keys.fetched)
    }

    /// Fetches the set, unless it was tried shortly before.
    async fn fetch_again(&self, now: Moment) {
        let mut tried = self.tried.lock().await;
        if tried.is_some_and(|tried| now.since(tried) < PAUSE) {
            return;
        }
        *tried = Some(now);
        match self.fetch().await {
            Ok(set) => {
                let keys = Keys::of(&set, now);
                *self.keys.write().unwrap_or_else(PoisonError::into_inner) = keys;
            }
            Err(error) => tracing::warn!(url = self.url, %error, "An issuer's keys could not be fetched."),
        }
    }

    async fn fetch(&self) -> Result<JwkSet, FetchError> {
        let mut response = self.http.get(&self.url).send().await?.error_for_status()?;
        let mut body = Vec::new();
        while let Some(piece) = response.chunk().await? {
            if body.len() + piece.len() > MOST_BYTES {
                return Err(FetchError::TooLarge);
            }
            body.extend_from_slice(&piece);
        }
        Ok(serde_json::from_slice(&body)?)
    }
}

impl Keys {
    /// The keys that can check signatures; shared secrets and keys for encryption have no business in a public set.
    fn of(set: &JwkSet, now: Moment) -> Self {
        let mut keys = Self { fetched: Some(now), ..Self::default() };
        let signs = |jwk: &&Jwk| {
            !matches!(jwk.algorithm, AlgorithmParameters::OctetKey(_))
                && jwk.common.public_key_use.as_ref().is_none_or(|usage| *usage == PublicKeyUse::Signature)
        };
        for jwk in set.keys.iter().filter(signs) {
            let Ok(key) = DecodingKey::from_jwk(jwk).map(Arc::new) else { continue };
            match &jwk.common.key_id {
                Some(id) => {
                    keys.by_id.insert(id.clone(), key);
                }
                None => keys.nameless.push(key),
            }
        }
        keys
    }
}
