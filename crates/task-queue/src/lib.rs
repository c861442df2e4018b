//! RabbitMQ as Keyfleet uses it: topology, publishing with confirms, consuming, reconnecting.
//!
//! What the rest of Keyfleet may rely on, and nothing more:
//! - *At least once.* A confirmed message is delivered; any message may be delivered twice, late, or after its job's
//!   end. So a delivery is only an offer.
//! - *Own reconnect loop.* lapin's recovery can hang in silence, and recovers connections but not channels. Here a lost
//!   connection or channel is dropped whole and made anew, by one loop for the connection ([`Broker`]) and one for each
//!   consumer; each has a timer beside its wake-up.
//! - *Deadlines.* Nothing that speaks to the broker waits longer than a few seconds.
//! - *Deliveries die with their channel.* The broker gives them to somebody else, so a consumer is told
//!   ([`OfferEvent::ChannelLost`]), and acks for a dead channel go nowhere.
//!
//! Metrics (all counters unless said otherwise):
//!
//! | name | labels | |
//! |---|---|---|
//! | `keyfleet_broker_connected` (gauge) | `part` | 1 while connected |
//! | `keyfleet_broker_connects_total` | `part` | connections made |
//! | `keyfleet_published_total` | `kind` | messages confirmed |
//! | `keyfleet_publish_failures_total` | `reason` | batches that failed |
//! | `keyfleet_publish_seconds` (histogram) | `kind` | from publishing a batch to its confirms |
//! | `keyfleet_deliveries_total` | `queue`, `redelivered` | messages received |
//! | `keyfleet_acks_total` | `queue` | deliveries acknowledged |
//! | `keyfleet_ack_frames_total` | `queue` | frames that took: fewer, as one can speak for many |
//! | `keyfleet_undecodable_total` | `queue` | messages thrown away because they make no sense |
//! | `keyfleet_channels_lost_total` | `queue` | consumer channels lost and made anew |

mod aborts;
mod broker;
mod consumer;
mod dead;
mod envelope;
mod ledger;
mod offers;
mod publisher;
mod settings;
pub mod topology;

pub use aborts::{AbortDelivery, LeaderAborts, WorkerAborts};
pub use broker::Broker;
pub use dead::{DeadDelivery, DeadLetters, DeadReason};
pub use envelope::{AbortCommand, Undecodable};
pub use offers::{OfferAcker, OfferDelivery, OfferEvent, Offers};
pub use publisher::{BATCH, PublishError, Publisher};
pub use settings::BrokerSettings;
