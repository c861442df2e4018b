//! Registered keys and their synchronizations: what is asked of the scheduler, and what is told.

use keyfleet_proto::estate::v1 as proto;
use serde_json::{Value, json};

use crate::support::{Stage, request};

const KEYS: &str = "/api/v1/cckm/aws/keys";
const SYNCHRONIZATIONS: &str = "/api/v1/cckm/aws/synchronization-jobs";

fn key(id: &str) -> proto::Key {
    proto::Key {
        id: id.to_owned(),
        tenant: "kylo:kylo".to_owned(),
        kms: "default".to_owned(),
        kms_id: "the container".to_owned(),
        account_id: "111122223333".to_owned(),
        region: "us-east-1".to_owned(),
        key_id: "k1".to_owned(),
        arn: "arn:aws:kms:us-east-1:111122223333:key/k1".to_owned(),
        state: "PendingDeletion".to_owned(),
        deletion_date_us: Some(1_676_017_188_558_869),
        metadata: json!({"Description": "of payments", "Origin": "AWS_KMS"}).to_string(),
        tags: [("b".to_owned(), "2".to_owned()), ("a".to_owned(), "1".to_owned())].into(),
        aliases: vec!["alias/pay".to_owned()],
        ..proto::Key::default()
    }
}

#[tokio::test]
async fn a_key_is_told_in_aws_s_names() {
    let stage = Stage::set().await;
    let token = stage.log_in("admin").await;
    stage.scheduler.keys.lock().unwrap().push(key("r1"));
    let told = stage.get(&token, &format!("{KEYS}/r1")).await.json();
    assert_eq!(
        (&told["kms"], &told["kms_id"], &told["region"]),
        (&json!("default"), &json!("the container"), &json!("us-east-1"))
    );
    assert_eq!((&told["gone"], &told["cloud_name"]), (&json!(false), &json!("aws")));
    assert_eq!(
        (&told["uri"], &told["deletion_date"]),
        (&json!("kylo:kylo:cckm:aws-key:r1"), &json!("2023-02-10T08:19:48.558869Z"))
    );
    assert_eq!(
        told["aws_param"],
        json!({"Description": "of payments", "Origin": "AWS_KMS", "Alias": ["alias/pay"],
            "Arn": "arn:aws:kms:us-east-1:111122223333:key/k1", "Enabled": false, "KeyID": "k1", "KeyId": "k1",
            "KeyState": "PendingDeletion", "DeletionDate": "2023-02-10T08:19:48.558869Z",
            "Tags": [{"TagKey": "a", "TagValue": "1"}, {"TagKey": "b", "TagValue": "2"}]})
    );
    for path in ["r2", "%00", "r1/versions", "r1/rotations"] {
        stage.get(&token, &format!("{KEYS}/{path}")).await.refusal(404, 16);
    }
    let list = stage.get(&token, KEYS).await.json();
    assert_eq!((&list["total"], &list["limit"], &list["resources"][0]), (&json!(1), &json!(10), &told));
}

#[tokio::test]
async fn filters_are_passed_on_and_may_be_repeated() {
    let stage = Stage::set().await;
    let token = stage.log_in("admin").await;
    let query = "keyid=k1&keyid=k2&arn=a&alias=pay&alias=alias/log&kms=one&kms_id=two&region=r1&region=r2\
        &keystate=Enabled&enabled=true&gone=false&tags=%7B%22a%22:%22b%22%7D&tags=c%3Dd&skip=5&limit=7\
        &sort=-updatedAt,alias&cckm_policy_template_id=t&origin=EXTERNAL&unknown=1";
    assert_eq!(stage.get(&token, &format!("{KEYS}?{query}")).await.status, 200);
    let asked = stage.scheduler.keys_listed.lock().unwrap().pop().unwrap();
    assert_eq!((asked.tenant.as_str(), asked.skip, asked.limit), ("kylo:kylo", 5, 7));
    let sort: Vec<_> = asked.sort.iter().map(|key| (key.field(), key.descending)).collect();
    assert_eq!(sort, [(proto::KeyField::UpdatedAt, true), (proto::KeyField::Alias, false)]);
    let filter = asked.filter.unwrap();
    assert_eq!((filter.key_ids.join(" ").as_str(), filter.arns.join(" ").as_str()), ("k1 k2", "a"));
    assert_eq!((filter.aliases.join(" ").as_str(), filter.kms.join(" ").as_str()), ("alias/pay alias/log", "one two"));
    assert_eq!((filter.regions.join(" ").as_str(), filter.states.join(" ").as_str()), ("r1 r2", "Enabled"));
    assert_eq!((filter.enabled, filter.gone, filter.tags.len()), (Some(true), Some(false), 2));
    assert_eq!((filter.policy_template_ids.join(" ").as_str(), filter.origins.join(" ").as_str()), ("t", "EXTERNAL"));
    for (bad, field) in [
        ("enabled=maybe", "enabled"),
        ("tags=x", "tags"),
        ("sort=tags", "sort"),
        ("region=%00", "region"),
        ("limit=-2", "limit"),
    ] {
        let message = stage.get(&token, &format!("{KEYS}?{bad}")).await.refusal(400, 2);
        assert!(message.starts_with(&format!("{field}: ")), "{message}");
    }
}

#[tokio::test]
async fn no_filter_that_clients_of_cckm_have_is_ignored() {
    let stage = Stage::set().await;
    let token = stage.log_in("admin").await;
    let asked = async |query: &str| {
        assert_eq!(stage.get(&token, &format!("{KEYS}?{query}")).await.status, 200, "{query}");
        stage.scheduler.keys_listed.lock().unwrap().pop().unwrap().filter.unwrap()
    };
    for (query, field, values) in [
        ("keyusage=SIGN_VERIFY", "KeyUsage", "SIGN_VERIFY"),
        ("keymanager=AWS", "KeyManager", "AWS"),
        ("CustomerMasterKeySpec=RSA_4096&CustomerMasterKeySpec=RSA_2048", "CustomerMasterKeySpec", "RSA_4096 RSA_2048"),
        ("multi_region=false", "MultiRegion", "false"),
        ("multi_region=True&multi_region=false", "MultiRegion", "true false"),
        ("multi_region_key_type=REPLICA", "MultiRegionConfiguration.MultiRegionKeyType", "REPLICA"),
        ("custom_key_store_id=cks-1", "CustomKeyStoreId", "cks-1"),
        // No key has these.
        ("custom_key_store_name=hsm", "none", "hsm"),
        ("key_material_origin=cckm", "none", "cckm"),
        ("key_source=local", "none", "local"),
        ("job_config_id=c", "none", "c"),
        ("blocked=true", "none", "true"),
        ("rotation_job_enabled=true", "none", "true"),
    ] {
        let described = asked(query).await.described;
        let [of] = described.as_slice() else { panic!("{query}: {described:?}") };
        assert_eq!((of.field.as_str(), of.values.join(" ").as_str()), (field, values), "{query}");
    }
    assert!(asked("blocked=false&rotation_job_enabled=false").await.described.is_empty());
    assert_eq!(asked("cloud_name=aws&cloud_name=aws-cn").await.partitions, ["aws", "aws-cn"]);
    for bad in ["multi_region", "blocked", "rotation_job_enabled"] {
        let message = stage.get(&token, &format!("{KEYS}?{bad}=maybe")).await.refusal(400, 2);
        assert!(message.starts_with(&format!("{bad}: ")), "{message}");
    }
}

#[tokio::test]
async fn a_synchronization_is_started_read_and_canceled() {
    let stage = Stage::set().await;
    let token = stage.log_in("admin").await;
    let order = json!({"kms": ["a", "b"], "regions": ["us-east-1"], "synchronize_all": false});
    let answer = stage.post(&token, SYNCHRONIZATIONS, &order.to_string()).await;
    assert_eq!(answer.status, 201);
    let made = answer.json();
    assert!(made.get("completed_at").is_none());
    assert_eq!((&made["kms"], &made["overall_status"]), (&json!(["a", "b"]), &json!("in_progress")));
    assert_eq!(made["detailed_status"], json!({"a/us-east-1": "in_progress", "b/us-east-1": "in_progress"}));
    let id = made["id"].as_str().unwrap();
    assert_eq!(stage.get(&token, &format!("{SYNCHRONIZATIONS}/{id}")).await.json(), made);

    let cancel = request(http::Method::POST, &format!("{SYNCHRONIZATIONS}/{id}/cancel"), Some(&token))
        .header("content-type", "application/json")
        .header("content-length", 0)
        .body(axum::body::Body::empty());
    let canceled = stage.send(cancel.unwrap()).await;
    assert_eq!(canceled.status, 200);
    assert_eq!(
        (&canceled.json()["overall_status"], canceled.json()["completed_at"].is_string()),
        (&json!("canceled"), true)
    );

    let list =
        stage.get(&token, &format!("{SYNCHRONIZATIONS}?overall_status=canceled&kms=a&kms=b&skip=1&limit=3")).await;
    assert_eq!(list.json()["skip"], 1);
    let asked = stage.scheduler.synchronizations_listed.lock().unwrap().pop().unwrap();
    assert_eq!((asked.overall_status.as_str(), asked.kms.len(), asked.skip, asked.limit), ("canceled", 2, 1, 3));
    let message = stage.get(&token, &format!("{SYNCHRONIZATIONS}?overall_status=done")).await.refusal(400, 2);
    assert!(message.starts_with("overall_status: "), "{message}");

    stage.scheduler.refusals.lock().unwrap().push(tonic::Status::already_exists("kms: one runs"));
    assert_eq!(stage.post(&token, SYNCHRONIZATIONS, "{}").await.refusal(409, 9), "kms: one runs");
    stage.get(&token, &format!("{SYNCHRONIZATIONS}/unknown")).await.refusal(404, 16);
    for bad in ["[]", r#"{"kms": "a"}"#, r#"{"synchronize_all": 1}"#] {
        stage.post(&token, SYNCHRONIZATIONS, bad).await.refusal(400, 2);
    }
}

#[tokio::test]
async fn keys_and_synchronizations_have_the_fields_that_are_described() {
    let stage = Stage::set().await;
    let token = stage.log_in("admin").await;
    let document = stage.get(&token, "/api/openapi.json").await.json();
    let described = |schema: &str| -> Vec<String> {
        let mut names: Vec<_> =
            document["components"]["schemas"][schema]["properties"].as_object().unwrap().keys().cloned().collect();
        names.sort();
        names
    };
    let names = |value: &Value| -> Vec<String> {
        let mut names: Vec<_> = value.as_object().unwrap().keys().cloned().collect();
        names.sort();
        names
    };
    stage.scheduler.keys.lock().unwrap().push(key("r1"));
    assert_eq!(names(&stage.get(&token, &format!("{KEYS}/r1")).await.json()), described("KeyForm"));
    let made = stage.post(&token, SYNCHRONIZATIONS, r#"{"kms": ["a"]}"#).await.json();
    let path = format!("{SYNCHRONIZATIONS}/{}/cancel", made["id"].as_str().unwrap());
    assert_eq!(names(&stage.post(&token, &path, "").await.json()), described("SynchronizationForm"));
}
