//! One KMS request, from its arrival to its answer.
//!
//! The order of things is the point. The request is logged when it arrives. Then come the quota and the faults; then,
//! with half of the latency on either side, the work. So a client that gives up waiting cannot know whether its request
//! took effect, as with the real KMS, and its going away does not stop the request either: one that has to wait runs in
//! a task of its own.

use std::{sync::Arc, time::Duration};

use tokio::time::{Instant, sleep_until};

use crate::{
    core::Core,
    credentials::CredentialScope,
    error::{ErrorCode, KmsError},
    faults::Fault,
    hold::When,
    input::Input,
    log::{LogKey, RowId},
    operation::Operation,
    operations::{Context, perform},
    outcome::{Cut, Outcome},
    store::Scope,
};

/// What the wire is to do.
#[derive(Debug)]
pub(crate) enum Reply {
    /// Answer 200 with this body.
    Granted(Vec<u8>),
    /// Answer with this refusal.
    Refused(KmsError),
    /// Do not answer.
    Silence(Cut),
}

/// A request that has arrived.
pub(crate) struct Arrived {
    core: Arc<Core>,
    op: Option<Operation>,
    scope: Arc<Scope>,
    input: Result<Input, KmsError>,
    row: RowId,
}

/// Takes a request in: from here on it is in the log.
pub(crate) fn arrive(core: &Arc<Core>, target: &str, authorization: Option<&str>, body: &[u8]) -> Arrived {
    let at_ns = core.clock.wall_ns();
    let op = target.strip_prefix("TrentService.").and_then(|name| name.parse().ok());
    let credential = CredentialScope::parse(authorization).and_then(|scope| {
        match core.roles.has_ended(scope.access_key_id, at_ns) {
            true => Err(KmsError::injected(ErrorCode::ExpiredToken)),
            false => Ok(scope),
        }
    });
    let scope = match &credential {
        Ok(scope) => core.scopes.get(&core.accounts.account_of(scope.access_key_id), scope.region),
        Err(_) => core.scopes.get(core.accounts.default_account(), ""),
    };
    let input = Input::parse(body);
    let key = LogKey::new(input.as_ref().ok().and_then(Input::logged_key));
    let row = core.log.arrived(at_ns, scope.id, op, key);
    Arrived { core: core.clone(), op, scope, input: credential.and(input), row }
}

impl Arrived {
    /// Sees the request through. Dropping the future does not stop what has begun.
    pub(crate) async fn answer(self) -> Reply {
        let (core, row) = (self.core.clone(), self.row);
        let reply = self.reply().await;
        core.log.answered(row, core.clock.wall_ns());
        reply
    }

    async fn reply(self) -> Reply {
        let live = self.core.config.live();
        let latency = live.latency.map_or(Duration::ZERO, |spread| spread.sample(&mut rand::rng()));
        if latency.is_zero() && !self.core.holds.any() {
            return self.run(latency).await;
        }
        match tokio::spawn(self.run(latency)).await {
            Ok(reply) => reply,
            Err(error) => Reply::Refused(KmsError::new(ErrorCode::KmsInternal, error.to_string())),
        }
    }

    async fn run(self, latency: Duration) -> Reply {
        let Some(op) = self.op else {
            let refused = KmsError::new(ErrorCode::UnknownOperation, "The operation is not known.");
            return self.decide(Reply::Refused(refused));
        };
        let begun = Instant::now();
        let fate = self.fate(op);
        let key = self.input.as_ref().ok().and_then(Input::logged_key);
        self.core.holds.pass(op, When::Before, key).await;
        if !latency.is_zero() {
            sleep_until(begun + latency / 2).await;
        }
        let reply = match fate {
            Fate::Refused(error) => Reply::Refused(error),
            Fate::Cut(cut) => {
                if cut.works() {
                    // Nobody hears whether it was granted; the log says only that nobody did.
                    let _unheard = self.work(op);
                }
                Reply::Silence(cut)
            }
            Fate::Work => match self.work(op) {
                Ok(body) => Reply::Granted(body),
                Err(error) => Reply::Refused(error),
            },
        };
        let reply = self.decide(reply);
        if !latency.is_zero() {
            sleep_until(begun + latency).await;
        }
        self.core.holds.pass(op, When::After, key).await;
        reply
    }

    /// What is to happen to it, decided when it arrives.
    fn fate(&self, op: Operation) -> Fate {
        let live = self.core.config.live();
        let has_token = |rate| self.scope.take_token(op, rate, self.core.clock.moment());
        if !live.rates[op.index()].is_none_or(has_token) {
            return Fate::Refused(KmsError::new(ErrorCode::Throttling, "Rate exceeded"));
        }
        let key = self.input.as_ref().ok().and_then(Input::logged_key);
        match self.core.config.fault(&live, op, key, &mut rand::rng()) {
            None => Fate::Work,
            Some(Fault::Refuse(code)) => Fate::Refused(KmsError::injected(code)),
            Some(Fault::Cut(cut)) => Fate::Cut(cut),
        }
    }

    fn work(&self, op: Operation) -> Result<Vec<u8>, KmsError> {
        let input = self.input.as_ref().map_err(Clone::clone)?;
        let now = self.core.clock.moment();
        let context = Context {
            op,
            scope: &self.scope,
            policies: &self.core.policies,
            now,
            wall_ns: self.core.clock.wall_ns(),
            read_at: now - self.core.config.live().read_lag,
        };
        perform(&context, input)
    }

    fn decide(&self, reply: Reply) -> Reply {
        let outcome = match &reply {
            Reply::Granted(_) => Outcome::Ok,
            Reply::Refused(error) => Outcome::Refused(error.code),
            Reply::Silence(cut) => Outcome::Cut(*cut),
        };
        self.core.log.decided(self.row, outcome);
        self.core.stats.count(self.op, outcome);
        reply
    }
}

enum Fate {
    Work,
    Refused(KmsError),
    Cut(Cut),
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{admin, admin::NewKeys, clock::ManualClock, config::Config, latency::Latency, store::KeyState};

    #[tokio::test(start_paused = true)]
    async fn the_work_is_done_in_the_middle_of_the_latency() {
        let config = Config { latency_ms: Latency { mean: 100.0, p99: 100.0 }, ..Config::default() };
        let clock = Arc::new(ManualClock::default());
        let core = Core::new(clock, "111122223333".to_owned(), "us-east-1".to_owned(), 10, config).unwrap();
        let core = Arc::new(core);
        let new = NewKeys { state: Some(KeyState::Disabled), ..NewKeys::default() };
        let id = admin::make_keys(&core, new).unwrap().remove(0);
        let scope = core.scopes.get("111122223333", "us-east-1");
        let state = || scope.with_key(&id, 0, |key| Ok(key.now().state)).unwrap();

        let body = format!(r#"{{"KeyId": "{id}"}}"#);
        let authorization = Some("Credential=A/20260101/us-east-1/kms/aws4_request");
        let arrived = arrive(&core, "TrentService.EnableKey", authorization, body.as_bytes());
        let begun = Instant::now();
        let answer = tokio::spawn(arrived.answer());
        sleep_until(begun + Duration::from_millis(48)).await;
        assert_eq!(state(), KeyState::Disabled);
        sleep_until(begun + Duration::from_millis(52)).await;
        assert_eq!(state(), KeyState::Enabled);
        assert!(!answer.is_finished());
        assert!(matches!(answer.await.unwrap(), Reply::Granted(_)));
        assert_eq!(begun.elapsed().as_millis(), 100);
    }
}
