//! The relays between the parts of a run: one for each service and each part that it calls.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use anyhow::Result;
use dev_stack::{Net, Relay, StackSettings, free_port};

use super::schedule::{Called, Hurt, SERVICES, calls};

/// All relays of a stack.
#[derive(Debug)]
pub(super) struct Links(BTreeMap<(&'static str, Called), Vec<Relay>>);

impl Links {
    /// Puts a relay into every way of the stack that is to be started with these settings. The one to the KMS end keeps
    /// nothing for longer than `operation_timeout`, as no network in front of KMS does.
    ///
    /// # Errors
    /// When there are no ports.
    pub(super) async fn lay(settings: &mut StackSettings, operation_timeout: Duration) -> Result<Self> {
        let mut links: BTreeMap<_, Vec<Relay>> = BTreeMap::new();
        for service in SERVICES {
            for called in calls(service) {
                let (parts, longest): (&[&str], _) = match called {
                    Called::Postgres => (&["postgres"], None),
                    Called::RabbitMq => (&["rabbitmq"], None),
                    Called::Schedulers => (&["job-scheduler-1", "job-scheduler-2"], None),
                    Called::Kms => (&["kms-sim"], Some(operation_timeout)),
                };
                for part in parts {
                    let port = match settings.given.ports.get(*part) {
                        Some(port) => *port,
                        None => free_port()?,
                    };
                    settings.given.ports.insert((*part).to_owned(), port);
                    let relay = Relay::to(SocketAddr::from((Ipv4Addr::LOCALHOST, port)), longest).await?;
                    settings.routes.insert((service.to_owned(), (*part).to_owned()), relay.address());
                    links.entry((service, *called)).or_default().push(relay);
                }
            }
        }
        Ok(Self(links))
    }

    /// Hurts a way, or heals it.
    pub(super) fn set(&self, service: &'static str, called: Called, hurt: Option<Hurt>) {
        let net = match hurt {
            None => Net::Whole,
            Some(Hurt::Cut) => Net::Cut,
            Some(Hurt::HeldThere) => Net::HeldThere,
            Some(Hurt::HeldBack) => Net::HeldBack,
            Some(Hurt::Held) => Net::Held,
            Some(Hurt::Slow(ms)) => Net::Slow(Duration::from_millis(ms.into())),
        };
        for relay in self.0.get(&(service, called)).into_iter().flatten() {
            relay.set(net);
        }
    }
}
