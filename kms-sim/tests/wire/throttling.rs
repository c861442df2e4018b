//! Quotas: per account, Region and operation, one second's worth at once, refilled continuously.

use std::{collections::HashMap, time::Duration};

use job_model::quota::{AWS_DEFAULTS, Quotas};
use kms_sim::{KeyState, NewKeys, Operation};
use serde_json::json;

use crate::client::{Kms, REGION};

/// Calls so often, and tells how many were granted; the rest must have been throttled.
async fn granted(kms: &Kms, times: usize, op: &str, id: &str) -> usize {
    let mut granted = 0;
    for _ in 0..times {
        let answer = kms.key(op, id).await;
        if answer.status == 200 {
            granted += 1;
        } else {
            assert_eq!(answer.refused(400, "ThrottlingException"), "Rate exceeded");
        }
    }
    granted
}

#[tokio::test]
async fn a_second_s_quota_at_once_and_then_as_it_refills() {
    let kms = Kms::start_with(Quotas::aws()).await;
    let id = kms.make(KeyState::Enabled);
    assert_eq!(granted(&kms, 8, "EnableKey", &id).await, 5);
    kms.clock.advance(Duration::from_millis(200));
    assert_eq!(granted(&kms, 3, "EnableKey", &id).await, 1);
    kms.clock.advance(Duration::from_secs(3600));
    assert_eq!(granted(&kms, 8, "EnableKey", &id).await, 5);
}

#[tokio::test]
async fn each_operation_account_and_region_has_its_own() {
    let kms = Kms::start_with(Quotas::aws()).await;
    kms.sim.add_accounts(HashMap::from([("AKIDOTHER".to_owned(), "222233334444".to_owned())]));
    let id = kms.make(KeyState::Enabled);
    for (account, region) in [(Some("222233334444"), REGION), (None, "eu-west-1")] {
        let new = NewKeys {
            ids: vec![id.clone()],
            account: account.map(str::to_owned),
            region: Some(region.to_owned()),
            ..NewKeys::default()
        };
        kms.sim.make_keys(new).unwrap();
    }
    assert_eq!(granted(&kms, 6, "EnableKey", &id).await, 5);
    assert_eq!(granted(&kms, 6, "DisableKey", &id).await, 5);
    let body = json!({ "KeyId": id }).to_string();
    for (credential, region) in [("AKIDOTHER", REGION), ("AKIDEXAMPLE", "eu-west-1")] {
        kms.call_as(credential, region, "EnableKey", body.clone()).await.ok();
    }
}

#[tokio::test]
async fn every_operation_has_aws_s_quota() {
    let kms = Kms::start_with(Quotas::aws()).await;
    for (op, quota) in AWS_DEFAULTS.into_iter().filter(|(op, quota)| *quota < 100.0 && op.parse::<Operation>().is_ok())
    {
        let throttled = {
            let mut calls = 0;
            // A request that is wrong in itself costs a token all the same.
            while kms.call(op, json!({})).await.error_type.as_deref() != Some("ThrottlingException") {
                calls += 1;
            }
            calls
        };
        assert_eq!(f64::from(throttled), quota, "{op}");
    }
}

#[tokio::test]
async fn a_configured_quota_takes_effect_at_once() {
    let kms = Kms::start_with(Quotas::aws()).await;
    let id = kms.make(KeyState::Enabled);
    assert_eq!(granted(&kms, 6, "EnableKey", &id).await, 5);
    kms.configure(json!({"quota": {"EnableKey": 8}}));
    assert_eq!(granted(&kms, 10, "EnableKey", &id).await, 8);
    kms.configure(json!({"quota": "off"}));
    assert_eq!(granted(&kms, 50, "EnableKey", &id).await, 50);
}

#[tokio::test]
async fn throttled_requests_are_logged_and_change_nothing() {
    let kms = Kms::start_with(Quotas::aws()).await;
    let id = kms.make(KeyState::Enabled);
    granted(&kms, 5, "EnableKey", &id).await;
    kms.sim
        .make_keys(NewKeys { ids: vec![id.clone()], state: Some(KeyState::Disabled), ..NewKeys::default() })
        .unwrap();
    assert_eq!(granted(&kms, 1, "EnableKey", &id).await, 0);
    assert_eq!(kms.state(&id).await, "Disabled");
    let row = &kms.sim.log(5)[0];
    assert_eq!((row.outcome.status(), row.outcome.error()), (400, Some("ThrottlingException")));
    assert_eq!(kms.sim.stats()["EnableKey"]["ThrottlingException"], 1);
}
