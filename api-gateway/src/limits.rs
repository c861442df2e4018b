//! How much the gateway takes on: requests at once, time for each, and requests a second of one token.

use std::{
    hash::{BuildHasher, RandomState},
    num::NonZeroU32,
    sync::Arc,
    time::Duration,
};

use axum::{
    extract::{Request, State},
    middleware::Next,
    response::{IntoResponse, Response},
};
use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter, clock::Clock as _};
use tokio::sync::Semaphore;

use crate::error::ApiError;

/// Admits so many requests at once and refuses the others at once: a queue would only make every client time out.
#[derive(Clone)]
pub(crate) struct Crowd(Arc<Semaphore>);

impl Crowd {
    pub(crate) fn of(most: NonZeroU32) -> Self {
        Self(Arc::new(Semaphore::new(most.get() as usize)))
    }

    /// The layer.
    pub(crate) async fn admit(State(Self(places)): State<Self>, request: Request, next: Next) -> Response {
        match places.try_acquire() {
            Ok(_place) => next.run(request).await,
            Err(_) => {
                ApiError::Unavailable("too many requests are being worked on; try again".to_owned()).into_response()
            }
        }
    }
}

/// The layer that gives a handler so much time until its answer begins.
pub(crate) async fn deadline(State(longest): State<Duration>, request: Request, next: Next) -> Response {
    match tokio::time::timeout(longest, next.run(request)).await {
        Ok(response) => response,
        Err(_) => too_late().into_response(),
    }
}

/// The answer when time is up.
pub(crate) fn too_late() -> ApiError {
    ApiError::Unavailable("the answer took too long; what was asked may still take effect".to_owned())
}

/// How many requests a second each token may make.
pub(crate) struct TokenRate {
    // By a keyed hash: the limiter must not keep tokens, and nobody may choose who shares a place.
    limiter: DefaultKeyedRateLimiter<u64>,
    hasher: RandomState,
}

impl TokenRate {
    pub(crate) fn new(per_second: NonZeroU32, burst: NonZeroU32) -> Self {
        Self {
            limiter: RateLimiter::keyed(Quota::per_second(per_second).allow_burst(burst)),
            hasher: RandomState::new(),
        }
    }

    /// Counts one request of this token.
    pub(crate) fn admit(&self, token: &str) -> Result<(), ApiError> {
        self.limiter.check_key(&self.hasher.hash_one(token)).map_err(|refused| ApiError::TooFast {
            message: "this token makes too many requests".to_owned(),
            retry_after: refused.wait_time_from(self.limiter.clock().now()),
        })
    }

    /// Forgets tokens that are at rest. To be called every minute or so.
    pub(crate) fn forget_idle(&self) {
        self.limiter.retain_recent();
        self.limiter.shrink_to_fit();
    }
}

#[cfg(test)]
mod tests {
    use axum::{Router, body::Body, middleware, routing::get};
    use tower::ServiceExt as _;

    use super::*;

    async fn status(router: &Router) -> u16 {
        let request = Request::new(Body::empty());
        router.clone().oneshot(request).await.unwrap().status().as_u16()
    }

    #[tokio::test]
    async fn one_too_many_is_refused_at_once_and_the_next_one_is_not() {
        let crowd = Crowd::of(NonZeroU32::MIN);
        let router = Router::new()
            .route("/", get(async || ""))
            .layer(middleware::from_fn_with_state(crowd.clone(), Crowd::admit));
        let place = crowd.0.try_acquire().unwrap();
        assert_eq!(status(&router).await, 503);
        drop(place);
        assert_eq!(status(&router).await, 200);
        assert_eq!(status(&router).await, 200);
    }

    #[tokio::test(start_paused = true)]
    async fn a_handler_that_never_ends_is_ended() {
        let router = Router::new()
            .route("/", get(async || std::future::pending::<()>().await))
            .layer(middleware::from_fn_with_state(Duration::from_secs(20), deadline));
        assert_eq!(status(&router).await, 503);
    }

    #[test]
    fn a_burst_is_allowed_and_more_is_not() {
        let few = NonZeroU32::new(3).unwrap();
        let rate = TokenRate::new(NonZeroU32::MIN, few);
        for _ in 0..3 {
            rate.admit("a").unwrap();
        }
        let Err(ApiError::TooFast { retry_after, .. }) = rate.admit("a") else { panic!("the fourth was admitted") };
        assert!(retry_after <= Duration::from_secs(1));
        rate.admit("b").unwrap();
    }
}
