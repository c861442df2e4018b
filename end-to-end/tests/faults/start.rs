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

/// Stops everything and starts it in this order; each has said what it waits for before the next one is started.
async fn starts_in_the_order(stack: &Keyfleet, order: [&str; 8]) -> Result<()> {
    for part in order {
        stack.signal(part, Signal::KILL)?;
    }
    for part in order {
        match part {
            "postgres" | "rabbitmq" => stack.parts.restart(part).await?,
            service => {
                stack.parts.start_again(service)?;
                let missing = until(&format!("{service} to say what it waits for"), async || {
                    Ok(stack.missing(service).await.as_object().cloned())
                })
                .await?;
                println!("    {service} waits for {:?}", missing.keys().collect::<Vec<_>>());
                ensure!(stack.parts.is_alive(service), "{service} ended instead of waiting");
            }
        }
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
