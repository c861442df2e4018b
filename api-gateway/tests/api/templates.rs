//! Policy templates: what callers send, and what is told of a template.

use axum::body::Body;
use http::Method;
use serde_json::{Value, json};

use crate::support::{Answer, Stage, request};

const TEMPLATES: &str = "/api/v1/cckm/aws/templates";

async fn patch(stage: &Stage, token: &str, template: &str, body: &Value) -> Answer {
    let call = request(Method::PATCH, &format!("{TEMPLATES}/{template}"), Some(token))
        .header("content-type", "application/json")
        .body(Body::from(body.to_string()));
    stage.send(call.unwrap()).await
}

#[tokio::test]
async fn a_policy_is_taken_as_object_or_string() {
    let stage = Stage::set().await;
    let token = stage.log_in("admin").await;
    for policy in [json!({"Version": "2012-10-17"}), json!("{\"Version\": \"2012-10-17\"}")] {
        let body = json!({"name": "n", "policy": policy, "kms": "default", "more": 1});
        let answer = stage.post(&token, TEMPLATES, &body.to_string()).await;
        assert_eq!(answer.status, 201);
        let template = answer.json();
        assert_eq!(template["policy"], json!({"Version": "2012-10-17"}));
        assert_eq!(template["createdAt"], "1970-01-01T00:00:00.000000Z");
        assert_eq!((&template["kms"], &template["account_id"]), (&json!("default"), &Value::Null));
    }
    let listed = stage.get(&token, TEMPLATES).await.json();
    assert_eq!((&listed["total"], &listed["limit"]), (&json!(2), &json!(10)));
    for (body, field) in [
        (json!({"policy": {}}), "name"),
        (json!({"name": 7, "policy": {}}), "name"),
        (json!({"name": "n", "policy": []}), "policy"),
        (json!({"name": "n", "key_users": "x"}), "key_users"),
        (json!({"name": "n", "kms": ""}), "kms"),
    ] {
        let message = stage.post(&token, TEMPLATES, &body.to_string()).await.refusal(400, 2);
        assert!(message.starts_with(&format!("{field}: ")), "{message}");
    }
    stage.post(&token, TEMPLATES, "{").await.refusal(400, 2);
    stage.post(&token, TEMPLATES, &" ".repeat(300_000)).await.refusal(413, 2);
}

#[tokio::test]
async fn lists_go_in_with_underscores_and_admins_come_out_with_dashes() {
    let stage = Stage::set().await;
    let token = stage.log_in("admin").await;
    let lists = json!({"name": "made", "account_id": "111122223333", "key_admins": ["alice"],
        "key_admins_roles": ["ops"], "key_users": ["bob"], "key_users_roles": ["app"],
        "external_accounts": ["222233334444"]});
    let told = stage.post(&token, TEMPLATES, &lists.to_string()).await.json();
    assert_eq!((&told["key-admins"], &told["key-admins-roles"]), (&json!(["alice"]), &json!(["ops"])));
    assert_eq!((&told["key_users"], &told["key_users_roles"]), (&json!(["bob"]), &json!(["app"])));
    assert_eq!(told["external_accounts"], json!(["222233334444"]));
    assert!(told.get("key_admins").is_none());
    let asked = stage.scheduler.templates_made.lock().unwrap().pop().unwrap();
    assert_eq!((asked.policy.as_str(), asked.grants.unwrap().key_users), ("", vec!["bob".to_owned()]));
}

#[tokio::test]
async fn a_template_is_found_by_id_and_name_changed_and_deleted() {
    let stage = Stage::set().await;
    let token = stage.log_in("admin").await;
    let made = stage.post(&token, TEMPLATES, r#"{"name": "a name"}"#).await.json();
    let id = made["id"].as_str().unwrap();
    for named in [id, "a%20name", "a%20name/"] {
        assert_eq!(stage.get(&token, &format!("{TEMPLATES}/{named}")).await.json()["id"], id);
    }
    let stranger = stage.log_in("stranger").await;
    for named in [id, "unknown", "%00"] {
        stage.get(&stranger, &format!("{TEMPLATES}/{named}")).await.refusal(404, 16);
        patch(&stage, &stranger, named, &json!({})).await.refusal(404, 16);
    }

    let quiet = patch(&stage, &token, id, &json!({"key_users": ["bob"], "key_admins": []})).await.json();
    assert!(quiet.get("pushed_by").is_none());
    let loud = patch(&stage, &token, id, &json!({"policy": {"a": 1}, "auto_push": true})).await.json();
    assert_eq!(loud["pushed_by"], "the job");
    let asked = std::mem::take(&mut *stage.scheduler.templates_changed.lock().unwrap());
    assert_eq!(asked[0].key_users.as_ref().unwrap().names, ["bob"]);
    assert_eq!((asked[0].key_admins.as_ref().unwrap().names.len(), &asked[0].key_users_roles), (0, &None));
    assert_eq!((asked[1].policy.as_str(), asked[1].auto_push), (r#"{"a":1}"#, true));
    assert_eq!(asked[1].updated_by, "local|00000000-0000-0000-0000-000000000001");
    let message = patch(&stage, &token, id, &json!({"auto_push": "yes"})).await.refusal(400, 2);
    assert!(message.starts_with("auto_push: "), "{message}");

    let delete = || request(Method::DELETE, &format!("{TEMPLATES}/{id}"), Some(&token)).body(Body::empty()).unwrap();
    let gone = stage.send(delete()).await;
    assert_eq!((gone.status.as_u16(), gone.body.len()), (204, 0));
    stage.send(delete()).await.refusal(404, 16);
}

#[tokio::test]
async fn a_list_is_filtered_and_sorted() {
    let stage = Stage::set().await;
    let token = stage.log_in("admin").await;
    let query =
        "kms_name=a&kms_name=b&account_id=111122223333&is_verified=True&sort=-createdAt&policy_type=template&cloud=aws";
    assert_eq!(stage.get(&token, &format!("{TEMPLATES}?{query}")).await.status, 200);
    let asked = stage.scheduler.templates_listed.lock().unwrap().pop().unwrap();
    assert_eq!((asked.kms_names, asked.account_id.as_str()), (vec!["a".to_owned(), "b".to_owned()], "111122223333"));
    assert_eq!((asked.verified, asked.sort.as_str()), (Some(true), "-created_at"));
    stage.get(&token, &format!("{TEMPLATES}?cloud=aws-cn&cloud=aws")).await;
    assert_eq!(stage.scheduler.templates_listed.lock().unwrap().pop().unwrap().limit, 10, "one of the clouds is ours");
    for nothing in ["policy_type=saved_policy", "cloud=aws-cn", "id=x"] {
        assert_eq!(stage.get(&token, &format!("{TEMPLATES}?{nothing}")).await.json()["total"], 0);
    }
    for (bad, field) in [("sort=policy", "sort"), ("is_verified=maybe", "is_verified")] {
        let message = stage.get(&token, &format!("{TEMPLATES}?{bad}")).await.refusal(400, 2);
        assert!(message.starts_with(&format!("{field}: ")), "{message}");
    }
}
