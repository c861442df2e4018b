//! ListKeys, ListAliases and ListResourceTags, page by page; and what goes into them.

use kms_sim::{KeyState, NewKeys};
use serde_json::{Value, json};

use crate::client::{Kms, arn};

/// All pages of a list: the items, and how many pages there were.
async fn pages(kms: &Kms, op: &str, what: &str, mut request: Value) -> (Vec<Value>, usize) {
    let mut items = Vec::new();
    for page in 1.. {
        let answer = kms.call(op, request.clone()).await.ok();
        items.extend(answer[what].as_array().unwrap().iter().cloned());
        if answer["Truncated"] == false {
            assert!(answer.get("NextMarker").is_none());
            return (items, page);
        }
        request["Marker"] = answer["NextMarker"].clone();
    }
    unreachable!("the last page returns");
}

#[tokio::test]
async fn every_key_is_listed_once_whatever_the_page_size() {
    let kms = Kms::start().await;
    let mut made = kms.sim.make_keys(NewKeys { count: Some(250), ..NewKeys::default() }).unwrap();
    made.sort();
    for (request, expected_pages) in [(json!({}), 3), (json!({"Limit": 1000}), 1), (json!({"Limit": 125}), 2)] {
        let (keys, pages) = pages(&kms, "ListKeys", "Keys", request).await;
        let ids: Vec<&str> = keys.iter().map(|key| key["KeyId"].as_str().unwrap()).collect();
        assert_eq!(ids, made);
        assert_eq!(pages, expected_pages);
        assert_eq!(keys[0]["KeyArn"], arn(ids[0]));
    }
}

#[tokio::test]
async fn limits_and_markers_are_checked() {
    let kms = Kms::start().await;
    for (op, limit) in [("ListKeys", 0), ("ListKeys", 1001), ("ListAliases", 101), ("ListKeys", -1)] {
        let message = kms.call(op, json!({ "Limit": limit })).await.refused(400, "ValidationException");
        assert!(message.contains("'limit'"), "{message}");
    }
    kms.call("ListKeys", json!({"Marker": "junk"})).await.refused(400, "InvalidMarkerException");
}

#[tokio::test]
async fn aliases_are_listed_all_together_and_by_key() {
    let kms = Kms::start().await;
    let [first, second] = [KeyState::Enabled, KeyState::Enabled].map(|state| kms.make(state));
    for n in 0..7 {
        let target = if n % 2 == 0 { &first } else { &second };
        kms.call("CreateAlias", json!({"AliasName": format!("alias/a{n}"), "TargetKeyId": target})).await.ok();
    }
    let (all, count) = pages(&kms, "ListAliases", "Aliases", json!({"Limit": 3})).await;
    assert_eq!((all.len(), count), (7, 3));
    let (some, _) = pages(&kms, "ListAliases", "Aliases", json!({"KeyId": arn(&first), "Limit": 3})).await;
    let names: Vec<&str> = some.iter().map(|alias| alias["AliasName"].as_str().unwrap()).collect();
    assert_eq!(names, ["alias/a0", "alias/a2", "alias/a4", "alias/a6"]);
    assert_eq!(some[0]["TargetKeyId"], first);
    kms.call("CreateAlias", json!({"AliasName": "alias/a0", "TargetKeyId": first}))
        .await
        .refused(400, "AlreadyExistsException");
    kms.call("CreateAlias", json!({"AliasName": "a0", "TargetKeyId": first})).await.refused(400, "ValidationException");
    kms.call("CreateAlias", json!({"AliasName": "alias/aws/x", "TargetKeyId": first}))
        .await
        .refused(400, "InvalidAliasNameException");
}

#[tokio::test]
async fn tags_are_added_replaced_removed_and_counted() {
    let kms = Kms::start().await;
    let id = kms.make(KeyState::Enabled);
    let tag = |key: &str, value: &str| json!({"TagKey": key, "TagValue": value});
    let put = async |tags: Vec<Value>| kms.call("TagResource", json!({"KeyId": id, "Tags": tags})).await;
    put(vec![tag("b", "1"), tag("a", "1")]).await.ok();
    put(vec![tag("a", "2")]).await.ok();
    let (tags, count) = pages(&kms, "ListResourceTags", "Tags", json!({"KeyId": id, "Limit": 1})).await;
    assert_eq!((tags, count), (vec![tag("a", "2"), tag("b", "1")], 2));
    kms.call("UntagResource", json!({"KeyId": id, "TagKeys": ["a", "missing"]})).await.ok();
    assert_eq!(kms.key("ListResourceTags", &id).await.ok()["Tags"], json!([tag("b", "1")]));
    put(vec![tag("c", "1"), tag("c", "2")]).await.refused(400, "TagException");
    put(vec![tag("aws:c", "1")]).await.refused(400, "TagException");
    put((0..50).map(|n| tag(&n.to_string(), "")).collect()).await.refused(400, "LimitExceededException");
}

#[tokio::test]
async fn a_created_key_is_as_it_was_asked_for() {
    let kms = Kms::start().await;
    let request = json!({"Description": "mine", "MultiRegion": true, "Tags": [{"TagKey": "a", "TagValue": "b"}]});
    let metadata = kms.call("CreateKey", request).await.ok()["KeyMetadata"].clone();
    let id = metadata["KeyId"].as_str().unwrap();
    assert!(id.starts_with("mrk-") && metadata["MultiRegion"] == true, "{metadata}");
    let several = &metadata["MultiRegionConfiguration"];
    assert_eq!((&several["MultiRegionKeyType"], &several["PrimaryKey"]["Arn"]), (&json!("PRIMARY"), &metadata["Arn"]));
    assert_eq!(kms.key("DescribeKey", id).await.ok()["KeyMetadata"], metadata);
    assert_eq!(kms.key("ListResourceTags", id).await.ok()["Tags"].as_array().unwrap().len(), 1);
    kms.call("UpdateKeyDescription", json!({"KeyId": id, "Description": "yours"})).await.ok();
    assert_eq!(kms.key("DescribeKey", id).await.ok()["KeyMetadata"]["Description"], "yours");

    let external = kms.call("CreateKey", json!({"Origin": "EXTERNAL"})).await.ok()["KeyMetadata"].clone();
    assert_eq!((&external["KeyState"], &external["Origin"]), (&json!("PendingImport"), &json!("EXTERNAL")));
    kms.call("CreateKey", json!({"KeySpec": "RSA_2048"})).await.refused(400, "UnsupportedOperationException");
}
