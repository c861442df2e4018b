//! Get, list and keys: shapes, order of fields, and large answers.

use axum::body::Body;
use http::Method;
use http_body_util::BodyExt as _;
use keyfleet_proto::jobs::v1 as proto;
use serde_json::json;
use tower::ServiceExt as _;

use crate::support::{JOBS, Stage, request};

/// The names at the top level of a JSON object, in their order in the text.
fn field_order(text: &str) -> Vec<String> {
    struct Names(Vec<String>);
    impl<'de> serde::Deserialize<'de> for Names {
        fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            struct Visitor;
            impl<'de> serde::de::Visitor<'de> for Visitor {
                type Value = Names;
                fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                    f.write_str("an object")
                }
                fn visit_map<A: serde::de::MapAccess<'de>>(self, mut map: A) -> Result<Names, A::Error> {
                    let mut names = Vec::new();
                    while let Some((name, _)) = map.next_entry::<String, serde::de::IgnoredAny>()? {
                        names.push(name);
                    }
                    Ok(Names(names))
                }
            }
            deserializer.deserialize_map(Visitor)
        }
    }
    serde_json::from_str::<Names>(text).unwrap().0
}

const ORDER: [&str; 12] = [
    "id",
    "uri",
    "account",
    "createdAt",
    "updatedAt",
    "overall_status",
    "detailed_status",
    "abort",
    "cloud",
    "keys",
    "operation",
    "counts",
];

#[tokio::test]
async fn a_large_job_is_streamed_in_the_same_order_as_a_small_one() {
    let stage = Stage::set().await;
    let token = stage.log_in("admin").await;
    let small = stage.scheduler.add_job("kylo:kylo", ["k\"1".to_owned()]);
    let large = stage.scheduler.add_job("kylo:kylo", (0..25_000).map(|number| format!("k\"{number}")));
    stage.scheduler.change(&large, |_, tasks| {
        tasks[3].state = proto::TaskState::Failed.into();
        tasks[3].detail = "NotFoundException: no \"such\" key".to_owned();
        tasks[24_999].state = proto::TaskState::Succeeded.into();
    });
    for id in [&small, &large] {
        let answer = stage.get(&token, &format!("{JOBS}/{id}")).await;
        assert_eq!(field_order(answer.text()), ORDER);
        assert_eq!(answer.headers["content-type"], "application/json");
    }
    let job = stage.get(&token, &format!("{JOBS}/{large}?detail=true")).await.json();
    assert_eq!(job["keys"].as_array().unwrap().len(), 25_000);
    assert_eq!(job["keys"][24_999], "k\"24999");
    assert_eq!(job["detailed_status"].as_object().unwrap().len(), 25_000);
    assert_eq!(job["detailed_status"]["k\"3"], "Failed: NotFoundException: no \"such\" key");
    assert_eq!(job["detailed_status"]["k\"24999"], "Success");
    assert_eq!(job["detailed_status"]["k\"0"], "in_progress");
    for id in [&small, &large] {
        let bare = stage.get(&token, &format!("{JOBS}/{id}?detail=false")).await;
        let expected: Vec<&str> =
            ORDER.into_iter().filter(|name| !["keys", "detailed_status"].contains(name)).collect();
        assert_eq!(field_order(bare.text()), expected);
    }
}

#[tokio::test]
async fn a_large_answer_that_cannot_be_finished_breaks_off() {
    let stage = Stage::set().await;
    let token = stage.log_in("admin").await;
    let id = stage.scheduler.add_job("kylo:kylo", (0..50_000).map(|number| format!("key-{number}")));
    let call = request(Method::GET, &format!("{JOBS}/{id}"), Some(&token)).body(Body::empty()).unwrap();
    let response = stage.router.clone().oneshot(call).await.unwrap();
    assert_eq!(response.status(), 200);
    // The job is removed between the two readings: the statuses are under way, the keys cannot be read any more.
    stage.scheduler.jobs.lock().unwrap().clear();
    assert!(response.into_body().collect().await.is_err());
}

#[tokio::test]
async fn a_job_that_ended_says_when() {
    let stage = Stage::set().await;
    let token = stage.log_in("admin").await;
    let id = stage.scheduler.add_job("kylo:kylo", ["k".to_owned()]);
    stage.scheduler.change(&id, |job, _| {
        job.completed_at_us = Some(1_676_017_188_970_204);
        job.overall_status = proto::OverallStatus::Error.into();
    });
    let job = stage.get(&token, &format!("{JOBS}/{id}")).await.json();
    assert_eq!(job["completed_at"], "2023-02-10T08:19:48.970204Z");
    assert_eq!(job["createdAt"], "2023-02-10T08:19:48.558869Z");
    assert_eq!(job["overall_status"], "error");
    assert_eq!(job["uri"], format!("kylo:kylo:cckm:bulkjob:{id}"));
    assert_eq!(job["account"], "kylo:kylo:admin:accounts:kylo");
}

#[tokio::test]
async fn a_list_has_its_envelope_and_passes_the_question_on() {
    let stage = Stage::set().await;
    let token = stage.log_in("admin").await;
    for number in 0..3 {
        stage.scheduler.add_job("kylo:kylo", [format!("k{number}")]);
    }
    stage.scheduler.add_job("acme:ops", ["x".to_owned()]);
    let large = stage.scheduler.add_job("kylo:kylo", (0..1_001).map(|number| format!("k{number}")));

    let answer = stage.get(&token, &format!("{JOBS}?skip=1&limit=2")).await;
    assert_eq!(field_order(answer.text()), ["skip", "limit", "total", "resources"]);
    let list = answer.json();
    assert_eq!((&list["skip"], &list["limit"], &list["total"]), (&json!(1), &json!(2), &json!(4)));
    assert_eq!(list["resources"][0]["keys"], json!(["k2"]));

    let path = format!("{JOBS}?sort=-createdAt&overall_status=completed&id={large}&cloud=aws");
    stage.get(&token, &path).await;
    let mut asked = stage.scheduler.listed.lock().unwrap().pop().unwrap();
    assert!(asked.rights.take().is_some_and(|rights| rights.everything));
    let expected = proto::ListJobsRequest {
        tenant: "kylo:kylo".to_owned(),
        limit: 10,
        sort: vec![proto::SortKey { field: proto::JobField::CreatedAt.into(), descending: true }],
        id: large,
        overall_status: proto::OverallStatus::Completed.into(),
        with_tasks: true,
        ..Default::default()
    };
    assert_eq!(asked, expected);
    let nobody = stage.log_in("nobody").await;
    for nothing in ["cloud=gcp", "id=no-uuid"] {
        let list = stage.get(&token, &format!("{JOBS}?{nothing}")).await.json();
        assert_eq!((&list["total"], &list["resources"]), (&json!(0), &json!([])));
        stage.get(&nobody, &format!("{JOBS}?{nothing}")).await.refusal(403, 6);
    }
}

#[tokio::test]
async fn a_long_page_reads_like_a_short_one() {
    let stage = Stage::set().await;
    let token = stage.log_in("admin").await;
    for number in 0..30 {
        stage.scheduler.add_job("kylo:kylo", (0..40).map(|key| format!("k{number}-{key}")));
    }
    stage.scheduler.add_job("kylo:kylo", (0..1_001).map(|number| format!("k{number}")));
    let short = stage.get(&token, &format!("{JOBS}?limit=50")).await.json();
    let long = stage.get(&token, &format!("{JOBS}?limit=5000")).await.json();
    assert_eq!(long["limit"], 2_000);
    assert_eq!(long["resources"], short["resources"]);
    assert_eq!(short["resources"].as_array().unwrap().len(), 31);
    assert!(short["resources"][0].get("keys").is_none(), "the newest has too many keys");
    assert_eq!(short["resources"][1]["keys"].as_array().unwrap().len(), 40);
}

#[tokio::test]
async fn keys_are_listed_page_by_page() {
    let stage = Stage::set().await;
    let token = stage.log_in("admin").await;
    let id = stage.scheduler.add_job("kylo:kylo", (0..20).map(|number| format!("k{number}")));
    stage.scheduler.change(&id, |_, tasks| {
        tasks[5] = proto::Task {
            state: proto::TaskState::Failed.into(),
            detail: "NotFoundException: x".to_owned(),
            attempts: 2,
            state_before: "Disabled".to_owned(),
            started_at_us: Some(0),
            ..tasks[5].clone()
        };
    });
    let answer = stage.get(&token, &format!("{JOBS}/{id}/keys?status=failed&skip=5&limit=1")).await;
    let list = answer.json();
    assert_eq!((&list["skip"], &list["limit"], &list["total"]), (&json!(5), &json!(1), &json!(20)));
    assert_eq!(
        list["resources"],
        json!([{"key": "k5", "seq": 5, "state": "failed", "detail": "NotFoundException: x", "attempts": 2, "already": false,
            "state_before": "Disabled", "started_at": "1970-01-01T00:00:00.000000Z", "finished_at": null}])
    );
    let asked = stage.scheduler.listed_tasks.lock().unwrap().pop().unwrap();
    assert_eq!(asked.state(), proto::TaskState::Failed);
}
