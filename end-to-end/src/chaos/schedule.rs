//! Which faults strike when: a pure function of a seed.
//!
//! Faults overlap, but each ends: the run is over when all have ended, and everything must then come to rest by itself.

use std::fmt;
use std::time::Duration;

use super::chance::Chance;

/// The parts that can be killed, frozen and restarted, as the local stack names them. The KMS end is none of them: its log
/// is evidence, and its faults are its own.
pub const SERVICES: [&str; 7] = [
    "job-scheduler-1",
    "job-scheduler-2",
    "kms-worker-1",
    "kms-worker-2",
    "kms-worker-3",
    "api-gateway",
    "api-gateway-2",
];

/// Of these, the workers.
const WORKERS: [&str; 3] = ["kms-worker-1", "kms-worker-2", "kms-worker-3"];

/// Who is called over a link that a relay stands in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Called {
    Postgres,
    RabbitMq,
    /// Either scheduler.
    Schedulers,
    Kms,
}

/// What is done to a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Hurt {
    /// Connections are reset, new ones too.
    Cut,
    /// Half open: what the caller sends is held up.
    HeldThere,
    /// Half open: what the caller is sent is held up.
    HeldBack,
    /// Nothing passes.
    Held,
    /// Every piece takes so long, in milliseconds.
    Slow(u16),
}

/// What the KMS end does to requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(missing_docs, reason = "the names are the simulator's words")]
pub enum KmsFault {
    ThrottlingException,
    KMSInternalException,
    Timeout,
    Disconnect,
    Junk,
    ReadLag,
}

/// A fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Fault {
    /// `kill -9`, started again at the end.
    Kill(&'static str),
    /// SIGSTOP, SIGCONT at the end.
    Freeze(&'static str),
    /// A worker is frozen, and hears neither schedulers nor broker until some time after it has thawed at the end: nothing but its
    /// lease tells it to stop.
    Lost(&'static str),
    /// SIGTERM, started again at the end.
    Restart(&'static str),
    /// The way of a service to whom it calls is hurt until the end.
    Link(&'static str, Called, Hurt),
    /// Its wall clock is an hour behind until the end.
    ClockBack(&'static str),
    /// Every client connection is closed by the broker.
    BrokerCloses,
    /// One channel is closed by the broker.
    ChannelClosed,
    /// The broker's disk is full: nobody may publish.
    BrokerDiskFull,
    /// Postgres's disk is full: what writes jobs, cursors or statuses is refused.
    PostgresDiskFull,
    /// The queue of tasks is deleted.
    QueueDeleted,
    /// The broker is stopped (`kill -9` when true) and started again at the end.
    Broker(bool),
    /// The same of Postgres.
    Postgres(bool),
    /// Half of the requests of the workers meet it.
    Kms(KmsFault),
}

/// A lost worker is frozen for so long at the least: its lease and the time of its requests are over, and a cancel is answered
/// before it thaws.
const LOST_FOR: Duration = Duration::from_millis(2_800);

/// A fault and its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    /// Since the start of the run.
    pub at: Duration,
    /// How long it lasts.
    pub lasts: Duration,
    /// What it is.
    pub fault: Fault,
}

/// The faults of a run, by time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Schedule {
    /// What it was made from.
    pub seed: u64,
    /// In the order in which they begin.
    pub moments: Vec<Moment>,
}

impl Schedule {
    /// The schedule of a seed: so many faults, begun within `span`. No part is struck while it still suffers.
    #[must_use]
    pub fn of(seed: u64, faults: usize, span: Duration) -> Self {
        let mut chance = Chance::of(seed);
        let mut starts: Vec<u64> = (0..faults).map(|_| chance.below(millis(span).max(1))).collect();
        starts.sort_unstable();
        let mut moments: Vec<Moment> = Vec::with_capacity(faults);
        for start in starts {
            let at = Duration::from_millis(start);
            let lasts = Duration::from_millis(200 + chance.below(3_800));
            let suffers =
                |fault: Fault| moments.iter().any(|m| m.at + m.lasts >= at && m.fault.victim() == fault.victim());
            // There are more victims than faults that fit into four seconds of an ordinary run; a denser one skips some.
            if let Some(fault) = (0..64).map(|_| draw(&mut chance)).find(|fault| !suffers(*fault)) {
                let lasts = if matches!(fault, Fault::Lost(_)) { lasts.max(LOST_FOR) } else { lasts };
                moments.push(Moment { at, lasts, fault });
            }
        }
        Self { seed, moments }
    }
}

impl Fault {
    /// The kind, for the table of a suite.
    #[must_use]
    pub const fn kind(self) -> &'static str {
        match self {
            Self::Kill(_) => "killed",
            Self::Freeze(_) => "frozen",
            Self::Lost(_) => "lost",
            Self::Restart(_) => "restarted",
            Self::Link(_, _, Hurt::Cut) => "cut",
            Self::Link(_, _, Hurt::HeldThere | Hurt::HeldBack) => "half open",
            Self::Link(_, _, Hurt::Held) => "held up",
            Self::Link(_, _, Hurt::Slow(_)) => "slow",
            Self::ClockBack(_) => "clock back",
            Self::BrokerCloses => "broker closes",
            Self::ChannelClosed => "channel closed",
            Self::BrokerDiskFull | Self::PostgresDiskFull => "disk full",
            Self::QueueDeleted => "queue deleted",
            Self::Broker(_) => "broker down",
            Self::Postgres(_) => "Postgres down",
            Self::Kms(_) => "KMS",
        }
    }

    /// Who suffers: two faults of one victim never overlap.
    pub(super) fn victim(self) -> Victim {
        match self {
            Self::Kill(name) | Self::Freeze(name) | Self::Lost(name) | Self::Restart(name) => Victim::Service(name),
            Self::ClockBack(name) => Victim::Clock(name),
            Self::Link(caller, called, _) => Victim::Link(caller, called),
            Self::BrokerCloses | Self::ChannelClosed | Self::BrokerDiskFull | Self::QueueDeleted | Self::Broker(_) => {
                Victim::Broker
            }
            Self::PostgresDiskFull | Self::Postgres(_) => Victim::Postgres,
            Self::Kms(_) => Victim::Kms,
        }
    }
}

/// Who suffers from a fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Victim {
    Service(&'static str),
    Clock(&'static str),
    Link(&'static str, Called),
    Broker,
    Postgres,
    Kms,
}

impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "seed {}: {} faults", self.seed, self.moments.len())?;
        for Moment { at, lasts, fault } in &self.moments {
            writeln!(f, "  {:>6} ms, for {:>4} ms: {fault:?}", millis(*at), millis(*lasts))?;
        }
        Ok(())
    }
}

/// Whom a service calls.
#[must_use]
pub fn calls(service: &str) -> &'static [Called] {
    match service.split('-').next() {
        Some("job") => &[Called::Postgres, Called::RabbitMq],
        Some("kms") => &[Called::RabbitMq, Called::Schedulers, Called::Kms],
        _ => &[Called::RabbitMq, Called::Schedulers],
    }
}

/// Processes and links are struck most: they have most states to be struck in.
fn draw(chance: &mut Chance) -> Fault {
    match chance.below(29) {
        0..=3 => Fault::Kill(chance.one_of(&SERVICES)),
        4..=6 => Fault::Freeze(chance.one_of(&SERVICES)),
        7..=8 => Fault::Restart(chance.one_of(&SERVICES)),
        9..=13 => {
            let caller = chance.one_of(&SERVICES);
            let hurts = [Hurt::Cut, Hurt::HeldThere, Hurt::HeldBack, Hurt::Held, Hurt::Slow(50), Hurt::Slow(500)];
            Fault::Link(caller, chance.one_of(calls(caller)), chance.one_of(&hurts))
        }
        14 => Fault::BrokerCloses,
        15 => Fault::QueueDeleted,
        16 => Fault::Broker(chance.below(2) == 0),
        17 => Fault::Postgres(chance.below(2) == 0),
        18 => Fault::ChannelClosed,
        19 => Fault::BrokerDiskFull,
        20 => Fault::PostgresDiskFull,
        21 => Fault::ClockBack(chance.one_of(&SERVICES)),
        22..=25 => Fault::Lost(chance.one_of(&WORKERS)),
        _ => Fault::Kms(chance.one_of(&[
            KmsFault::ThrottlingException,
            KmsFault::KMSInternalException,
            KmsFault::Timeout,
            KmsFault::Disconnect,
            KmsFault::Junk,
            KmsFault::ReadLag,
        ])),
    }
}

pub(super) fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    const SPAN: Duration = Duration::from_secs(40);

    #[test]
    fn a_seed_gives_one_schedule_and_another_seed_another() {
        assert_eq!(Schedule::of(7, 12, SPAN), Schedule::of(7, 12, SPAN));
        assert_ne!(Schedule::of(7, 12, SPAN).moments, Schedule::of(8, 12, SPAN).moments);
    }

    #[test]
    fn nobody_is_struck_while_suffering() {
        for seed in 0..200 {
            let moments = Schedule::of(seed, 30, SPAN).moments;
            for (n, later) in moments.iter().enumerate() {
                for earlier in &moments[..n] {
                    assert!(earlier.at <= later.at && later.at < SPAN);
                    let apart = earlier.at + earlier.lasts < later.at;
                    assert!(apart || earlier.fault.victim() != later.fault.victim(), "seed {seed}: {later:?}");
                }
            }
        }
    }

    #[test]
    fn twenty_runs_meet_every_kind() {
        let kinds: BTreeSet<&str> =
            (1..=20).flat_map(|seed| Schedule::of(seed, 12, SPAN).moments).map(|moment| moment.fault.kind()).collect();
        assert_eq!(kinds.len(), 16, "{kinds:?}");
    }
}
