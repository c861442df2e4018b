//! Every operation in every key state, against kms-sim: what AWS's table says is what the worker is told.

use job_model::{Forecast, KeyState, Outcome, Request, TaskRef, outcome::Failure, plan::Leave};
use kms_sim::{NewKeys, Settings, Sim};
use kms_worker::{
    permit::Permit,
    run::{Attempt, Looked, Spec, Tried, attempt, look},
};
use service_kit::clock::boottime;

use crate::end::{End, address, flag, lease, permit, policy, requests};

/// AWS's table (developer guide, "Key states of AWS KMS keys"): the state after, or the refusal.
fn documented(request: &Request, state: KeyState) -> Result<KeyState, &'static str> {
    use KeyState as K;
    const REFUSED: Result<KeyState, &str> = Err("KMSInvalidStateException");
    match request {
        Request::EnableKey | Request::DisableKey => match state {
            K::Enabled | K::Disabled if *request == Request::EnableKey => Ok(K::Enabled),
            K::Enabled | K::Disabled => Ok(K::Disabled),
            K::Unavailable => Ok(K::Unavailable),
            K::PendingDeletion | K::PendingReplicaDeletion | K::PendingImport | K::Creating | K::Updating => REFUSED,
        },
        Request::ScheduleKeyDeletion { .. } => match state {
            K::Enabled | K::Disabled | K::PendingImport | K::Unavailable | K::Creating => Ok(K::PendingDeletion),
            K::PendingDeletion | K::PendingReplicaDeletion | K::Updating => REFUSED,
        },
        Request::CancelKeyDeletion => match state {
            K::PendingDeletion | K::PendingReplicaDeletion => Ok(K::Disabled),
            K::Enabled | K::Disabled | K::PendingImport | K::Unavailable | K::Creating | K::Updating => REFUSED,
        },
        Request::ApplyPolicy { .. } => Ok(state),
    }
}

fn in_sim(state: KeyState) -> kms_sim::KeyState {
    kms_sim::KeyState::ALL.into_iter().find(|candidate| candidate.name() == state.as_str()).unwrap()
}

struct Setup {
    sim: Sim,
    end: End,
}

impl Setup {
    async fn new() -> Self {
        let sim = Sim::start(Settings::with_quota(job_model::quota::Quotas::off())).await.unwrap();
        let end = End::new(sim.url());
        Self { sim, end }
    }

    fn key(&self, state: KeyState) -> String {
        let new = NewKeys { count: Some(1), state: Some(in_sim(state)), ..NewKeys::default() };
        self.sim.make_keys(new).unwrap().remove(0)
    }

    /// One whole try; its outcome and the operations it made.
    async fn run(&self, id: &str, request: &Request, force: bool) -> (Outcome, Vec<&'static str>) {
        let (tried, made) = self.attempt(id, Spec { request: request.clone(), force, dry_run: false }).await;
        assert_eq!(tried.acted, made.contains(&request.operation().kms_operation()));
        (tried.outcome, made)
    }

    /// One whole try that nothing but its spec keeps from acting.
    async fn attempt(&self, id: &str, spec: Spec) -> (Tried, Vec<&'static str>) {
        let before = self.sim.log(0).len();
        let tried = attempt(
            &self.end.kms,
            &Attempt {
                task: TaskRef { job: job_model::JobId::from_uuid(uuid::Uuid::from_u128(1)), seq: 0 },
                key: address(id),
                spec: spec.into(),
                leave: Leave { acting: true, doubted: false, trust_reading: true },
                permit: permit(),
            },
        )
        .await;
        let log = self.sim.log(0);
        (tried, log[before..].iter().filter_map(|row| Some(row.op?.name())).collect())
    }
}

#[tokio::test]
async fn a_dry_run_reads_once_and_foretells_the_run_after_it() {
    let setup = Setup::new().await;
    for state in KeyState::ALL.into_iter().filter(|state| !state.passes()) {
        for request in requests() {
            for force in [false, true] {
                let id = setup.key(state);
                let spec = Spec { request: request.clone(), force, dry_run: true };
                let (tried, made) = setup.attempt(&id, spec).await;
                let read = if matches!(request, Request::ApplyPolicy { .. }) { "GetKeyPolicy" } else { "DescribeKey" };
                assert_eq!(made, [read], "{request:?} {state:?}");
                assert!(!tried.acted);
                assert_eq!(setup.end.state(&id).await, state, "it is as it was");
                let Outcome::Foretold(forecast) = tried.outcome else { panic!("{request:?} {state:?}: {tried:?}") };
                let foretold = match forecast {
                    Forecast::Would => Some(false),
                    Forecast::Already => Some(true),
                    Forecast::Impossible(_) => None,
                };
                let came = match setup.run(&id, &request, force).await.0 {
                    Outcome::Succeeded { already } => Some(already),
                    Outcome::Refused(_) => None,
                    outcome @ (Outcome::Again { .. } | Outcome::Foretold(_) | Outcome::Unstarted) => {
                        panic!("{request:?} {state:?}: {outcome:?}")
                    }
                };
                assert_eq!(foretold, came, "{request:?} {state:?}, forced {force}");
            }
        }
    }
}

#[tokio::test]
async fn no_call_is_made_under_a_permit_that_only_observes() {
    let setup = Setup::new().await;
    let id = setup.key(KeyState::Disabled);
    for permit in [Permit::for_observing(&lease(), flag(), boottime), Permit::for_look(&lease(), boottime)] {
        let answer = setup.end.kms.key(&address(&id)).act(&Request::EnableKey, &std::sync::Arc::new(permit)).await;
        assert_eq!((answer.result, answer.sent), (Err(Failure::Void), false));
    }
    assert_eq!(setup.sim.log(0).len(), 0);
}

#[tokio::test]
async fn every_operation_in_every_state_ends_as_aws_documents() {
    let setup = Setup::new().await;
    for state in KeyState::ALL {
        for request in requests() {
            let id = setup.key(state);
            assert_eq!(setup.end.state(&id).await, state);
            let said = setup.end.act(&id, &request).await;
            let (expected, after) = match documented(&request, state) {
                Ok(after) => ("ok", after),
                Err(code) => (code, state),
            };
            assert_eq!(said, expected, "{request:?} on a key that is {state:?}");
            assert_eq!(setup.end.state(&id).await, after, "after {request:?} on a key that was {state:?}");
        }
    }
}

#[tokio::test]
async fn a_try_ends_as_the_call_would_or_without_a_call() {
    let setup = Setup::new().await;
    for state in KeyState::ALL.into_iter().filter(|state| !state.passes()) {
        for request in requests() {
            let id = setup.key(state);
            let (outcome, made) = setup.run(&id, &request, false).await;
            let called = made.contains(&request.operation().kms_operation());
            match outcome {
                Outcome::Succeeded { already } => assert_eq!(already, !called),
                Outcome::Refused(refusal) => {
                    assert!(called, "only KMS refuses");
                    assert_eq!(documented(&request, state), Err(refusal.code.as_str()), "{request:?} {state:?}");
                }
                Outcome::Again { .. } | Outcome::Foretold(_) | Outcome::Unstarted => {
                    panic!("{request:?} {state:?}: {outcome:?}")
                }
            }
        }
    }
}

#[tokio::test]
async fn a_key_in_the_asked_state_costs_no_call_unless_forced() {
    let setup = Setup::new().await;
    let id = setup.key(KeyState::Enabled);
    let (outcome, made) = setup.run(&id, &Request::EnableKey, false).await;
    assert_eq!((outcome, made), (Outcome::Succeeded { already: true }, vec!["DescribeKey"]));
    let (outcome, made) = setup.run(&id, &Request::EnableKey, true).await;
    assert_eq!((outcome, made), (Outcome::Succeeded { already: false }, vec!["DescribeKey", "EnableKey"]));
    let request = Request::ApplyPolicy { policy: policy("asked").into() };
    let (outcome, made) = setup.run(&id, &request, false).await;
    assert_eq!((outcome, made), (Outcome::Succeeded { already: false }, vec!["GetKeyPolicy", "PutKeyPolicy"]));
    let (outcome, made) = setup.run(&id, &request, false).await;
    assert_eq!((outcome, made), (Outcome::Succeeded { already: true }, vec!["GetKeyPolicy"]));
}

#[tokio::test]
async fn a_key_that_nobody_knows_is_refused_without_a_call() {
    let setup = Setup::new().await;
    for request in requests() {
        let (outcome, made) = setup.run("nobody-knows-me", &request, false).await;
        assert!(matches!(outcome, Outcome::Refused(refusal) if refusal.code == "NotFoundException"));
        assert!(!made.contains(&request.operation().kms_operation()));
    }
}

#[tokio::test]
async fn a_look_tells_whether_the_key_is_where_its_job_wants_it() {
    let setup = Setup::new().await;
    let look = async |id: &str, request: &Request| look(&setup.end.kms, &address(id), request, &permit()).await;
    let id = setup.key(KeyState::Disabled);
    assert_eq!(look(&id, &Request::DisableKey).await, Looked::Seen { there: true, state: "Disabled" });
    assert_eq!(look(&id, &Request::EnableKey).await, Looked::Seen { there: false, state: "Disabled" });
    let Looked::Refused { code, .. } = look("nobody-knows-me", &Request::EnableKey).await else { panic!() };
    assert_eq!(code, "NotFoundException");
    let change = serde_json::from_str(r#"{"faults": {"KMSInternalException": 1.0}}"#).unwrap();
    setup.sim.configure(change).unwrap();
    let Looked::Unavailable { code, .. } = look(&id, &Request::EnableKey).await else { panic!() };
    assert_eq!(code, "KMSInternalException");
    let made: Vec<_> = setup.sim.log(0).iter().filter_map(|row| Some(row.op?.name())).collect();
    assert_eq!(made, ["DescribeKey"; 4], "it only reads");
}
