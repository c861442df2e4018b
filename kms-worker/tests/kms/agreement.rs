//! kms-sim and moto side by side: the same worker, the same keys, the same answers.

use job_model::{KeyState, Request};
use kms_sim::{Settings, Sim};

use crate::{
    end::{End, permit, policy, requests, said},
    moto::Moto,
};

/// The states that both ends can be brought to. (At moto a key without key material is Enabled.)
const STATES: [KeyState; 3] = [KeyState::Enabled, KeyState::Disabled, KeyState::PendingDeletion];

/// Where moto says OK although AWS refuses with KMSInvalidStateException.
fn moto_is_too_kind(request: &Request, state: KeyState) -> bool {
    use KeyState as K;
    match request {
        Request::EnableKey | Request::DisableKey | Request::ScheduleKeyDeletion { .. } => state == K::PendingDeletion,
        Request::CancelKeyDeletion => state != K::PendingDeletion,
        Request::ApplyPolicy { .. } => false,
    }
}

struct Ends {
    sim: End,
    moto: End,
    _running: (Sim, Moto),
}

impl Ends {
    async fn start() -> Self {
        let sim = Sim::start(Settings::with_quota(job_model::quota::Quotas::off())).await.unwrap();
        let moto = Moto::start().await;
        Self { sim: End::new(sim.url()), moto: End::new(moto.url()), _running: (sim, moto) }
    }
}

#[tokio::test]
async fn both_ends_agree_but_where_moto_is_known_to_be_too_kind() {
    let ends = Ends::start().await;
    for state in STATES {
        for request in requests() {
            let (by_sim, by_moto) = (ends.sim.make_key(state).await, ends.moto.make_key(state).await);
            let (sim, moto) = (ends.sim.act(&by_sim, &request).await, ends.moto.act(&by_moto, &request).await);
            if moto_is_too_kind(&request, state) {
                assert_eq!((sim.as_str(), moto.as_str()), ("KMSInvalidStateException", "ok"), "{request:?} {state:?}");
            } else {
                assert_eq!(sim, moto, "{request:?} on a key that is {state:?}");
                assert_eq!(ends.sim.state(&by_sim).await, ends.moto.state(&by_moto).await, "after {request:?}");
            }
        }
    }
}

#[tokio::test]
async fn both_ends_agree_on_what_they_do_not_know_and_what_they_read() {
    let ends = Ends::start().await;
    // moto looks into other Regions for a bare id and says so at length; the code is the same.
    for id in ["12345678-1234-1234-1234-123456789012", "arn:aws:kms:us-east-1:111122223333:key/none"] {
        for request in requests() {
            let (sim, moto) = (ends.sim.act(id, &request).await, ends.moto.act(id, &request).await);
            assert_eq!((sim.as_str(), moto.as_str()), ("NotFoundException", "NotFoundException"), "{request:?} {id}");
        }
    }
    for end in [&ends.sim, &ends.moto] {
        let id = end.make_key(KeyState::Enabled).await;
        let asked = Request::ApplyPolicy { policy: policy("read back").into() };
        assert_eq!(end.act(&id, &asked).await, "ok");
        let seen = end.key(&id).observe(&asked, &permit()).await.result.unwrap();
        let now = service_kit::clock::wall();
        assert_eq!(job_model::plan::plan(&asked, &seen, now), job_model::Plan::AlreadyThere);
        let schedule = Request::ScheduleKeyDeletion { days: 9 };
        assert_eq!(end.act(&id, &schedule).await, "ok");
        let seen = end.key(&id).observe(&schedule, &permit()).await.result.unwrap();
        assert_eq!(job_model::plan::plan(&schedule, &seen, now), job_model::Plan::AlreadyThere, "{seen:?}");
    }
}

#[tokio::test]
async fn moto_takes_input_that_aws_refuses() {
    let ends = Ends::start().await;
    let malformed = Request::ApplyPolicy { policy: "{}".into() };
    for (request, refusal) in [
        (malformed, "MalformedPolicyDocumentException"),
        (Request::ScheduleKeyDeletion { days: 3 }, "ValidationException"),
    ] {
        let (sim, moto) = (ends.sim.make_key(KeyState::Enabled).await, ends.moto.make_key(KeyState::Enabled).await);
        assert_eq!(said(ends.sim.key(&sim).act(&request, &permit()).await), refusal);
        assert_eq!(said(ends.moto.key(&moto).act(&request, &permit()).await), "ok");
    }
}
