//! Lost channels, lost connections, a silent broker, a broker that comes late.

use dev_stack::{Net, Relay};
use lapin::options::QueueDeleteOptions;
use service_kit::Readiness;
use task_queue::{Broker, BrokerSettings, OfferEvent, PublishError};
use tokio::time::Instant;

use crate::{
    LONG, Rig, abort, connect, deliveries, delivery, event, in_time, publish_until_certain, seqs, tags, tasks, until,
    virtual_host,
};

#[tokio::test]
async fn after_a_cut_unanswered_deliveries_come_again_on_a_new_channel() {
    let host = virtual_host();
    let (net, url) = Relay::before(host.url()).await.unwrap();
    let (broker, part) = connect(&url);
    until(|| part.is_ready()).await;
    let publisher = broker.publisher();
    in_time(publisher.publish_offers(&tasks(4))).await.unwrap();
    let mut offers = broker.consume_offers(100);
    let got = deliveries(&mut offers, 4).await;

    net.set(Net::Cut);
    until(|| !part.is_ready()).await;
    in_time(publisher.publish_offers(&tasks(1))).await.unwrap_err();
    assert_eq!(event(&mut offers).await, OfferEvent::ChannelLost(got[0].channel_generation));
    // For a dead channel: must not be taken for one of the next channel's.
    offers.ack(&tags(&got));

    net.set(Net::Whole);
    until(|| part.is_ready()).await;
    let again = deliveries(&mut offers, 4).await;
    assert_eq!(seqs(&again), [0, 1, 2, 3]);
    assert!(again.iter().all(|delivery| delivery.redelivered));
    assert!(again.iter().all(|delivery| delivery.channel_generation > got[0].channel_generation));
    offers.ack(&tags(&again));
    publish_until_certain(&publisher, &tasks(1)).await;
    assert!(!delivery(&mut offers).await.redelivered);
}

#[tokio::test]
async fn a_deleted_queue_comes_back_under_its_consumers() {
    let rig = Rig::new().await;
    in_time(rig.broker.publisher().publish_offers(&tasks(1))).await.unwrap();
    let mut offers = rig.broker.consume_offers(10);
    let got = delivery(&mut offers).await;
    let channel = rig.channel().await;
    channel.queue_delete("keyfleet.tasks.v1".into(), QueueDeleteOptions::default()).await.unwrap();
    assert_eq!(event(&mut offers).await, OfferEvent::ChannelLost(got.channel_generation));
    assert!(rig.part.is_ready(), "the connection is whole");
    publish_until_certain(&rig.broker.publisher(), &tasks(1)).await;
    let again = delivery(&mut offers).await;
    assert!(again.channel_generation > got.channel_generation);
}

#[tokio::test]
async fn a_silent_broker_delays_a_publish_by_its_deadline_only() {
    let host = virtual_host();
    let (net, url) = Relay::before(host.url()).await.unwrap();
    let (broker, part) = connect(&url);
    until(|| part.is_ready()).await;
    let publisher = broker.publisher();
    in_time(publisher.publish_offers(&tasks(1))).await.unwrap();
    net.set(Net::Held);
    let one = tasks(1);
    let begun = Instant::now();
    let (offers, command) =
        in_time(async { tokio::join!(publisher.publish_offers(&one), publisher.publish_abort(abort(1))) }).await;
    assert!(matches!(offers, Err(PublishError::TimedOut)), "{offers:?}");
    assert!(matches!(command, Err(PublishError::TimedOut)), "{command:?}");
    assert!(begun.elapsed() < LONG / 2);
    // Found dead by its heartbeat, and made anew once the network is whole.
    until(|| !part.is_ready()).await;
    net.set(Net::Whole);
    until(|| part.is_ready()).await;
    publish_until_certain(&publisher, &tasks(1)).await;
}

#[tokio::test]
async fn everything_closes_in_time_with_a_silent_broker() {
    let host = virtual_host();
    let (net, url) = Relay::before(host.url()).await.unwrap();
    let (broker, part) = connect(&url);
    until(|| part.is_ready()).await;
    in_time(broker.publisher().publish_offers(&tasks(2))).await.unwrap();
    let mut offers = broker.consume_offers(10);
    let got = deliveries(&mut offers, 2).await;
    net.set(Net::Held);
    offers.ack(&tags(&got));
    in_time(offers.close()).await;
    in_time(broker.close()).await;
}

#[tokio::test]
async fn a_worker_hears_aborts_again_after_a_cut() {
    let host = virtual_host();
    let (net, url) = Relay::before(host.url()).await.unwrap();
    let (broker, part) = connect(&url);
    until(|| part.is_ready()).await;
    let worker = job_model::WorkerId::from_uuid(uuid::Uuid::from_u128(1));
    let mut aborts = broker.consume_aborts_as_worker(worker);
    net.set(Net::Cut);
    until(|| !part.is_ready()).await;
    net.set(Net::Whole);
    until(|| part.is_ready()).await;
    let publisher = broker.publisher();
    let mut heard = false;
    in_time(async {
        while !heard {
            let _again_if_not = publisher.publish_abort(abort(9)).await;
            let wait = std::time::Duration::from_millis(50);
            heard = matches!(tokio::time::timeout(wait, aborts.next()).await, Ok(Some(_)));
        }
    })
    .await;
}

#[tokio::test]
async fn a_broker_that_comes_late_is_waited_for() {
    let host = virtual_host();
    let (net, url) = Relay::before(host.url()).await.unwrap();
    net.set(Net::Cut);
    let (broker, part) = connect(&url);
    let mut offers = broker.consume_offers(10);
    let publisher = broker.publisher();
    let error = in_time(publisher.publish_offers(&tasks(1))).await.unwrap_err();
    assert!(matches!(error, PublishError::NotConnected), "{error}");
    assert!(!part.is_ready());
    net.set(Net::Whole);
    until(|| part.is_ready()).await;
    publish_until_certain(&publisher, &tasks(1)).await;
    delivery(&mut offers).await;
}

#[tokio::test]
async fn a_wrong_url_is_told_without_its_password() {
    let part = Readiness::default().part("rabbitmq");
    let settings = BrokerSettings::at("postgres://u:hunter2@h/d".parse().unwrap());
    assert_eq!(
        Broker::connect(&settings, part).unwrap_err().to_string(),
        "The setting AMQP_URL cannot be used: postgres://u:[redacted]@h/d is not written \
         amqp://user:password@host:port/vhost."
    );
}

#[tokio::test]
async fn a_wrong_password_is_told_by_readiness() {
    let host = virtual_host();
    let (user, place) = host.url().rsplit_once('@').unwrap();
    let wrong = format!("{}:wrong@{place}", user.rsplit_once(':').unwrap().0);
    let readiness = Readiness::default();
    let settings = BrokerSettings::at(wrong.parse().unwrap());
    let _broker = Broker::connect(&settings, readiness.part("rabbitmq")).unwrap();
    until(|| readiness.missing()["rabbitmq"].contains("ACCESS_REFUSED")).await;
}
