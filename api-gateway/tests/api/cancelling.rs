//! Cancel: whom it asks, and when it says 200.

use std::time::Duration;

use axum::body::Body;
use dev_stack::scratch::VirtualHost;
use http::Method;
use service_kit::Readiness;
use task_queue::{AbortCommand, Broker, BrokerSettings};

use crate::support::{JOBS, Stage, request};

#[tokio::test]
async fn a_job_that_has_stopped_is_answered_200_without_a_broker() {
    let stage = Stage::set().await;
    let token = stage.log_in("admin").await;
    let id = stage.scheduler.add_job("kylo:kylo", ["k".to_owned()]);
    let answer = stage.post(&token, &format!("{JOBS}/{id}/cancel"), "").await;
    assert_eq!(answer.status, 200);
    let job = answer.json();
    assert_eq!(job["abort"], true);
    assert_eq!(job["overall_status"], "canceled");
    assert_eq!(job["keys"][0], "k");
    let awaited = stage.scheduler.awaited.lock().unwrap();
    assert_eq!(awaited.len(), 1);
    assert_eq!(awaited[0].canceled_by, "local|00000000-0000-0000-0000-000000000001");
    assert!((14_000..=15_000).contains(&awaited[0].wait_ms), "{}", awaited[0].wait_ms);
}

#[tokio::test]
async fn a_job_that_is_still_stopping_is_answered_202() {
    let stage = Stage::set_with(&["--cancel-wait=100ms"]).await;
    *stage.scheduler.never_stops.lock().unwrap() = true;
    let token = stage.log_in("admin").await;
    let id = stage.scheduler.add_job("kylo:kylo", (0..1_001).map(|number| format!("k{number}")));
    let answer = stage.post(&token, &format!("{JOBS}/{id}/cancel"), "").await;
    assert_eq!(answer.status, 202);
    let job = answer.json();
    assert_eq!((job["overall_status"].as_str(), job["abort"].as_bool()), (Some("in_progress"), Some(true)));
    assert!(job.get("keys").is_none(), "a large job stands without its keys");
}

#[tokio::test]
async fn any_body_of_any_type_is_ignored() {
    let stage = Stage::set().await;
    let token = stage.log_in("admin").await;
    for (content_type, body) in
        [(None, ""), (Some("application/json"), ""), (Some("application/json"), "{"), (Some("text/plain"), "please")]
    {
        let id = stage.scheduler.add_job("kylo:kylo", ["k".to_owned()]);
        let mut call = request(Method::POST, &format!("{JOBS}/{id}/cancel"), Some(&token));
        call = call.header("content-length", body.len());
        if let Some(content_type) = content_type {
            call = call.header("content-type", content_type);
        }
        assert_eq!(stage.send(call.body(Body::from(body)).unwrap()).await.status, 200);
    }
}

#[tokio::test]
async fn a_leader_that_is_lost_meanwhile_is_asked_again() {
    let stage = Stage::set().await;
    let token = stage.log_in("admin").await;
    let id = stage.scheduler.add_job("kylo:kylo", ["k".to_owned()]);
    // The first call asks for the job and is repeated; the third asks to stop it and is repeated too.
    stage.scheduler.refusals.lock().unwrap().extend([tonic::Status::unavailable("leads no more")]);
    assert_eq!(stage.post(&token, &format!("{JOBS}/{id}/cancel"), "").await.status, 200);
    assert_eq!(stage.scheduler.awaited.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn a_client_that_leaves_does_not_undo_its_cancel() {
    let stage = Stage::set().await;
    let token = stage.log_in("admin").await;
    let id = stage.scheduler.add_job("kylo:kylo", ["k".to_owned()]);
    let call = request(Method::POST, &format!("{JOBS}/{id}/cancel"), Some(&token)).body(Body::empty()).unwrap();
    {
        let mut answer = std::pin::pin!(stage.send(call));
        // Polled once, so that it is under way, and dropped.
        let polled = futures_util::poll!(&mut answer);
        assert!(polled.is_pending());
    }
    let stopped = async {
        while stage.scheduler.awaited.lock().unwrap().is_empty() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), stopped).await.unwrap();
}

/// Needs a RabbitMQ: `dev-stack with-servers -- cargo test …`, as `make test` does.
#[tokio::test]
async fn who_may_not_stop_a_job_publishes_nothing() {
    let host = VirtualHost::create().expect("AMQP_URL names a RabbitMQ of dev-stack with-servers");
    let stage = Stage::set_with(&[&format!("--amqp-url={}", host.url())]).await;
    let broker = Broker::connect(
        &BrokerSettings::at(host.url().parse().unwrap()),
        Readiness::default().part("the test's own connection"),
    )
    .unwrap();
    let mut heard = broker.consume_aborts_as_leader();
    until_ready(&stage).await;

    let job = stage.scheduler.add_job("kylo:kylo", ["k".to_owned()]);
    let path = format!("{JOBS}/{job}/cancel");
    let (nobody, stranger) = (stage.log_in("nobody").await, stage.log_in("stranger").await);
    let message = stage.post(&nobody, &path, "").await.refusal(403, 6);
    assert!(message.contains("keybulkoperation"), "{message}");
    stage.post(&stranger, &path, "").await.refusal(404, 16);
    assert!(stage.scheduler.awaited.lock().unwrap().is_empty(), "a leader was told");

    // The queue keeps the order: whatever they had published would come before this.
    let admin = stage.log_in("admin").await;
    let other = stage.scheduler.add_job("kylo:kylo", ["k".to_owned()]);
    assert_eq!(stage.post(&admin, &format!("{JOBS}/{other}/cancel"), "").await.status, 200);
    let mut commands: Vec<AbortCommand> = Vec::new();
    while !commands.iter().any(|command| command.job.to_string() == other) {
        let delivery = tokio::time::timeout(Duration::from_secs(30), heard.next()).await.unwrap().unwrap();
        commands.push(delivery.command.clone());
        delivery.ack();
    }
    assert_eq!(commands.len(), 1, "{commands:?}");
    assert_eq!(commands[0].requested_by, "local|00000000-0000-0000-0000-000000000001");
}

async fn until_ready(stage: &Stage) {
    let ready = async {
        while !stage.rabbitmq.is_ready() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), ready).await.unwrap();
}
