//! Services start in any order and wait for one another.

use anyhow::{Result, ensure};
use end_to_end::patience::until;
use end_to_end::{Keyfleet, Signal, scenarios, verdict};

#[tokio::test(flavor = "multi_thread")]
async fn services_start_in_any_order() {
    let stack = Keyfleet::start(crate::breakable()).await.unwrap();
    scenarios!(stack;
        those_who_need_the_others_first,
        in_the_order_of_their_needs,
        the_middle_first,
    );
}

/// What a service cannot be ready without.
fn needs(service: &str) -> &'static [&'static str] {
    if service.starts_with("job-scheduler") {
        &["postgres", "rabbitmq"]
    } else if service == "kms-sim" {
        &[]
    } else {
        // A scheduler leads only where there is a database.
        &["postgres", "rabbitmq", "job-scheduler"]
    }
}

/// Stops everything and starts it in this order. Who needs what is not there yet has said so before the next one is
/// started, and goes on waiting.
async fn starts_in_the_order(stack: &Keyfleet, order: [&str; 8]) -> Result<()> {
    for part in order {
        stack.signal(part, Signal::KILL)?;
    }
    for (number, part) in order.into_iter().enumerate() {
        if ["postgres", "rabbitmq"].contains(&part) {
            stack.parts.restart(part).await?;
            continue;
        }
        stack.parts.start_again(part)?;
        let there = |need: &str| order[..number].iter().any(|earlier| earlier.starts_with(need));
        if needs(part).iter().all(|need| there(need)) {
            continue;
        }
        let missing = until(&format!("{part} to say what it waits for"), async || {
            let missing = stack.missing(part).await.as_object().cloned();
            // So it says until it has come to its parts.
            Ok(missing.filter(|missing| !missing.contains_key("service")))
        })
        .await?;
        println!("    {part} waits for {:?}", missing.keys().collect::<Vec<_>>());
        ensure!(!missing.is_empty(), "{part} says that it is ready, without {:?}", needs(part));
        ensure!(stack.parts.is_alive(part), "{part} ended instead of waiting");
    }
    for part in order {
        stack.parts.await_ready(part).await?;
    }
    // The simulator was started anew as well, and knows no keys any more.
    let keys = stack.sim.make_keys(50, "Disabled").await?;
    let job = stack.create("enablekey", &keys).await?.wait_until_ended().await?;
    verdict::all_succeeded(&stack.sim, &job, "Enabled").await
}

async fn those_who_need_the_others_first(stack: &Keyfleet) -> Result<()> {
    let order = [
        "kms-worker-1",
        "api-gateway",
        "kms-worker-2",
        "job-scheduler-2",
        "job-scheduler-1",
        "kms-sim",
        "rabbitmq",
        "postgres",
    ];
    starts_in_the_order(stack, order).await
}

async fn in_the_order_of_their_needs(stack: &Keyfleet) -> Result<()> {
    let order = [
        "postgres",
        "rabbitmq",
        "kms-sim",
        "job-scheduler-1",
        "job-scheduler-2",
        "kms-worker-1",
        "kms-worker-2",
        "api-gateway",
    ];
    starts_in_the_order(stack, order).await
}

async fn the_middle_first(stack: &Keyfleet) -> Result<()> {
    let order = [
        "job-scheduler-1",
        "postgres",
        "api-gateway",
        "kms-worker-2",
        "rabbitmq",
        "kms-worker-1",
        "kms-sim",
        "job-scheduler-2",
    ];
    starts_in_the_order(stack, order).await
}
