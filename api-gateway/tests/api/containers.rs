//! Containers: what is asked of the scheduler, what is told, and what is refused before anyone is asked.

use axum::body::Body;
use http::Method;
use keyfleet_proto::estate::v1 as proto;
use serde_json::{Value, json};

use crate::support::{Answer, Stage, request};

const KMS: &str = "/api/v1/cckm/aws/kms";

async fn call(stage: &Stage, token: &str, method: Method, path: &str, body: Option<&Value>) -> Answer {
    let call = request(method, &format!("{KMS}{path}"), Some(token));
    stage
        .send(match body {
            Some(body) => call.header("content-type", "application/json").body(Body::from(body.to_string())).unwrap(),
            None => call.body(Body::empty()).unwrap(),
        })
        .await
}

fn container(name: &str) -> proto::Container {
    proto::Container {
        tenant: "kylo:kylo".to_owned(),
        name: name.to_owned(),
        account_id: "222233334444".to_owned(),
        regions: vec!["eu-west-1".to_owned()],
        ..proto::Container::default()
    }
}

#[tokio::test]
async fn a_container_is_made_and_told_in_the_api_s_words() {
    let stage = Stage::set().await;
    let token = stage.log_in("admin").await;
    let new = json!({"name": "aws production", "account_id": "222233334444", "connection": "prod-1",
        "regions": ["eu-west-1", "us-east-1"], "assume_role_arn": "arn:aws:iam::222233334444:role/keyfleet",
        "assume_role_external_id": "ext-1", "hybrid": true});
    let answer = call(&stage, &token, Method::POST, "", Some(&new)).await;
    assert_eq!(answer.status, 201, "{}", answer.text());
    let told = answer.json();
    let id = told["id"].as_str().unwrap();
    assert_eq!(
        told,
        json!({"id": id, "uri": format!("kylo:kylo:cckm:kms:{id}"), "account": "kylo:kylo:admin:accounts:kylo",
            "createdAt": "2023-02-10T08:19:48.558869Z", "updatedAt": "2023-02-10T08:19:48.970377Z",
            "name": "aws production", "account_id": "222233334444", "regions": ["eu-west-1", "us-east-1"],
            "cloud_name": "aws", "connection": "prod-1",
            "assume_role_arn": "arn:aws:iam::222233334444:role/keyfleet", "assume_role_external_id": "ext-1",
            "arn": "arn:aws:iam::222233334444:role/keyfleet", "archived": false, "acls": []})
    );
    for named in [id, "aws%20production", "aws%20production/"] {
        assert_eq!(call(&stage, &token, Method::GET, &format!("/{named}"), None).await.json(), told);
    }
    let asked = stage.scheduler.containers_made.lock().unwrap().pop().unwrap();
    assert_eq!((asked.tenant.as_str(), asked.connection.as_str()), ("kylo:kylo", "prod-1"));
    assert_eq!(asked.created_by, "local|00000000-0000-0000-0000-000000000001");

    // As clients write what they do not mean.
    let bare = json!({"name": "bare", "account_id": "333344445555", "connection": null, "assume_role_arn": "",
        "assume_role_external_id": ""});
    let told = call(&stage, &token, Method::POST, "", Some(&bare)).await.json();
    for name in ["connection", "assume_role_arn", "assume_role_external_id", "arn"] {
        assert_eq!(told[name], Value::Null, "{name}");
    }
    let asked = stage.scheduler.containers_made.lock().unwrap().pop().unwrap();
    assert_eq!(asked.regions.len(), 0, "the scheduler knows the default Region");
    stage.scheduler.refusals.lock().unwrap().push(tonic::Status::already_exists("name: there is one of this name"));
    let message = call(&stage, &token, Method::POST, "", Some(&bare)).await.refusal(409, 9);
    assert_eq!(message, "name: there is one of this name");
}

#[tokio::test]
async fn what_is_wrong_is_named_and_nobody_is_asked() {
    let stage = Stage::set().await;
    let token = stage.log_in("admin").await;
    let good = json!({"name": "n", "account_id": "222233334444", "regions": ["eu-west-1"]});
    let named = stage.scheduler.add_container(container("n")).name;
    for (field, wrong) in [
        ("name", json!(null)),
        ("name", json!(" ")),
        ("name", json!(7)),
        ("name", json!("a\u{0}")),
        ("account_id", json!(null)),
        ("account_id", json!("22223333444")),
        ("account_id", json!(222_233_334_444_u64)),
        ("regions", json!([])),
        ("regions", json!("eu-west-1")),
        ("regions", json!(["eu-west-1", "eu-west-1"])),
        ("connection", json!("a b")),
        ("connection", json!("AKIA0123456789ABCDEF")),
        ("assume_role_arn", json!("keyfleet")),
        ("assume_role_external_id", json!("x")),
        ("assume_role_external_id", json!("ext-1")),
    ] {
        let mut body = good.clone();
        body[field] = wrong.clone();
        let message = call(&stage, &token, Method::POST, "", Some(&body)).await.refusal(400, 2);
        assert!(message.starts_with(field), "{message}");
        // A change may leave anything out, and an external id alone.
        if !wrong.is_null() && wrong != json!(" ") && wrong != json!("ext-1") {
            let body = json!({field: wrong});
            let message = call(&stage, &token, Method::PATCH, &format!("/{named}"), Some(&body)).await.refusal(400, 2);
            assert!(message.starts_with(field), "{message}");
        }
    }
    let acls = format!("/{named}/update-acls");
    for (body, field) in [
        (json!({}), "acls: "),
        (json!({"acls": [{"group": "g", "permit": true}]}), "acls[0].actions: "),
        (json!({"acls": [{"group": "g", "permit": "yes", "actions": ["view"]}]}), "acls[0].permit: "),
        (json!({"acls": [{"group": 7, "permit": true, "actions": ["view"]}]}), "acls[0].group: "),
    ] {
        let message = call(&stage, &token, Method::POST, &acls, Some(&body)).await.refusal(400, 2);
        assert!(message.starts_with(field), "{message}");
    }
    for (query, field) in
        [("sort=regions", "sort"), ("status=gone", "status"), ("limit=-2", "limit"), ("name=%00", "name")]
    {
        let message = call(&stage, &token, Method::GET, &format!("?{query}"), None).await.refusal(400, 2);
        assert!(message.starts_with(&format!("{field}: ")), "{message}");
    }
    assert!(stage.scheduler.rights.lock().unwrap().is_empty(), "the scheduler was asked");
}

#[tokio::test]
async fn a_list_is_filtered_sorted_and_paged() {
    let stage = Stage::set().await;
    let token = stage.log_in("admin").await;
    for (name, region) in
        [("one", "eu-west-1"), ("two", "cn-north-1"), ("three", "us-gov-west-1"), ("four", "cn-north-1")]
    {
        stage.scheduler.add_container(proto::Container { regions: vec![region.to_owned()], ..container(name) });
    }
    let id = uuid::Uuid::now_v7();
    let query = format!(
        "id={id}&name=n&account_id=222233334444&connection=c&status=archived&sort=-updatedAt,name&skip=2&limit=-1&x=y"
    );
    let listed = call(&stage, &token, Method::GET, &format!("?{query}"), None).await.json();
    assert_eq!((&listed["skip"], &listed["limit"], &listed["total"]), (&json!(2), &json!(2_000), &json!(4)));
    assert_eq!(listed["resources"][0]["name"], "three");
    let asked = stage.scheduler.containers_listed.lock().unwrap().pop().unwrap();
    assert_eq!((asked.id, asked.name.as_str(), asked.account_id.as_str()), (id.to_string(), "n", "222233334444"));
    assert_eq!((asked.connection.as_str(), asked.archived, asked.sort.as_str()), ("c", Some(true), "-updatedAt"));
    assert_eq!((asked.skip, asked.limit), (2, 2_000));
    call(&stage, &token, Method::GET, "?status=active", None).await;
    assert_eq!(stage.scheduler.containers_listed.lock().unwrap().pop().unwrap().archived, Some(false));

    // The scheduler knows nothing of partitions.
    let names = |listed: &Value| -> Vec<String> {
        let rows = listed["resources"].as_array().unwrap();
        rows.iter().map(|row| row["name"].as_str().unwrap().to_owned()).collect()
    };
    let china =
        call(&stage, &token, Method::GET, "?cloud_name=aws-cn&cloud_name=aws&skip=1&limit=1", None).await.json();
    assert_eq!((names(&china), &china["total"]), (vec!["two".to_owned()], &json!(3)));
    for nothing in ["?id=x", "?cloud_name=aws-iso"] {
        assert_eq!(call(&stage, &token, Method::GET, nothing, None).await.json()["total"], 0, "{nothing}");
    }
}

#[tokio::test]
async fn a_container_is_changed_archived_recovered_and_deleted() {
    let stage = Stage::set().await;
    let token = stage.log_in("admin").await;
    let id = stage.scheduler.add_container(container("prod")).id;
    // As Terraform's provider sends it: all fields, empty where nothing is set.
    let change = json!({"account_id": "", "name": "", "connection": "c", "regions": ["us-east-1", "eu-west-1"],
        "assume_role_arn": "", "assume_role_external_id": ""});
    let told = call(&stage, &token, Method::PATCH, &format!("/{id}"), Some(&change)).await;
    assert_eq!((told.status.as_u16(), &told.json()["regions"]), (200, &json!(["us-east-1", "eu-west-1"])));
    let asked = stage.scheduler.containers_changed.lock().unwrap().pop().unwrap();
    assert_eq!((asked.container.as_str(), asked.name), (id.as_str(), None));
    assert_eq!(asked.connection.as_deref(), Some("c"));
    let role = (asked.assume_role_arn.as_deref(), asked.assume_role_external_id.as_deref());
    assert_eq!(role, (Some(""), Some("")), "the role is taken away");
    call(&stage, &token, Method::PATCH, "/prod", Some(&json!({"name": "new"}))).await;
    let asked = stage.scheduler.containers_changed.lock().unwrap().pop().unwrap();
    assert_eq!((asked.name.as_deref(), asked.regions, asked.connection), (Some("new"), None, None));
    assert_eq!((asked.assume_role_arn, asked.assume_role_external_id), (None, None));

    let acls = json!({"acls": [{"group": "ops", "permit": true, "actions": ["keybulkoperation", "viewnative"]},
        {"user_id": "local|u", "permit": false, "actions": ["view"]}]});
    let told = call(&stage, &token, Method::POST, "/prod/update-acls", Some(&acls)).await;
    assert_eq!(told.status, 200);
    assert_eq!(told.json()["acls"], json!([{"group": "ops", "actions": ["keybulkoperation", "viewnative"]}]));
    let asked = stage.scheduler.acls_changed.lock().unwrap().pop().unwrap();
    assert_eq!((asked.changes[1].user_id.as_str(), asked.changes[1].permit), ("local|u", false));

    for (action, archived) in [("archive", true), ("archive", true), ("recover", false)] {
        // Without a body, and with any.
        for body in [None, Some(&json!([7]))] {
            let told = call(&stage, &token, Method::POST, &format!("/{id}/{action}"), body).await;
            assert_eq!((told.status.as_u16(), &told.json()["archived"]), (200, &json!(archived)));
        }
    }
    stage.scheduler.refusals.lock().unwrap().push(tonic::Status::failed_precondition("a job of it runs"));
    let message = call(&stage, &token, Method::DELETE, "/prod", None).await.refusal(409, 9);
    assert_eq!(message, "a job of it runs");
    let gone = call(&stage, &token, Method::DELETE, "/prod", None).await;
    assert_eq!((gone.status.as_u16(), gone.body.len()), (204, 0));
    for (method, path, body) in [
        (Method::GET, "/prod", None),
        (Method::GET, "/%00", None),
        (Method::PATCH, "/prod", Some(&change)),
        (Method::DELETE, "/prod", None),
        (Method::POST, "/prod/archive", None),
        (Method::POST, "/prod/recover", None),
        (Method::POST, "/prod/update-acls", Some(&acls)),
    ] {
        call(&stage, &token, method, path, body).await.refusal(404, 16);
    }
}

#[tokio::test]
async fn a_container_has_the_fields_that_are_described() {
    let stage = Stage::set().await;
    let token = stage.log_in("admin").await;
    let document = stage.get(&token, "/api/openapi.json").await.json();
    let names = |value: &Value| -> Vec<String> {
        let mut names: Vec<_> = value.as_object().unwrap().keys().cloned().collect();
        names.sort();
        names
    };
    let described = |schema: &str| names(&document["components"]["schemas"][schema]["properties"]);
    let acl = |user: &str, group: &str| proto::Acl {
        user_id: user.to_owned(),
        group: group.to_owned(),
        actions: vec!["view".to_owned()],
    };
    stage.scheduler.add_container(proto::Container { acls: vec![acl("u", ""), acl("", "g")], ..container("prod") });
    let told = stage.get(&token, &format!("{KMS}/prod")).await.json();
    assert_eq!(names(&told), described("ContainerForm"));
    assert_eq!(told["acls"], json!([{"user_id": "u", "actions": ["view"]}, {"group": "g", "actions": ["view"]}]));
    assert_eq!(described("AclForm"), ["actions", "group", "user_id"]);
}
