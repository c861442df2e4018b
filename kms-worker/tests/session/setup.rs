//! A worker in this process, its vhost, its KMS end, and a leader for it.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use clap::Parser;
use dev_stack::scratch::VirtualHost;
use job_model::{JobId, KeyAddress, TaskRef};
use kms_sim::{NewKeys, Sim};
use kms_worker::{
    Settings,
    kms::{Kms, KmsSettings},
    permit::Clock,
};
use service_kit::{Readiness, Service, clock, settings::Secret};
use task_queue::{AbortCommand, Broker, BrokerSettings, OfferEvent, Publisher};
use tokio::task::JoinHandle;

use crate::leader::{Leader, within};

const REGION: &str = "us-east-1";
const ACCOUNT: &str = "111122223333";

pub(crate) fn address(id: &str) -> KeyAddress {
    KeyAddress { account: ACCOUNT.into(), region: REGION.into(), id: id.into() }
}

/// A clock that a test can push forward: one per test, since clocks are plain functions.
pub(crate) struct Ahead(AtomicU64);

impl Ahead {
    pub(crate) const fn new() -> Self {
        Self(AtomicU64::new(0))
    }

    pub(crate) fn now(&self) -> job_model::Moment {
        clock::boottime() + Duration::from_secs(self.0.load(Ordering::SeqCst))
    }

    /// As a machine that slept for a day.
    pub(crate) fn sleep_for_a_day(&self) {
        self.0.fetch_add(24 * 60 * 60, Ordering::SeqCst);
    }
}

/// Everything round one worker.
pub(crate) struct Setup {
    pub(crate) leader: Leader,
    pub(crate) sim: Sim,
    pub(crate) broker: Broker,
    pub(crate) publisher: Publisher,
    pub(crate) service: Service,
    pub(crate) worker: JoinHandle<()>,
    // Last: removed after all who use it.
    vhost: VirtualHost,
}

impl Setup {
    pub(crate) async fn new() -> Self {
        Self::with_clock(clock::boottime).await
    }

    pub(crate) async fn with_clock(clock: Clock) -> Self {
        // Longer than any request is held here.
        Self::with_timeout(Duration::from_secs(15), clock).await
    }

    pub(crate) async fn with_timeout(operation_timeout: Duration, clock: Clock) -> Self {
        Self::with_settings(operation_timeout, clock, &[]).await
    }

    /// With this file of connections.
    pub(crate) async fn with_connections(file: &str) -> Self {
        Self::with_settings(Duration::from_secs(15), clock::boottime, &["--connections-file", file]).await
    }

    async fn with_settings(operation_timeout: Duration, clock: Clock, more: &[&str]) -> Self {
        let mut setup = Self::without_worker().await;
        let (leader, sim) = (setup.leader.url(), setup.sim.url());
        let mut arguments = vec!["kms-worker", "--amqp-url", setup.amqp_url(), "--scheduler-urls", &leader];
        arguments.extend(["--aws-endpoint-url-kms", &sim, "--aws-endpoint-url-sts", &sim]);
        arguments.extend(more);
        let settings = Settings::try_parse_from(arguments).unwrap();
        let kms_settings = KmsSettings {
            endpoint: settings.aws_endpoint_url_kms.clone(),
            sts_endpoint: settings.aws_endpoint_url_sts.clone(),
            region: REGION.to_owned(),
            operation_timeout,
            session_name: "keyfleet-test".to_owned(),
        };
        let kms = Kms::with_credentials(kms_settings, "AKIDEXAMPLE", &Secret::new("secret".to_owned()), clock);
        let service = setup.service.clone();
        setup.worker = tokio::spawn(async move {
            kms_worker::serve_with(kms, clock, &settings, service).await.unwrap();
        });
        setup
    }

    /// Everything but the worker.
    pub(crate) async fn without_worker() -> Self {
        let vhost = VirtualHost::create().unwrap();
        let sim = Sim::start(kms_sim::Settings::with_quota(job_model::quota::Quotas::off())).await.unwrap();
        let leader = Leader::start().await;
        let broker =
            Broker::connect(&BrokerSettings::at(vhost.url().parse().unwrap()), Readiness::default().part("test"));
        let broker = broker.unwrap();
        let (service, worker) = (Service::default(), tokio::spawn(async {}));
        Self { leader, sim, publisher: broker.publisher(), broker, service, worker, vhost }
    }

    pub(crate) fn amqp_url(&self) -> &str {
        self.vhost.url()
    }

    /// A key in this state.
    pub(crate) fn key(&self, state: kms_sim::KeyState) -> String {
        self.key_of(ACCOUNT, state)
    }

    /// The same in this account.
    pub(crate) fn key_of(&self, account: &str, state: kms_sim::KeyState) -> String {
        let account = Some(account.to_owned());
        let new = NewKeys { count: Some(1), state: Some(state), account, ..NewKeys::default() };
        self.sim.make_keys(new).unwrap().remove(0)
    }

    /// Offers these tasks.
    pub(crate) async fn offer(&self, tasks: &[TaskRef]) {
        within("the broker's confirm", async {
            while self.publisher.publish_offers(tasks).await.is_err() {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        })
        .await;
    }

    /// Broadcasts an abort.
    pub(crate) async fn broadcast_abort(&self, job: JobId) {
        let command = AbortCommand { job, tenant: "kylo:kylo".parse().unwrap(), requested_by: "test".to_owned() };
        within("the broker's confirm", async {
            while self.publisher.publish_abort(command.clone()).await.is_err() {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        })
        .await;
    }

    /// Asks the worker to stop and waits until it has.
    pub(crate) async fn stop(&mut self) {
        self.service.shutdown.request();
        within("the worker's end", &mut self.worker).await.unwrap();
    }

    /// All tasks that lie in the queue once the worker is gone.
    pub(crate) async fn left_over(&self) -> Vec<TaskRef> {
        let sentinel = task(u128::MAX - 1, 0);
        self.offer(&[sentinel]).await;
        let mut offers = self.broker.consume_offers(100);
        let mut left = Vec::new();
        loop {
            match within("the sentinel", offers.next()).await.expect("the broker goes on") {
                OfferEvent::Delivered(delivery) if delivery.task == sentinel => break,
                OfferEvent::Delivered(delivery) => left.push(delivery.task),
                OfferEvent::ChannelLost(_) => left.clear(),
            }
        }
        offers.close().await;
        left
    }

    /// The KMS operations made on the key, in their order.
    pub(crate) fn made(&self, key: &str) -> Vec<&'static str> {
        let log = self.sim.log(0);
        log.iter().filter(|row| row.key.as_deref() == Some(key)).filter_map(|row| Some(row.op?.name())).collect()
    }
}

/// A task of a made-up job.
pub(crate) fn task(job: u128, seq: u32) -> TaskRef {
    TaskRef { job: JobId::from_uuid(uuid::Uuid::from_u128(job)), seq }
}
