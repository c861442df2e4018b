//! The search among real gRPC servers that say whether they lead.

#![expect(clippy::unwrap_used, reason = "in a test, also in what its steps share, a failure is to end it")]

use std::{
    net::{SocketAddr, TcpListener},
    time::Duration,
};

use scheduler_client::{HEALTH_SERVICE, Leader};
use service_kit::Readiness;
use tokio::runtime::{Builder, Runtime};
use tonic::{
    Status,
    transport::{Server, server::TcpIncoming},
};
use tonic_health::{ServingStatus, server::HealthReporter};

/// Far above what anything here takes; only a hang reaches it.
const LONG: Duration = Duration::from_secs(30);

/// A server on threads of its own, so that stopping it ends its connections too.
struct Replica {
    url: String,
    health: HealthReporter,
    runtime: Option<Runtime>,
}

impl Replica {
    async fn start(status: ServingStatus) -> Self {
        Self::start_on(TcpListener::bind("127.0.0.1:0").unwrap(), status).await
    }

    async fn start_on(listener: TcpListener, status: ServingStatus) -> Self {
        let url = url(listener.local_addr().unwrap());
        listener.set_nonblocking(true).unwrap();
        let (health, service) = tonic_health::server::health_reporter();
        health.set_service_status(HEALTH_SERVICE, status).await;
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        runtime.spawn(async move {
            let incoming = TcpIncoming::from(tokio::net::TcpListener::from_std(listener).unwrap());
            Server::builder().add_service(service).serve_with_incoming(incoming).await.unwrap();
        });
        Self { url, health, runtime: Some(runtime) }
    }

    async fn say(&self, status: ServingStatus) {
        self.health.set_service_status(HEALTH_SERVICE, status).await;
    }

    fn address(&self) -> SocketAddr {
        self.url.trim_start_matches("http://").parse().unwrap()
    }
}

impl Drop for Replica {
    fn drop(&mut self) {
        self.runtime.take().unwrap().shutdown_background();
    }
}

/// Looks again until it is so.
async fn until(mut so: impl AsyncFnMut() -> bool) {
    let waiting = async {
        while !so().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(LONG, waiting).await.expect("it to become so");
}

fn url(address: SocketAddr) -> String {
    format!("http://{address}")
}

#[tokio::test]
async fn the_replica_that_serves_is_found() {
    let standby = Replica::start(ServingStatus::NotServing).await;
    let leading = Replica::start(ServingStatus::Serving).await;
    let leader = Leader::new(vec![standby.url.clone(), leading.url.clone()]).unwrap();
    assert_eq!(leader.current(), None);
    leader.jobs().await.unwrap();
    assert_eq!(leader.current().as_ref(), Some(&leading.url));
}

#[tokio::test]
async fn after_a_refusal_the_new_leader_is_found() {
    let first = Replica::start(ServingStatus::Serving).await;
    let second = Replica::start(ServingStatus::NotServing).await;
    let leader = Leader::new(vec![first.url.clone(), second.url.clone()]).unwrap();
    leader.workers().await.unwrap();
    first.say(ServingStatus::NotServing).await;
    second.say(ServingStatus::Serving).await;
    assert!(!leader.note(&Status::not_found("no such job")));
    assert_eq!(leader.current().as_ref(), Some(&first.url));
    assert!(leader.note(&Status::unavailable("a standby")));
    leader.workers().await.unwrap();
    assert_eq!(leader.current().as_ref(), Some(&second.url));
}

#[tokio::test]
async fn without_a_leader_each_replica_says_why() {
    let standby = Replica::start(ServingStatus::NotServing).await;
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let leader = Leader::new(vec![standby.url.clone(), url(nobody)]).unwrap();
    let error = leader.jobs().await.unwrap_err().to_string();
    assert!(error.contains(&format!("{}: a standby", standby.url)), "{error}");
    assert!(error.contains("onnection refused"), "{error}");
}

#[tokio::test]
async fn a_silent_replica_does_not_hide_the_leader() {
    // Accepts at the kernel's hand and never answers.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let leading = Replica::start(ServingStatus::Serving).await;
    let leader = Leader::new(vec![url(silent.local_addr().unwrap()), leading.url.clone()]).unwrap();
    leader.jobs().await.unwrap();
    assert_eq!(leader.current().as_ref(), Some(&leading.url));
    let alone = Leader::new(vec![url(silent.local_addr().unwrap())]).unwrap();
    tokio::time::timeout(LONG, alone.jobs()).await.expect("a deadline").unwrap_err();
}

#[tokio::test]
async fn a_replica_that_comes_back_on_its_port_is_found_again() {
    let first = Replica::start(ServingStatus::Serving).await;
    let address = first.address();
    let leader = Leader::new(vec![first.url.clone()]).unwrap();
    leader.jobs().await.unwrap();
    drop(first);
    until(async || {
        leader.lost();
        leader.jobs().await.is_err()
    })
    .await;
    let mut listener = None;
    until(async || {
        listener = TcpListener::bind(address).ok();
        listener.is_some()
    })
    .await;
    let _second = Replica::start_on(listener.unwrap(), ServingStatus::Serving).await;
    leader.wait(LONG).await.unwrap();
}

#[tokio::test]
async fn many_callers_share_one_search() {
    let standby = Replica::start(ServingStatus::NotServing).await;
    let leader = Leader::new(vec![standby.url.clone()]).unwrap();
    let calls: Vec<_> = (0..100)
        .map(|_| {
            let leader = leader.clone();
            tokio::spawn(async move { leader.jobs().await.map(drop) })
        })
        .collect();
    for call in calls {
        assert!(call.await.unwrap().is_err());
    }
    standby.say(ServingStatus::Serving).await;
    leader.jobs().await.unwrap();
}

#[tokio::test]
async fn the_watch_tells_readiness_by_itself() {
    let first = Replica::start(ServingStatus::Serving).await;
    let second = Replica::start(ServingStatus::NotServing).await;
    let leader = Leader::new(vec![first.url.clone(), second.url.clone()]).unwrap();
    let readiness = Readiness::default();
    let part = readiness.part("job-scheduler");
    let watch = tokio::spawn(leader.clone().watch(part.clone()));
    until(async || part.is_ready()).await;
    first.say(ServingStatus::NotServing).await;
    until(async || !part.is_ready()).await;
    second.say(ServingStatus::Serving).await;
    until(async || part.is_ready() && leader.current().as_ref() == Some(&second.url)).await;
    watch.abort();
}

#[tokio::test]
async fn wrong_urls_are_told_in_one_sentence() {
    for (urls, sentence) in [
        (vec![], "The setting SCHEDULER_URLS cannot be used: it names no scheduler."),
        (
            vec!["127.0.0.1:7000"],
            "The setting SCHEDULER_URLS cannot be used: \"127.0.0.1:7000\" is not written http://host:port.",
        ),
    ] {
        let urls = urls.into_iter().map(str::to_owned).collect();
        assert_eq!(Leader::new(urls).unwrap_err().to_string(), sentence);
    }
}
