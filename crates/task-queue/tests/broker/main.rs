//! The task queue against a real RabbitMQ, each test in a virtual host of its own.
//!
//! Run it with one: `cargo run -p dev-stack -- with-servers -- cargo test -p task-queue`.

#![expect(clippy::unwrap_used, reason = "in a test, also in what its steps share, a failure is to end it")]

mod aborts;
mod dead;
mod junk;
mod offers;
mod publish;
mod recovery;

use std::time::Duration;

use dev_stack::scratch::VirtualHost;
use job_model::{JobId, TaskRef};
use lapin::{Channel, Connection, ConnectionProperties};
use service_kit::{Part, Readiness};
use task_queue::{AbortCommand, Broker, BrokerSettings, OfferDelivery, OfferEvent, Offers, Publisher};
use uuid::Uuid;

/// Far above what anything here takes; only a hang reaches it.
const LONG: Duration = Duration::from_secs(30);

/// A virtual host and a broker connected to it.
struct Rig {
    host: VirtualHost,
    broker: Broker,
    part: Part,
}

impl Rig {
    async fn new() -> Self {
        let host = virtual_host();
        let (broker, part) = connect(host.url());
        let rig = Self { host, broker, part };
        until(|| rig.part.is_ready()).await;
        rig
    }

    /// A plain channel, to do to the broker what Keyfleet does not.
    async fn channel(&self) -> Channel {
        let connection = Connection::connect(self.host.url(), ConnectionProperties::default()).await.unwrap();
        connection.create_channel().await.unwrap()
    }
}

fn virtual_host() -> VirtualHost {
    assert!(
        std::env::var_os("AMQP_URL").is_some(),
        "these tests need a RabbitMQ: run them as `cargo run -p dev-stack -- with-servers -- cargo test -p task-queue`"
    );
    VirtualHost::create().unwrap()
}

fn connect(url: &str) -> (Broker, Part) {
    let part = Readiness::default().part("rabbitmq");
    let broker = Broker::connect(&BrokerSettings::at(url.parse().unwrap()), part.clone()).unwrap();
    (broker, part)
}

fn tasks(count: u32) -> Vec<TaskRef> {
    let job = JobId::from_uuid(Uuid::from_u128(7));
    (0..count).map(|seq| TaskRef { job, seq }).collect()
}

fn abort(job: u128) -> AbortCommand {
    AbortCommand {
        job: JobId::from_uuid(Uuid::from_u128(job)),
        tenant: "kylo:kylo".parse().unwrap(),
        requested_by: "somebody".to_owned(),
    }
}

async fn in_time<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(LONG, future).await.expect("it takes far too long")
}

/// Looks again until it is so.
async fn until(mut so: impl FnMut() -> bool) {
    in_time(async {
        while !so() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}

async fn event(offers: &mut Offers) -> OfferEvent {
    in_time(offers.next()).await.expect("the stream is open")
}

async fn delivery(offers: &mut Offers) -> OfferDelivery {
    match event(offers).await {
        OfferEvent::Delivered(delivery) => delivery,
        OfferEvent::ChannelLost(generation) => panic!("channel {generation} was lost"),
    }
}

async fn deliveries(offers: &mut Offers, count: usize) -> Vec<OfferDelivery> {
    let mut all = Vec::new();
    while all.len() < count {
        all.push(delivery(offers).await);
    }
    all
}

/// Publishes again until it is certain, as callers do.
async fn publish_until_certain(publisher: &Publisher, tasks: &[TaskRef]) {
    in_time(async {
        while publisher.publish_offers(tasks).await.is_err() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
}

fn tags(deliveries: &[OfferDelivery]) -> Vec<(u64, u64)> {
    deliveries.iter().map(|delivery| (delivery.channel_generation, delivery.tag)).collect()
}

fn seqs(deliveries: &[OfferDelivery]) -> Vec<u32> {
    let mut seqs: Vec<u32> = deliveries.iter().map(|delivery| delivery.task.seq).collect();
    seqs.sort_unstable();
    seqs
}
