//! Every exchange and queue, with every argument: the only place that knows AMQP arguments.
//!
//! | name | kind | what for |
//! |---|---|---|
//! | `keyfleet.tasks.v1` | quorum queue | tasks offered to the workers |
//! | `keyfleet.tasks.dead.v1` | quorum queue | tasks the broker gave up on: a doubt, not a verdict |
//! | `keyfleet.abort` | fanout exchange | abort commands |
//! | `keyfleet.abort.leader.v1` | quorum queue, single active consumer | abort commands for the leader |
//! | `keyfleet.abort.worker.<id>.<n>` | exclusive classic queue | abort commands for one worker's channel |
//!
//! A queue's arguments cannot be changed (the broker refuses with 406), so a change of them means a new version in the
//! name; what operators may want to change (lengths, times to live) is left to policies. There is no time to live:
//! dispatch keeps only seconds of work outstanding, and what waits while there is no worker is still wanted.
//! Quorum queues because they are replicated and their messages survive a node; RabbitMQ 3.10's know no priorities.

use job_model::WorkerId;
use lapin::{
    Channel, ExchangeKind,
    options::{ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions},
    types::{AMQPValue, FieldTable, ShortString},
};

/// The prefix of all names unless `AMQP_PREFIX` says otherwise.
pub const DEFAULT_PREFIX: &str = "keyfleet";

/// How often a task may be delivered before the broker gives up on it. RabbitMQ 3.10 also counts lost connections and
/// deliveries given back, so it must be larger than all restarts a task may live through; true poison is counted by
/// the leader, who knows how often a try of it took a worker down.
pub const DELIVERY_LIMIT: i32 = 10_000;

/// The names of one stack.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topology {
    pub(crate) tasks: ShortString,
    pub(crate) dead: ShortString,
    pub(crate) abort: ShortString,
    pub(crate) abort_leader: ShortString,
}

impl Topology {
    /// The names that begin with this prefix.
    pub fn named(prefix: &str) -> Self {
        Self {
            tasks: format!("{prefix}.tasks.v1").into(),
            dead: format!("{prefix}.tasks.dead.v1").into(),
            abort: format!("{prefix}.abort").into(),
            abort_leader: format!("{prefix}.abort.leader.v1").into(),
        }
    }

    /// Declares everything durable. Repeating it changes nothing, so it is done on every new channel:
    /// what somebody deleted comes back.
    ///
    /// # Errors
    /// What the broker says: 406 when something of the name exists with other arguments, 403 without the permission.
    pub async fn declare(&self, channel: &Channel) -> lapin::Result<()> {
        queue(channel, &self.dead, quorum()).await?;
        let mut tasks = quorum();
        tasks.insert("x-delivery-limit".into(), AMQPValue::LongInt(DELIVERY_LIMIT));
        // The default exchange routes to the queue of the key's name.
        tasks.insert("x-dead-letter-exchange".into(), AMQPValue::LongString("".into()));
        tasks.insert("x-dead-letter-routing-key".into(), AMQPValue::LongString(self.dead.as_str().into()));
        queue(channel, &self.tasks, tasks).await?;

        let options = ExchangeDeclareOptions { durable: true, ..Default::default() };
        channel.exchange_declare(self.abort.clone(), ExchangeKind::Fanout, options, FieldTable::default()).await?;
        // No delivery limit: an abort command is never given up.
        let mut leader = quorum();
        leader.insert("x-single-active-consumer".into(), AMQPValue::Boolean(true));
        queue(channel, &self.abort_leader, leader).await?;
        self.bind(channel, &self.abort_leader).await
    }

    /// Declares the queue of one worker's channel and gives its name. It goes with its connection; a connection that
    /// the broker has not yet found dead still holds its own, so each has a number.
    pub(crate) async fn declare_worker(
        &self,
        channel: &Channel,
        worker: WorkerId,
        number: u64,
    ) -> lapin::Result<ShortString> {
        let name: ShortString = format!("{}.worker.{worker}.{number}", self.abort).into();
        let options = QueueDeclareOptions { exclusive: true, auto_delete: true, ..Default::default() };
        channel.queue_declare(name.clone(), options, FieldTable::default()).await?;
        self.bind(channel, &name).await?;
        Ok(name)
    }

    async fn bind(&self, channel: &Channel, queue: &ShortString) -> lapin::Result<()> {
        let options = QueueBindOptions::default();
        channel.queue_bind(queue.clone(), self.abort.clone(), "".into(), options, FieldTable::default()).await
    }
}

fn quorum() -> FieldTable {
    let mut arguments = FieldTable::default();
    arguments.insert("x-queue-type".into(), AMQPValue::LongString("quorum".into()));
    arguments
}

async fn queue(channel: &Channel, name: &ShortString, arguments: FieldTable) -> lapin::Result<()> {
    let options = QueueDeclareOptions { durable: true, ..Default::default() };
    channel.queue_declare(name.clone(), options, arguments).await.map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_operators_know() {
        let names = Topology::named(DEFAULT_PREFIX);
        assert_eq!(names.tasks.as_str(), "keyfleet.tasks.v1");
        assert_eq!(names.dead.as_str(), "keyfleet.tasks.dead.v1");
        assert_eq!(names.abort.as_str(), "keyfleet.abort");
        assert_eq!(names.abort_leader.as_str(), "keyfleet.abort.leader.v1");
        assert_ne!(Topology::named("other"), names);
    }
}
