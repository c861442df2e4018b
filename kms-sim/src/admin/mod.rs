//! `/_sim`: what tests and scripts ask of the simulator beside KMS.
//!
//! | | |
//! |---|---|
//! | `GET`, `POST /_sim/config` | the configuration; a change names what it replaces |
//! | `POST /_sim/keys` | makes keys, or sets the state of those there are; answers the ids |
//! | `POST /_sim/accounts` | `{"<access key id>": "<account>"}` |
//! | `GET`, `POST /_sim/roles` | how often each was asked for; `{"<ARN>": {"external_id"?, "valid_s"?, "refuse"?: "<STS code>"}}` |
//! | `GET /_sim/log?after=N` | the log's rows after N, a line of JSON each; with `took=1` and the microseconds to their answers |
//! | `GET /_sim/stats` | counts per operation and outcome |
//! | `POST /_sim/reset` | everything as at the start |
//! | `POST /_sim/hold` | `{"op", "when"?: "before" or "after", "key"?}`: such requests wait |
//! | `POST /_sim/release` | `{"op"?}`: they go on |
//! | `GET /_sim/held?at_least=N` | how many are waiting; with `at_least`, answered when there are so many |
//!
//! What is wrong with a request is answered as 400 with `{"message"}`.

mod keys;
mod log_body;

use std::{collections::HashMap, sync::Arc};

use hyper::{Method, Response, StatusCode, header::HeaderValue};
use job_model::key::is_account;
use serde::{Deserialize, Serialize, de::DeserializeOwned};

pub(crate) use keys::make_keys;
pub use keys::{InvalidKeys, NewKeys};
pub(crate) use log_body::LogBody;

use crate::{
    config::ConfigChange,
    core::Core,
    hold::When,
    operation::Operation,
    roles::Role,
    wire::{AnswerBody, whole},
};

/// How many requests wait at gates.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Held {
    /// All of them.
    pub waiting: u32,
    /// By operation.
    pub ops: std::collections::BTreeMap<&'static str, u32>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Hold {
    op: String,
    #[serde(default)]
    when: When,
    key: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Release {
    op: Option<String>,
}

/// Answers a request to `/_sim/<route>`.
pub(crate) async fn route(
    core: &Arc<Core>,
    method: &Method,
    route: &str,
    query: &str,
    body: &[u8],
) -> Response<AnswerBody> {
    let post = *method == Method::POST;
    let get = *method == Method::GET;
    let answer = match route {
        "config" if post => set_config(core, body),
        "config" if get => Ok(json(StatusCode::OK, &core.config.config())),
        "keys" if post => keys(core, body).await,
        "accounts" if post => add_accounts(core, body),
        "roles" if post => set_roles(core, body),
        "roles" if get => Ok(json(StatusCode::OK, &core.roles.asked())),
        "log" if get => log(core, query),
        "stats" if get => Ok(json(StatusCode::OK, &core.stats.read())),
        "reset" if post => {
            core.reset();
            Ok(done())
        }
        "hold" if post => hold(core, body),
        "release" if post => release(core, body),
        "held" if get => held(core, query).await,
        "config" | "keys" | "accounts" | "roles" | "log" | "stats" | "reset" | "hold" | "release" | "held" => {
            return refusal(StatusCode::METHOD_NOT_ALLOWED, &format!("/_sim/{route} does not answer {method}"));
        }
        _ => return refusal(StatusCode::NOT_FOUND, &format!("there is no /_sim/{route}")),
    };
    answer.unwrap_or_else(|message| refusal(StatusCode::BAD_REQUEST, &message))
}

/// An answer, or a sentence that says what is wrong with the request.
type Answered = Result<Response<AnswerBody>, String>;

fn set_config(core: &Core, body: &[u8]) -> Answered {
    let change: ConfigChange = read(body)?;
    core.config.change(change).map_err(|error| error.to_string())?;
    Ok(json(StatusCode::OK, &core.config.config()))
}

async fn keys(core: &Arc<Core>, body: &[u8]) -> Answered {
    let new: NewKeys = read(body)?;
    let core = core.clone();
    // A million keys take seconds, in which requests are to be answered.
    let made = tokio::task::spawn_blocking(move || make_keys(&core, new)).await.map_err(|error| error.to_string())?;
    made.map(|ids| json(StatusCode::OK, &ids)).map_err(|error| error.to_string())
}

fn add_accounts(core: &Core, body: &[u8]) -> Answered {
    let accounts: HashMap<String, String> = read(body)?;
    if let Some((id, account)) = accounts.iter().find(|(_, account)| !is_account(account)) {
        return Err(format!("{id}: an account has 12 digits, {account:?} has not"));
    }
    core.add_accounts(accounts);
    Ok(done())
}

fn set_roles(core: &Core, body: &[u8]) -> Answered {
    let rules: HashMap<String, Role> = read(body)?;
    core.roles.set(rules);
    Ok(done())
}

fn log(core: &Arc<Core>, query: &str) -> Answered {
    let after = number(query, "after")?.unwrap_or(0);
    let mut response = Response::new(AnswerBody::Log(LogBody::new(
        core.clone(),
        after,
        number(query, "took")?.is_some_and(|took| took > 0),
    )));
    response.headers_mut().insert(hyper::header::CONTENT_TYPE, HeaderValue::from_static("application/x-ndjson"));
    Ok(response)
}

fn hold(core: &Core, body: &[u8]) -> Answered {
    let hold: Hold = read(body)?;
    core.holds.hold(operation(&hold.op)?, hold.when, hold.key);
    Ok(done())
}

fn release(core: &Core, body: &[u8]) -> Answered {
    let release: Release = read(body)?;
    core.holds.release(release.op.as_deref().map(operation).transpose()?);
    Ok(done())
}

async fn held(core: &Core, query: &str) -> Answered {
    let at_least = number(query, "at_least")?.unwrap_or(0);
    Ok(json(StatusCode::OK, &wait_held(core, at_least).await))
}

/// Waits until at least so many requests wait at gates.
pub(crate) async fn wait_held(core: &Core, at_least: u64) -> Held {
    let mut waiting = core.holds.waiting();
    let counts = match waiting.wait_for(|counts| u64::from(counts.iter().sum::<u32>()) >= at_least).await {
        Ok(counts) => *counts,
        // The sender lives as long as the core.
        Err(_) => [0; Operation::COUNT],
    };
    let ops = Operation::ALL.into_iter().zip(counts).filter(|(_, count)| *count > 0);
    Held { waiting: counts.iter().sum(), ops: ops.map(|(op, count)| (op.name(), count)).collect() }
}

fn operation(name: &str) -> Result<Operation, String> {
    name.parse().map_err(|error: crate::operation::UnknownOperation| format!("op: {error}"))
}

/// The request's body; an empty one is `{}`.
fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, String> {
    let body = if body.is_empty() { b"{}" } else { body };
    serde_json::from_slice(body).map_err(|error| error.to_string())
}

fn number(query: &str, name: &str) -> Result<Option<u64>, String> {
    let value = query.split('&').filter_map(|pair| pair.split_once('=')).find(|(given, _)| *given == name);
    value.map(|(_, value)| value.parse().map_err(|_| format!("{name} is a number, {value:?} is not"))).transpose()
}

fn done() -> Response<AnswerBody> {
    json(StatusCode::OK, &serde_json::Map::new())
}

fn refusal(status: StatusCode, message: &str) -> Response<AnswerBody> {
    json(status, &HashMap::from([("message", message)]))
}

fn json(status: StatusCode, body: &impl Serialize) -> Response<AnswerBody> {
    let body = serde_json::to_vec(body).expect("what is answered here can be written as JSON");
    whole(status, HeaderValue::from_static("application/json"), body)
}
