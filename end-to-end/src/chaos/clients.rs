//! Those who use Keyfleet while it is broken: as clients do, they retry, read, cancel and lose patience.
//!
//! Each draws from a chance of its own, so what one does depends on the seed and not on the others. All stop when the
//! run's faults are over; what they have begun they finish.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Result;
use futures_util::future::try_join_all;
use serde_json::json;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};
use uuid::Uuid;

use super::chance::Chance;
use super::evidence::{Answer, Call, Caller as Who};
use super::record::{Asked, Book, Writer};
use crate::kms_end::arn;
use crate::stack::Keyfleet;

/// Where some keys are, named by their ARNs.
const OTHER_REGION: &str = "eu-west-1";
/// Who creates jobs at the same time.
const CREATORS: u64 = 3;
/// Who reads them.
const READERS: u64 = 2;
/// A create or a cancel that is not answered well is sent so often.
const TRIES: usize = 8;
/// Between two of them.
const PAUSE: Duration = Duration::from_millis(400);

/// What a job may ask for.
struct Wish {
    operation: &'static str,
    op: &'static str,
    /// The state that keys are made in.
    from: &'static str,
    /// The states that are the asked one.
    wanted: &'static [&'static str],
    /// A state in which KMS refuses.
    refused_in: Option<&'static str>,
}

const WISHES: [Wish; 4] = [
    Wish {
        operation: "enablekey",
        op: "EnableKey",
        from: "Disabled",
        wanted: &["Enabled"],
        refused_in: Some("PendingDeletion"),
    },
    Wish {
        operation: "disablekey",
        op: "DisableKey",
        from: "Enabled",
        wanted: &["Disabled"],
        refused_in: Some("PendingDeletion"),
    },
    Wish {
        operation: "schedulekeydeletion",
        op: "ScheduleKeyDeletion",
        from: "Enabled",
        wanted: &["PendingDeletion"],
        refused_in: None,
    },
    Wish {
        operation: "cancelkeydeletion",
        op: "CancelKeyDeletion",
        from: "PendingDeletion",
        wanted: &["Disabled", "Enabled"],
        refused_in: None,
    },
];

/// All clients of a run.
pub(super) struct Clients<'s> {
    stack: &'s Keyfleet,
    book: &'s Book,
    over: &'s AtomicBool,
    lost: watch::Receiver<u32>,
    chance: Chance,
}

impl<'s> Clients<'s> {
    /// Those of a stack, until the run is over; `lost` counts the workers that have been lost.
    pub(super) fn of(
        stack: &'s Keyfleet,
        book: &'s Book,
        over: &'s AtomicBool,
        lost: watch::Receiver<u32>,
        seed: u64,
    ) -> Self {
        Self { stack, book, over, lost, chance: Chance::of(seed).part(u64::MAX) }
    }

    /// Lets them work until the run is over.
    ///
    /// # Errors
    /// When an answer is not of the API's form, or the KMS end fails.
    pub(super) async fn work(&self) -> Result<()> {
        let creators = try_join_all((0..CREATORS).map(|number| self.create_and_cancel(self.chance.part(number))));
        let readers = try_join_all((0..READERS).map(|number| self.read(self.chance.part(100 + number))));
        let stranger = self.pry(self.chance.part(200));
        tokio::try_join!(creators, readers, stranger).map(drop)
    }

    fn is_over(&self) -> bool {
        self.over.load(Ordering::Relaxed)
    }

    /// The same user at each gateway.
    fn admins(&self) -> Vec<Writer<'s>> {
        self.at_each_gateway(&self.stack.admin, "kylo:kylo")
    }

    fn at_each_gateway(&self, caller: &crate::caller::Caller, tenant: &str) -> Vec<Writer<'s>> {
        let who = Who { tenant: tenant.to_owned(), user: caller.user().name.clone() };
        let at = |url: &String| Writer { book: self.book, who: who.clone(), caller: caller.at(url) };
        self.stack.parts.urls().iter().map(at).collect()
    }

    /// One job after the other; some are canceled. So is one that runs when a worker is lost: what it has begun is what the stop
    /// must wait for, and what must not go on when it is back.
    async fn create_and_cancel(&self, mut chance: Chance) -> Result<()> {
        let admins = self.admins();
        let mut lost = self.lost.clone();
        while !self.is_over() {
            let wish = &WISHES[chance.index(WISHES.len())];
            let keys = self.make_keys(wish, &mut chance).await?;
            lost.mark_unchanged();
            let created = create(&admins, wish, keys, &mut chance).await?;
            let (unwanted, patience, pause) = (chance.percent(40), chance.below(2_500), 100 + chance.below(1_200));
            if let Some(job) = created {
                let wait = Duration::from_millis(if unwanted { patience } else { pause });
                if matches!(timeout(wait, lost.changed()).await, Ok(Ok(()))) || unwanted {
                    cancel(&admins, &job, &mut chance).await?;
                }
            }
            sleep(Duration::from_millis(pause)).await;
        }
        Ok(())
    }

    /// Keys of one job: most to be changed, some as asked already, some that KMS refuses, and at times one that is no key.
    async fn make_keys(&self, wish: &Wish, chance: &mut Chance) -> Result<Vec<String>> {
        let most = 3 + chance.index(100);
        let mut kinds = vec![(wish.from, most)];
        if chance.percent(50) {
            kinds.push((wish.wanted[0], 1 + chance.index(10)));
        }
        if let Some(refused_in) = wish.refused_in.filter(|_| chance.percent(30)) {
            kinds.push((refused_in, 1 + chance.index(4)));
        }
        let mut keys = Vec::new();
        for (state, count) in kinds {
            let held_before = wish.wanted.contains(&state);
            let asked = Asked { held_before, exists: true, reachable: true, wanted: wish.wanted };
            // Another Region is another lane with a pace of its own.
            let there = if chance.percent(25) { count / 2 } else { 0 };
            let here = self.stack.sim.make_keys(count - there, state).await?;
            let body = json!({"count": there, "state": state, "region": OTHER_REGION});
            let there = self.stack.sim.make_keys_as(&body).await?.into_iter().map(|id| arn(OTHER_REGION, &id));
            keys.extend(here.into_iter().chain(there).map(|key| (key, asked)));
        }
        if chance.percent(20) {
            let nobody = Asked { held_before: false, exists: false, reachable: true, wanted: wish.wanted };
            keys.push((Uuid::new_v4().to_string(), nobody));
        }
        chance.shuffle(&mut keys);
        self.book.note_keys(&keys);
        Ok(keys.into_iter().map(|(key, _)| key).collect())
    }

    /// Looks at any jobs, and at the list.
    async fn read(&self, mut chance: Chance) -> Result<()> {
        let admins = self.admins();
        while !self.is_over() {
            let admin = &admins[chance.index(admins.len())];
            match self.book.any_job(chance.number()) {
                Some(job) if chance.percent(75) => admin.call(Call::Read { job }, "").await?,
                Some(_) | None => admin.call(Call::List, "").await?,
            };
            sleep(Duration::from_millis(50 + chance.below(200))).await;
        }
        Ok(())
    }

    /// Somebody of another tenant, who tries the ids of others' jobs, and has few jobs of their own.
    async fn pry(&self, mut chance: Chance) -> Result<()> {
        let strangers = self.at_each_gateway(&self.stack.stranger, "acme:acme");
        while !self.is_over() {
            let stranger = &strangers[chance.index(strangers.len())];
            let job = self.book.any_job(chance.number());
            match (chance.below(4), job) {
                (0, Some(job)) => drop(stranger.call(Call::Cancel { job }, "").await?),
                (1, Some(job)) => drop(stranger.call(Call::Read { job }, "").await?),
                (2, _) => {
                    let nobody =
                        Asked { held_before: false, exists: false, reachable: false, wanted: WISHES[0].wanted };
                    let keys: Vec<_> = (0..3).map(|_| (Uuid::new_v4().to_string(), nobody)).collect();
                    self.book.note_keys(&keys);
                    let keys = keys.into_iter().map(|(key, _)| key).collect();
                    create(&strangers, &WISHES[0], keys, &mut chance).await?;
                }
                (_, _) => drop(stranger.call(Call::List, "").await?),
            }
            sleep(Duration::from_millis(200 + chance.below(500))).await;
        }
        Ok(())
    }
}

/// Creates a job, at times at both gateways at once; with an idempotency key it is repeated until it is accepted.
async fn create(
    gateways: &[Writer<'_>],
    wish: &Wish,
    keys: Vec<String>,
    chance: &mut Chance,
) -> Result<Option<String>> {
    let once = chance.percent(85).then(|| Uuid::new_v4().to_string());
    let tries = if once.is_some() { TRIES } else { 1 };
    let call = || Call::Create { once: once.clone(), op: wish.op, keys: keys.clone() };
    if once.is_some() && chance.percent(10) {
        try_join_all(gateways.iter().map(|gateway| gateway.call(call(), wish.operation))).await?;
    }
    for _ in 0..tries {
        let gateway = &gateways[chance.index(gateways.len())];
        if let Answer::Job(_, view) = gateway.call(call(), wish.operation).await? {
            return Ok(Some(view.id));
        }
        sleep(PAUSE).await;
    }
    Ok(None)
}

/// Cancels a job until it is answered 200.
async fn cancel(gateways: &[Writer<'_>], job: &str, chance: &mut Chance) -> Result<()> {
    for _ in 0..TRIES {
        let gateway = &gateways[chance.index(gateways.len())];
        if let Answer::Job(200, _) = gateway.call(Call::Cancel { job: job.to_owned() }, "").await? {
            return Ok(());
        }
        sleep(PAUSE).await;
    }
    Ok(())
}
