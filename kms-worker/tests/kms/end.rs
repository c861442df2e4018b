//! A KMS end as the tests use it: the worker's own client, and raw requests for what the worker never asks.

use std::{sync::Arc, time::Duration};

use job_model::{JobId, KeyAddress, KeyState, Observed, Request, outcome::Failure};
use kms_worker::{
    kms::{Answer, Key, Kms, KmsSettings},
    lease::{Heartbeats, Lease},
    permit::Permit,
    stops::{Flag, Stops},
};
use serde_json::{Value, json};
use service_kit::{clock, settings::Secret};

const REGION: &str = "us-east-1";
const ACCOUNT: &str = "111122223333";
const ACCESS_KEY_ID: &str = "AKIDEXAMPLE";

/// One end, and a live lease to speak to it.
pub(crate) struct End {
    pub(crate) kms: Kms,
    url: String,
    http: reqwest::Client,
}

/// A client of the end at `url`.
pub(crate) fn kms(url: &str, operation_timeout: Duration, clock: kms_worker::permit::Clock) -> Kms {
    kms_and_sts(url, url, operation_timeout, clock)
}

/// The same with an STS of its own.
pub(crate) fn kms_and_sts(url: &str, sts: &str, operation_timeout: Duration, clock: kms_worker::permit::Clock) -> Kms {
    let settings = KmsSettings {
        endpoint: Some(url.to_owned()),
        sts_endpoint: Some(sts.to_owned()),
        region: REGION.to_owned(),
        operation_timeout,
        session_name: "keyfleet-test".to_owned(),
    };
    Kms::with_credentials(settings, ACCESS_KEY_ID, &Secret::new("secret".to_owned()), clock)
}

/// Where a key of the default container lives.
pub(crate) fn address(id: &str) -> KeyAddress {
    KeyAddress { account: ACCOUNT.into(), region: REGION.into(), id: id.into() }
}

/// A permit to act under a lease of an hour.
pub(crate) fn permit() -> Arc<Permit> {
    Arc::new(Permit::for_go(&lease(), flag(), clock::boottime))
}

/// The flag of a job that nobody aborts.
pub(crate) fn flag() -> Flag {
    Stops::default().flag(JobId::from_uuid(uuid::Uuid::from_u128(1)))
}

/// A lease of an hour.
pub(crate) fn lease() -> Arc<Lease> {
    let lease = Arc::new(Lease::default());
    let mut beats = Heartbeats::new(lease.clone());
    let number = beats.beat(clock::boottime());
    beats.granted(number, Duration::from_secs(3600), clock::boottime());
    lease
}

impl End {
    pub(crate) fn new(url: String) -> Self {
        // Refused only when it is installed already.
        let _already = rustls::crypto::aws_lc_rs::default_provider().install_default();
        Self { kms: kms(&url, Duration::from_secs(20), clock::boottime), url, http: reqwest::Client::new() }
    }

    pub(crate) fn key(&self, id: &str) -> Key {
        self.kms.key(&address(id))
    }

    /// A request of KMS's protocol, unsigned. Panics unless it is answered with 200.
    pub(crate) async fn ask(&self, operation: &str, input: Value) -> Value {
        let scope = format!("Credential={ACCESS_KEY_ID}/20260101/{REGION}/kms/aws4_request");
        let answer = self
            .http
            .post(&self.url)
            .header("X-Amz-Target", format!("TrentService.{operation}"))
            .header("Content-Type", "application/x-amz-json-1.1")
            .header("Authorization", format!("AWS4-HMAC-SHA256 {scope}, SignedHeaders=host, Signature=0"))
            .body(input.to_string())
            .send()
            .await
            .unwrap();
        let (status, text) = (answer.status(), answer.text().await.unwrap());
        assert!(status.is_success(), "{operation}: {status} {text}");
        serde_json::from_str(&text).unwrap_or(Value::Null)
    }

    /// A new key in one of the states that KMS's own operations lead to.
    pub(crate) async fn make_key(&self, state: KeyState) -> String {
        let made = self.ask("CreateKey", json!({})).await;
        let id = made["KeyMetadata"]["KeyId"].as_str().unwrap().to_owned();
        match state {
            KeyState::Enabled => {}
            KeyState::Disabled => drop(self.ask("DisableKey", json!({ "KeyId": id })).await),
            KeyState::PendingDeletion => drop(self.ask("ScheduleKeyDeletion", json!({ "KeyId": id })).await),
            KeyState::PendingImport
            | KeyState::PendingReplicaDeletion
            | KeyState::Unavailable
            | KeyState::Creating
            | KeyState::Updating => panic!("not at both ends: {state:?}"),
        }
        assert_eq!(self.state(&id).await, state);
        id
    }

    /// The key's state, as the worker sees it.
    pub(crate) async fn state(&self, id: &str) -> KeyState {
        let answer = self.key(id).observe(&Request::EnableKey, &permit()).await;
        match answer.result {
            Ok(Observed::State { state, .. }) => state,
            Ok(Observed::Policy(_)) | Err(_) => panic!("{answer:?}"),
        }
    }

    /// What the end says to the mutating call: `ok`, or the code of its refusal.
    pub(crate) async fn act(&self, id: &str, request: &Request) -> String {
        said(self.key(id).act(request, &permit()).await)
    }
}

/// An answer in one word.
pub(crate) fn said<T: std::fmt::Debug>(answer: Answer<T>) -> String {
    assert!(answer.sent);
    match answer.result {
        Ok(_) => "ok".to_owned(),
        Err(Failure::Refused(refusal)) => {
            assert!(!refusal.text.is_empty());
            refusal.code
        }
        Err(failure @ (Failure::Unsent(_) | Failure::Unanswered(_) | Failure::Void)) => panic!("{failure:?}"),
    }
}

/// A policy that locks nobody out.
pub(crate) fn policy(sid: &str) -> String {
    json!({
        "Version": "2012-10-17",
        "Statement": [{
            "Sid": sid,
            "Effect": "Allow",
            "Principal": { "AWS": format!("arn:aws:iam::{ACCOUNT}:root") },
            "Action": "kms:*",
            "Resource": "*",
        }],
    })
    .to_string()
}

/// All requests, of all operations.
pub(crate) fn requests() -> [Request; 5] {
    [
        Request::EnableKey,
        Request::DisableKey,
        Request::ScheduleKeyDeletion { days: 7 },
        Request::CancelKeyDeletion,
        Request::ApplyPolicy { policy: policy("asked").into() },
    ]
}
