use std::{
    cell::Cell,
    sync::atomic::{AtomicBool, AtomicU32, Ordering},
};

use aws_credential_types::provider::SharedCredentialsProvider;
use job_model::JobId;

use super::*;
use crate::{
    lease::{Heartbeats, Lease},
    stops::Stops,
};

thread_local! { static NOW: Cell<u64> = const { Cell::new(10) } }

fn clock() -> Moment {
    Moment::from_nanos(NOW.get())
}

fn pass(span: Duration) {
    NOW.set((clock() + span).as_nanos());
}

/// Counts how often it is asked, and does what it is set to.
#[derive(Clone, Debug, Default)]
struct Giver(Arc<Does>);

#[derive(Debug, Default)]
struct Does {
    asked: AtomicU32,
    hangs: AtomicBool,
    has_none: AtomicBool,
    lasts_s: AtomicU32,
}

impl ProvideCredentials for Giver {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        let asked = self.0.asked.fetch_add(1, Ordering::SeqCst) + 1;
        if self.0.hangs.load(Ordering::SeqCst) {
            return future::ProvideCredentials::new(std::future::pending());
        }
        future::ProvideCredentials::ready(match self.0.has_none.load(Ordering::SeqCst) {
            true => Err(CredentialsError::not_loaded("nobody has any")),
            false => {
                let lasts = Duration::from_secs(self.0.lasts_s.load(Ordering::SeqCst).into());
                let end = (!lasts.is_zero()).then(|| (service_kit::clock::wall() + lasts).into());
                Ok(Credentials::new(format!("AKID{asked}"), "secret", None, end, "test"))
            }
        })
    }
}

impl Giver {
    fn source(&self) -> Arc<Source> {
        Source::new(Origin::Chain(SharedCredentialsProvider::new(self.clone())), " by the test".to_owned(), clock)
    }

    fn asked(&self) -> u32 {
        self.0.asked.load(Ordering::SeqCst)
    }
}

async fn id(source: &Arc<Source>) -> String {
    source.get().await.unwrap().access_key_id().to_owned()
}

/// Lets the load that runs beside come to its end.
async fn loaded(source: &Arc<Source>) {
    let loading = source.state().loading.clone();
    if let Some(mut loading) = loading {
        while loading.changed().await.is_ok() {}
    }
}

#[tokio::test]
async fn many_who_want_some_have_them_loaded_once() {
    let giver = Giver::default();
    let source = giver.source();
    let all = futures_util::future::join_all((0..100).map(|_| source.get())).await;
    assert!(all.into_iter().all(|got| got.unwrap().access_key_id() == "AKID1"));
    pass(Duration::from_secs(1_000_000));
    assert_eq!((id(&source).await.as_str(), giver.asked()), ("AKID1", 1), "they have no end");
}

#[tokio::test]
async fn they_are_renewed_before_their_end_and_nobody_waits() {
    let giver = Giver::default();
    giver.0.lasts_s.store(3600, Ordering::SeqCst);
    let source = giver.source();
    assert_eq!(id(&source).await, "AKID1");
    pass(Duration::from_secs(3299));
    assert_eq!((id(&source).await.as_str(), giver.asked()), ("AKID1", 1));
    pass(Duration::from_secs(2));
    giver.0.has_none.store(true, Ordering::SeqCst);
    assert_eq!(id(&source).await, "AKID1", "the old ones, while others are asked for");
    loaded(&source).await;
    assert_eq!((id(&source).await.as_str(), giver.asked()), ("AKID1", 2), "also when there are none yet");
    giver.0.has_none.store(false, Ordering::SeqCst);
    pass(MEMORY);
    assert_eq!(id(&source).await, "AKID1");
    loaded(&source).await;
    assert_eq!((id(&source).await.as_str(), giver.asked()), ("AKID3", 3));
    pass(Duration::from_secs(3595));
    assert_eq!(id(&source).await, "AKID4", "what is as good as over is not given out");
}

#[tokio::test]
async fn a_failure_is_remembered_for_a_while() {
    let giver = Giver::default();
    giver.0.has_none.store(true, Ordering::SeqCst);
    let source = giver.source();
    for _ in 0..3 {
        let lack = source.get().await.unwrap_err();
        assert_eq!(lack.failure(), Failure::Refused(super::super::origin::refusal(lack.text.clone())));
        assert!(lack.text.contains("by the test") && lack.text.contains("nobody has any"), "{lack}");
    }
    assert_eq!(giver.asked(), 1);
    pass(MEMORY);
    giver.0.has_none.store(false, Ordering::SeqCst);
    assert_eq!((id(&source).await.as_str(), giver.asked()), ("AKID2", 2));
}

#[tokio::test(start_paused = true)]
async fn one_who_hangs_is_given_up_and_remembered() {
    let giver = Giver::default();
    giver.0.hangs.store(true, Ordering::SeqCst);
    let source = giver.source();
    let lack = source.get().await.unwrap_err();
    assert!(!lack.passing, "{lack}");
    assert_eq!(source.get().await.unwrap_err(), lack);
    assert_eq!(giver.asked(), 1);
}

#[tokio::test]
async fn what_has_ended_when_it_comes_is_none() {
    let giver = Giver::default();
    giver.0.lasts_s.store(1, Ordering::SeqCst);
    let source = giver.source();
    source.settle(Ok(Loaded {
        credentials: Credentials::new("AKID", "secret", None, None, "test"),
        lasts: Some(Duration::ZERO),
    }));
    assert!(source.get().await.unwrap_err().text.contains("expired"));
    assert_eq!(giver.asked(), 0);
}

#[tokio::test]
async fn what_aws_calls_no_good_is_loaded_anew_unless_it_is_fresh() {
    let giver = Giver::default();
    let source = giver.source();
    assert_eq!(id(&source).await, "AKID1");
    source.distrust(clock());
    assert_eq!(id(&source).await, "AKID1");
    pass(MEMORY);
    source.distrust(clock());
    assert_eq!(id(&source).await, "AKID2");
}

#[tokio::test(start_paused = true)]
async fn one_who_waits_for_credentials_heeds_an_abort_at_once() {
    let giver = Giver::default();
    giver.0.hangs.store(true, Ordering::SeqCst);
    let source = giver.source();
    let lease = Arc::new(Lease::default());
    let mut beats = Heartbeats::new(lease.clone());
    let number = beats.beat(clock());
    beats.granted(number, Duration::from_secs(3600), clock());
    let (stops, job) = (Stops::default(), JobId::from_uuid(uuid::Uuid::from_u128(1)));
    let permit = Permit::for_go(&lease, stops.flag(job), clock);
    permit.begin().unwrap();
    let begun = tokio::time::Instant::now();
    let abort = async {
        sleep(Duration::from_secs(1)).await;
        stops.set(job, clock());
    };
    let (ready, ()) = tokio::join!(source.ready(&permit), abort);
    assert_eq!(ready, Err(Failure::Void));
    assert!(begun.elapsed() <= Duration::from_secs(1) + 2 * GLANCE);
}
