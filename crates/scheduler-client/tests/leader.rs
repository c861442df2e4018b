//! The search among real gRPC servers that say whether they lead.

#![expect(clippy::unwrap_used, reason = "in a test, also in what its steps share, a failure is to end it")]

use std::{
    net::{SocketAddr, TcpListener},
    time::Duration,
};

use scheduler_client::{HEALTH_SERVICE, Leader, SchedulerTls};
use service_kit::Readiness;
use tokio::runtime::{Builder, Runtime};
use tonic::{
    Status,
    transport::{Certificate, ClientTlsConfig, Identity, Server, ServerTlsConfig, server::TcpIncoming},
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

/// Certificates of one authority: its own, and one that both ends may show on this machine.
struct Authority {
    folder: tempfile::TempDir,
}

impl Authority {
    fn new() -> Self {
        let mut params = rcgen::CertificateParams::default();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let issuer = rcgen::CertifiedIssuer::self_signed(params, rcgen::KeyPair::generate().unwrap()).unwrap();
        let key = rcgen::KeyPair::generate().unwrap();
        let certificate =
            rcgen::CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap().signed_by(&key, &issuer).unwrap();
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in
            [("ca.pem", issuer.pem()), ("cert.pem", certificate.pem()), ("key.pem", key.serialize_pem())]
        {
            std::fs::write(folder.path().join(name), text).unwrap();
        }
        Self { folder }
    }

    fn file(&self, name: &str) -> std::path::PathBuf {
        self.folder.path().join(name)
    }

    fn read(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.file(name)).unwrap()
    }

    /// What a client needs that trusts this authority and shows a certificate of `shown`.
    fn client(&self, shown: &Self) -> ClientTlsConfig {
        let settings = SchedulerTls {
            scheduler_tls_ca: Some(self.file("ca.pem")),
            scheduler_tls_cert: Some(shown.file("cert.pem")),
            scheduler_tls_key: Some(shown.file("key.pem")),
        };
        settings.read().unwrap().unwrap()
    }
}

#[tokio::test]
async fn by_tls_both_ends_must_show_a_certificate_of_the_others_authority() {
    let _already = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let (ours, others) = (Authority::new(), Authority::new());
    let (health, service) = tonic_health::server::health_reporter();
    health.set_service_status(HEALTH_SERVICE, ServingStatus::Serving).await;
    let tls = ServerTlsConfig::new()
        .identity(Identity::from_pem(ours.read("cert.pem"), ours.read("key.pem")))
        .client_ca_root(Certificate::from_pem(ours.read("ca.pem")));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://{}", listener.local_addr().unwrap());
    let mut server = Server::builder().tls_config(tls).unwrap();
    tokio::spawn(server.add_service(service).serve_with_incoming(TcpIncoming::from(listener)));

    let leader = |tls: &ClientTlsConfig| Leader::with_tls(vec![url.clone()], Some(tls)).unwrap();
    assert!(leader(&ours.client(&ours)).jobs().await.is_ok());
    assert!(leader(&ours.client(&others)).jobs().await.is_err(), "the server does not know who vouches for the client");
    assert!(leader(&others.client(&ours)).jobs().await.is_err(), "the client does not know who vouches for the server");
    let nameless = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(ours.read("ca.pem")));
    assert!(leader(&nameless).jobs().await.is_err(), "the client shows no certificate");
    let plain = Leader::new(vec![url.replace("https", "http")]).unwrap();
    assert!(plain.jobs().await.is_err(), "without TLS");
}

#[test]
fn tls_settings_come_together_and_fit_the_urls() {
    let authority = Authority::new();
    let whole = SchedulerTls {
        scheduler_tls_ca: Some(authority.file("ca.pem")),
        scheduler_tls_cert: Some(authority.file("cert.pem")),
        scheduler_tls_key: Some(authority.file("key.pem")),
    };
    assert!(SchedulerTls::default().read().unwrap().is_none());
    let wrong: [(SchedulerTls, &str); 4] = [
        (SchedulerTls { scheduler_tls_ca: None, ..whole.clone() }, "SCHEDULER_TLS_CA: it is missing"),
        (SchedulerTls { scheduler_tls_cert: None, ..whole.clone() }, "SCHEDULER_TLS_CERT: it is missing"),
        (SchedulerTls { scheduler_tls_key: None, ..whole.clone() }, "SCHEDULER_TLS_KEY: it is missing"),
        (
            SchedulerTls { scheduler_tls_ca: Some("/nowhere/ca.pem".into()), ..whole.clone() },
            "SCHEDULER_TLS_CA: /nowhere/",
        ),
    ];
    for (settings, sentence) in wrong {
        let said = settings.read().unwrap_err().to_string();
        assert!(said.contains(&sentence.replace(": ", " cannot be used: ")), "{said}");
    }
    let tls = whole.read().unwrap().unwrap();
    for (url, tls) in [("http://127.0.0.1:1", Some(&tls)), ("https://127.0.0.1:1", None)] {
        assert!(
            Leader::with_tls(vec![url.to_owned()], tls).unwrap_err().to_string().contains("SCHEDULER_URLS"),
            "{url}"
        );
    }
}
