//! `docs/API.md` tells the truth about containers: its commands are run, in their order, and what is shown behind one is
//! what it answers.

use axum::body::Body;
use http::Method;
use serde_json::Value;

use crate::support::{Answer, Stage, request};

const DOCUMENT: &str = include_str!("../../../docs/API.md");

/// A block between fences: its kind, and its text.
fn blocks(section: &str) -> Vec<(&str, &str)> {
    section.split("```").skip(1).step_by(2).filter_map(|block| block.split_once('\n')).collect()
}

/// The section of this title.
fn section(title: &str) -> &'static str {
    let begin = DOCUMENT.find(&format!("\n## {title}\n")).unwrap() + 1;
    let rest = &DOCUMENT[begin..];
    &rest[..rest[1..].find("\n## ").unwrap()]
}

/// The commands of a block, each on one line or continued by a backslash.
fn commands(block: &str) -> Vec<String> {
    block.replace("\\\n", " ").split("curl ").skip(1).map(str::to_owned).collect()
}

async fn run(stage: &Stage, token: &str, command: &str) -> Answer {
    let (before, body) = match command.split_once("-d '") {
        Some((before, rest)) => (before, rest.split('\'').next()),
        None => (command, None),
    };
    let path = before.split("$API").nth(1).and_then(|rest| rest.split('"').next()).unwrap();
    let method = match before.split_once("-X ") {
        Some((_, rest)) => rest.split(' ').next().unwrap().parse().unwrap(),
        None if body.is_some() => Method::POST,
        None => Method::GET,
    };
    assert!(command.contains("Authorization: Bearer $TOKEN"), "{command}");
    let mut call = request(method, &format!("/api/v1{path}"), Some(token));
    if body.is_some() {
        assert!(command.contains("Content-Type: application/json"), "{command}");
        call = call.header("content-type", "application/json");
    }
    stage.send(call.body(Body::from(body.unwrap_or_default().to_owned())).unwrap()).await
}

/// Whether what is shown stands in the answer: each field that is shown, in its order, with its value. Ids are another
/// one's, and `…` stands for more.
fn agrees(shown: &Value, told: &Value) -> Result<(), String> {
    match (shown, told) {
        (Value::Object(shown), Value::Object(told)) => {
            let shown: Vec<_> = shown.iter().filter(|(name, _)| *name != "…").collect();
            let told_names: Vec<&String> =
                told.keys().filter(|name| shown.iter().any(|(shown, _)| shown == name)).collect();
            if !shown.iter().map(|(name, _)| *name).eq(told_names.iter().copied()) {
                return Err(format!("the fields {shown:?} are told as {told_names:?}"));
            }
            let ids = ["id", "uri"];
            shown.iter().filter(|(name, _)| !ids.contains(&name.as_str())).try_for_each(|(name, value)| {
                agrees(value, &told[name.as_str()]).map_err(|why| format!("{name}: {why}"))
            })
        }
        (Value::Array(shown), Value::Array(told)) if shown.len() == told.len() => {
            shown.iter().zip(told).try_for_each(|(shown, told)| agrees(shown, told))
        }
        _ if shown == told => Ok(()),
        _ => Err(format!("{shown} is told as {told}")),
    }
}

#[tokio::test]
async fn what_the_document_shows_of_containers_is_so() {
    let stage = Stage::set().await;
    let token = stage.log_in("admin").await;
    let (mut ran, mut compared) = (0, 0);
    let mut last = None;
    for (kind, text) in blocks(section("Containers")) {
        match kind {
            "sh" => {
                for command in commands(text) {
                    let answer = run(&stage, &token, &command).await;
                    assert!(answer.status.is_success(), "{command} is answered {}", answer.text());
                    let created = command.contains("/kms\"") && command.contains("-d '");
                    let status = if created {
                        201
                    } else if command.contains("DELETE") {
                        204
                    } else {
                        200
                    };
                    assert_eq!(answer.status.as_u16(), status, "{command}");
                    (ran, last) = (ran + 1, Some(answer));
                }
            }
            "json" => {
                let shown: Value = serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"));
                let told = last.as_ref().unwrap().json();
                agrees(&shown, &told).unwrap_or_else(|why| panic!("{why}, shown as {text}"));
                compared += 1;
            }
            other => panic!("a block of kind {other:?}"),
        }
    }
    assert_eq!((ran, compared), (8, 3));
}

#[tokio::test]
async fn every_call_about_containers_is_in_the_document() {
    let stage = Stage::set().await;
    let token = stage.log_in("admin").await;
    let described = stage.get(&token, "/api/openapi.json").await.json();
    let text = section("Containers");
    for (path, calls) in described["paths"].as_object().unwrap() {
        let Some(rest) = path.strip_prefix("/api/v1").filter(|path| path.starts_with("/cckm/aws/kms")) else {
            continue;
        };
        let tail = rest.rsplit('/').next().unwrap();
        assert!(text.contains(rest) || text.contains(&format!("…/{tail}")), "{rest} is not in the document");
        for parameter in calls["get"]["parameters"].as_array().into_iter().flatten() {
            let name = parameter["name"].as_str().unwrap();
            assert!(text.contains(&format!("`{name}`")) || name == "id", "the parameter {name} is not in the document");
        }
    }
    for schema in ["NewContainer", "ContainerChange", "AclChange", "ContainerForm"] {
        for field in described["components"]["schemas"][schema]["properties"].as_object().unwrap().keys() {
            assert!(text.contains(field.as_str()), "{field} of {schema} is not in the document");
        }
    }
}
