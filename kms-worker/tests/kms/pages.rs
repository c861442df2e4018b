//! Paging through all that an account and Region have, against kms-sim.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use job_model::quota::Quotas;
use keyfleet_proto::workers::v1::{KeysPage, PageKind, PageRequest, PageResult, page_result::Outcome};
use kms_sim::{ConfigChange, KeyState, NewKeys, Settings, Sim};
use kms_worker::pages;
use serde_json::{Value, json};

use crate::end::{End, permit};

fn request(kind: PageKind, marker: &str, limit: u32) -> PageRequest {
    let (account, region) = ("111122223333".to_owned(), "us-east-1".to_owned());
    PageRequest { page: 7, account, region, kind: kind.into(), marker: marker.to_owned(), limit }
}

async fn page(end: &End, kind: PageKind, marker: &str, limit: u32) -> PageResult {
    let result = pages::read(&end.kms, &request(kind, marker, limit), permit()).await;
    assert_eq!(result.page, 7);
    result
}

async fn start(quotas: Quotas) -> (Sim, End) {
    let sim = Sim::start(Settings::with_quota(quotas)).await.unwrap();
    let end = End::new(sim.url());
    (sim, end)
}

fn keys(result: PageResult) -> KeysPage {
    match result.outcome {
        Some(Outcome::Keys(page)) => page,
        other => panic!("{other:?}"),
    }
}

fn fault(sim: &Sim, faults: &Value) {
    let change: ConfigChange = serde_json::from_value(json!({ "faults": *faults })).unwrap();
    sim.configure(change).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_keys_are_all_met_once_although_kms_throttles() {
    let (sim, end) = start(Quotas::aws()).await;
    let made: BTreeSet<String> =
        sim.make_keys(NewKeys { count: Some(10_000), ..NewKeys::default() }).unwrap().into_iter().collect();
    fault(
        &sim,
        &json!({"DescribeKey": {"ThrottlingException": 0.05}, "ListResourceTags": {"ThrottlingException": 0.05}}),
    );
    let mut met = BTreeSet::new();
    let (mut marker, mut pages, mut throttled) = (String::new(), 0, false);
    loop {
        let result = page(&end, PageKind::Keys, &marker, 100).await;
        throttled |= result.throttled;
        // A page that could not be read whole is asked for again.
        let page = match result.outcome {
            Some(Outcome::Keys(page)) => page,
            Some(Outcome::Unavailable(again)) => {
                assert_eq!(again.code, "ThrottlingException", "{again:?}");
                continue;
            }
            other => panic!("{other:?}"),
        };
        pages += 1;
        assert!(page.keys.len() <= 100 && page.skipped == 0);
        for key in page.keys {
            assert!(key.arn.ends_with(&key.key_id) && key.state == "Enabled");
            assert!(met.insert(key.key_id), "no key is met twice");
        }
        marker = page.next_marker;
        if marker.is_empty() {
            break;
        }
    }
    assert!(throttled, "KMS did throttle");
    assert_eq!((pages, met == made), (100, true));
}

#[tokio::test]
async fn a_key_comes_with_its_description_and_tags_and_an_alias_with_its_key() {
    let (sim, end) = start(Quotas::off()).await;
    let made = end
        .ask("CreateKey", json!({"Description": "of payments", "Tags": [{"TagKey": "team", "TagValue": "pay"}]}))
        .await;
    let id = made["KeyMetadata"]["KeyId"].as_str().unwrap().to_owned();
    end.ask("CreateAlias", json!({"AliasName": "alias/pay", "TargetKeyId": id})).await;
    end.ask("ScheduleKeyDeletion", json!({"KeyId": id, "PendingWindowInDays": 7})).await;
    sim.make_keys(NewKeys { count: Some(2), state: Some(KeyState::Disabled), ..NewKeys::default() }).unwrap();

    let found = keys(page(&end, PageKind::Keys, "", 1_000).await);
    assert_eq!((found.keys.len(), found.next_marker.as_str()), (3, ""));
    let states: BTreeMap<&str, &str> = found.keys.iter().map(|key| (key.key_id.as_str(), key.state.as_str())).collect();
    assert_eq!(states[id.as_str()], "PendingDeletion");
    let key = found.keys.iter().find(|key| key.key_id == id).unwrap();
    assert_eq!(key.tags, [("team".to_owned(), "pay".to_owned())].into());
    assert!(key.deletion_date_us.is_some());
    let told: Value = serde_json::from_str(&key.metadata).unwrap();
    assert_eq!((&told["Description"], &told["KeyUsage"]), (&json!("of payments"), &json!("ENCRYPT_DECRYPT")));
    assert_eq!((&told["AWSAccountId"], &told["Origin"]), (&json!("111122223333"), &json!("AWS_KMS")));

    let result = page(&end, PageKind::Aliases, "", 100).await;
    let Some(Outcome::Aliases(found)) = result.outcome else { panic!("{result:?}") };
    let aliases: Vec<_> = found.aliases.iter().map(|alias| (alias.name.as_str(), alias.key_id.as_str())).collect();
    assert_eq!((aliases, found.next_marker.as_str()), (vec![("alias/pay", id.as_str())], ""));
}

#[tokio::test]
async fn a_key_that_kms_does_not_describe_is_left_out_and_a_list_that_it_refuses_is_told_once() {
    let (sim, end) = start(Quotas::off()).await;
    sim.make_keys(NewKeys { count: Some(5), ..NewKeys::default() }).unwrap();
    let next = |op: &str, fault: &str| {
        let change: ConfigChange = serde_json::from_value(json!({"next": [{"op": op, "fault": fault}]})).unwrap();
        sim.configure(change).unwrap();
    };
    next("DescribeKey", "AccessDeniedException");
    let found = keys(page(&end, PageKind::Keys, "", 10).await);
    assert_eq!((found.keys.len(), found.skipped), (4, 1));
    next("DescribeKey", "NotFoundException");
    let found = keys(page(&end, PageKind::Keys, "", 10).await);
    assert_eq!((found.keys.len(), found.skipped), (4, 0));
    for kind in [PageKind::Keys, PageKind::Aliases] {
        next(if kind == PageKind::Keys { "ListKeys" } else { "ListAliases" }, "AccessDeniedException");
        let result = page(&end, kind, "", 10).await;
        assert!(
            matches!(&result.outcome, Some(Outcome::Refused(said)) if said.code == "AccessDeniedException"),
            "{result:?}"
        );
    }
}

#[tokio::test]
async fn without_a_lease_nothing_is_read() {
    let (sim, end) = start(Quotas::off()).await;
    let lapsed = std::sync::Arc::new(kms_worker::permit::Permit::for_look(
        &std::sync::Arc::new(kms_worker::lease::Lease::default()),
        service_kit::clock::boottime,
    ));
    let result = pages::read(&end.kms, &request(PageKind::Keys, "", 10), lapsed).await;
    assert!(matches!(&result.outcome, Some(Outcome::Unavailable(said)) if said.code == "Void"), "{result:?}");
    assert!(sim.log(0).is_empty());
    let gone = crate::end::kms("http://127.0.0.1:1", Duration::from_millis(200), service_kit::clock::boottime);
    let result = pages::read(&gone, &request(PageKind::Aliases, "", 10), permit()).await;
    assert!(matches!(&result.outcome, Some(Outcome::Unavailable(said)) if said.code == "Unsent"), "{result:?}");
}
