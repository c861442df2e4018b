//! Who may do what: every call of the served OpenAPI document, by callers of every kind. A call that is not in the table
//! fails the test, and so does a row that is no call any more.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context, Result, ensure};
use end_to_end::caller::{BULKJOB, CONTAINERS, KEYS, SYNCHRONIZATIONS, TEMPLATES};
use end_to_end::kms_end::{ACCOUNT, REGION, arn};
use end_to_end::patience::until;
use end_to_end::{Answer, Keyfleet, StackSettings, scenarios};
use jsonwebtoken::EncodingKey;
use reqwest::Method;
use serde_json::{Value, json};

#[tokio::test(flavor = "multi_thread")]
async fn every_call_is_permitted_to_whom_it_should_be() {
    let settings = StackSettings { workers: 1, schedulers: 1, quota: "off".to_owned(), ..StackSettings::default() };
    let stack = Keyfleet::start(settings).await.unwrap();
    scenarios!(stack; the_table_is_true_of_every_call_of_the_document);
}

/// The kinds of callers, as columns of the table.
const CALLERS: [&str; 9] = [
    "CCKM Admins",
    "admin",
    "who may run bulk jobs",
    "who may look",
    "whose group may look",
    "nobody",
    "another tenant's admin",
    "an expired token",
    "no token",
];

/// A call, what it is sent, and what it is answered: to admins (of either group), to one who may run bulk jobs on the
/// container, to those who may look at it, to one without any permission, and to another tenant's admin. Everyone else
/// gets 401.
struct Row {
    method: Method,
    path: &'static str,
    body: fn(&Fixture) -> Value,
    statuses: [u16; 5],
}

impl Row {
    /// What this kind of caller is answered.
    fn expected(&self, caller: usize) -> u16 {
        let [admins, bulk, viewers, none, stranger] = self.statuses;
        match caller {
            0 | 1 => admins,
            2 => bulk,
            3 | 4 => viewers,
            5 => none,
            6 => stranger,
            _ if self.is_open() => admins,
            _ => 401,
        }
    }

    /// Whether it needs no token.
    fn is_open(&self) -> bool {
        !self.path.starts_with("/api/v1/cckm")
            && !self.path.ends_with("/self/user")
            && !self.path.ends_with("tokens/{id}")
    }
}

/// What the calls are about.
struct Fixture {
    job: String,
    template: String,
    key: String,
    synchronization: String,
    arn: String,
}

/// Numbers whatever is made anew for a call.
static NUMBER: AtomicU32 = AtomicU32::new(0);

fn number() -> u32 {
    NUMBER.fetch_add(1, Ordering::Relaxed)
}

/// A container's body, of an account that no other has.
fn new_container() -> Value {
    let number = number();
    json!({"name": format!("fresh-{number}"), "account_id": format!("4444{number:08}"), "regions": [REGION]})
}

fn nothing(_: &Fixture) -> Value {
    json!({})
}

#[rustfmt::skip]
fn table() -> Vec<Row> {
    let row = |method: Method, path, body: fn(&Fixture) -> Value, statuses| Row { method, path, body, statuses };
    let (get, post, patch, delete) = (Method::GET, Method::POST, Method::PATCH, Method::DELETE);
    vec![
        //                                                                             admins bulk view none stranger
        row(post.clone(), BULKJOB, |f| json!({"operation": "enablekey", "keys": [f.arn]}), [201, 201, 403, 403, 201]),
        row(get.clone(), BULKJOB, nothing,                                                 [200, 200, 403, 403, 200]),
        row(get.clone(), "/api/v1/cckm/aws/bulkjob/{id}", nothing,                         [200, 200, 403, 403, 404]),
        row(get.clone(), "/api/v1/cckm/aws/bulkjob/{id}/keys", nothing,                    [200, 200, 403, 403, 404]),
        row(post.clone(), "/api/v1/cckm/aws/bulkjob/{id}/cancel", nothing,                 [200, 200, 403, 403, 404]),

        row(post.clone(), CONTAINERS, |_| new_container(),                                 [201, 403, 403, 403, 201]),
        row(get.clone(), CONTAINERS, nothing,                                              [200, 200, 200, 200, 200]),
        row(get.clone(), "/api/v1/cckm/aws/kms/{id}", nothing,                             [200, 200, 200, 403, 404]),
        row(patch.clone(), "/api/v1/cckm/aws/kms/{id}", nothing,                           [200, 403, 403, 403, 404]),
        row(delete.clone(), "/api/v1/cckm/aws/kms/{id}", nothing,                          [204, 403, 403, 403, 404]),
        row(post.clone(), "/api/v1/cckm/aws/kms/{id}/update-acls",
            |_| json!({"acls": [{"group": "g", "permit": true, "actions": ["view"]}]}),    [200, 403, 403, 403, 404]),
        row(post.clone(), "/api/v1/cckm/aws/kms/{id}/archive", nothing,                    [200, 403, 403, 403, 404]),
        row(post.clone(), "/api/v1/cckm/aws/kms/{id}/recover", nothing,                    [200, 403, 403, 403, 404]),

        row(post.clone(), TEMPLATES, |_| json!({"name": format!("new-{}", number()), "kms": "main"}),
                                                                                           [201, 403, 403, 403, 400]),
        row(get.clone(), TEMPLATES, nothing,                                               [200, 200, 200, 403, 200]),
        row(get.clone(), "/api/v1/cckm/aws/templates/{id}", nothing,                       [200, 200, 200, 403, 404]),
        row(patch.clone(), "/api/v1/cckm/aws/templates/{id}", |_| json!({"key_users": ["bob"]}),
                                                                                           [200, 403, 403, 403, 404]),
        row(delete.clone(), "/api/v1/cckm/aws/templates/{id}", nothing,                    [204, 403, 403, 403, 404]),

        row(get.clone(), KEYS, nothing,                                                    [200, 200, 200, 403, 200]),
        row(get.clone(), "/api/v1/cckm/aws/keys/{id}", nothing,                            [200, 200, 200, 403, 404]),

        row(post.clone(), SYNCHRONIZATIONS, |_| json!({"kms": [""]}),                  [201, 403, 403, 403, 400]),
        row(get.clone(), SYNCHRONIZATIONS, nothing,                                        [200, 200, 200, 403, 200]),
        row(get.clone(), "/api/v1/cckm/aws/synchronization-jobs/{id}", nothing,            [200, 200, 200, 403, 404]),
        row(post.clone(), "/api/v1/cckm/aws/synchronization-jobs/{id}/cancel", nothing,    [200, 403, 403, 403, 404]),

        row(get.clone(), "/api/v1/auth/self/user", nothing,                                [200, 200, 200, 200, 200]),
        row(delete, "/api/v1/auth/tokens/{id}", nothing,                                   [404, 404, 404, 404, 404]),
        row(post.clone(), "/api/v1/auth/tokens", nothing,                                  [400, 400, 400, 400, 400]),
        row(post, "/api/v1/auth/revoke", nothing,                                          [400, 400, 400, 400, 400]),
        row(get.clone(), "/api/v1/auth/jwks.json", nothing,                                [200, 200, 200, 200, 200]),
        row(get.clone(), "/healthz", nothing,                                              [200, 200, 200, 200, 200]),
        row(get, "/readyz", nothing,                                                       [200, 200, 200, 200, 200]),
    ]
}

async fn the_table_is_true_of_every_call_of_the_document(stack: &Keyfleet) -> Result<()> {
    let document = stack.admin.bare(Method::GET, "/api/openapi.json").send().await?.expect(200)?.body;
    let described: BTreeSet<(String, String)> = document["paths"]
        .as_object()
        .context("paths")?
        .iter()
        .flat_map(|(path, calls)| {
            calls.as_object().into_iter().flatten().map(|(method, _)| (path.clone(), method.clone()))
        })
        .collect();
    let rows = table();
    let known: BTreeSet<(String, String)> =
        rows.iter().map(|row| (row.path.to_owned(), row.method.as_str().to_ascii_lowercase())).collect();
    assert_eq!(known, described, "calls of the table, and of the document");

    let fixture = prepare(stack).await?;
    let tokens = tokens(stack).await?;
    let mut wrong = BTreeMap::new();
    for row in &rows {
        for (caller, token) in tokens.iter().enumerate() {
            let answer = send(stack, row, &fixture, token.as_deref()).await?;
            let what = format!("{} {} by {}", row.method, row.path, CALLERS[caller]);
            let expected = row.expected(caller);
            if answer.status != expected {
                wrong.insert(what, format!("{} instead of {expected}: {}", answer.status, answer.text));
            } else if let Some(code) = [(401, 5), (403, 6), (404, 16)].iter().find(|(status, _)| *status == expected) {
                answer.refuses(expected, code.1, "").with_context(|| what)?;
            }
        }
    }
    ensure!(wrong.is_empty(), "{wrong:#?}");
    let job = stack.admin.get(&format!("{BULKJOB}/{}?detail=false", fixture.job)).await?.expect(200)?.body;
    assert_eq!(job["overall_status"], "completed");
    Ok(())
}

/// A container with a job that has ended, keys, a template and a synchronization, and who may do what there.
async fn prepare(stack: &Keyfleet) -> Result<Fixture> {
    let main = json!({"name": "main", "account_id": ACCOUNT, "regions": [REGION]});
    stack.admin.post(CONTAINERS, &main).await?.expect(201)?;
    let keys = stack.sim.make_keys(3, "Disabled").await?;
    let synchronization = stack.admin.post(SYNCHRONIZATIONS, &json!({"kms": ["main"]})).await?.expect(201)?.body;
    let synchronization = synchronization["id"].as_str().context("an id")?.to_owned();
    let path = format!("{SYNCHRONIZATIONS}/{synchronization}");
    until("the synchronization ends", async || {
        Ok((stack.admin.get(&path).await?.expect(200)?.body["overall_status"] != "in_progress").then_some(()))
    })
    .await?;
    let registered = stack.admin.get(&format!("{KEYS}?limit=1")).await?.expect(200)?.body;
    let template = stack.admin.post(TEMPLATES, &json!({"name": "kept", "kms": "main"})).await?.expect(201)?.body;
    let arn = arn(REGION, &keys[0]);
    let job = stack.create("enablekey", std::slice::from_ref(&arn)).await?;
    job.wait_until_ended().await?;
    let acls = json!({"acls": [
        {"user_id": user(stack).await?, "permit": true, "actions": ["keybulkoperation"]},
        {"user_id": "user::local|00000000-0000-4000-8000-00000000000a", "permit": true, "actions": ["view"]},
        {"group": "viewers", "permit": true, "actions": ["view", "keycreate"]},
        {"group": "others", "permit": true, "actions": ["keycreate", "keydelete"]},
    ]});
    stack.admin.post(&format!("{CONTAINERS}/main/update-acls"), &acls).await?.expect(200)?;
    let text = |value: &Value| value.as_str().map(str::to_owned).context("an id");
    Ok(Fixture {
        job: job.id,
        template: text(&template["id"])?,
        key: text(&registered["resources"][0]["id"])?,
        synchronization,
        arn,
    })
}

/// The tokens' name of the user who may run bulk jobs.
async fn user(stack: &Keyfleet) -> Result<String> {
    let told = stack.nobody.get("/api/v1/auth/self/user").await?.expect(200)?.body;
    Ok(told["user_id"].as_str().context("a user's id")?.to_owned())
}

/// One token for each kind of caller. Those of users that the stack does not have are signed with its own key.
async fn tokens(stack: &Keyfleet) -> Result<[Option<String>; 9]> {
    let key = std::fs::read(stack.parts.tls_file("token-key.pem")).context("the key that signs tokens")?;
    let key = EncodingKey::from_ec_pem(&key)?;
    let usual = stack.nobody.token().await?;
    // It names the key.
    let header = jsonwebtoken::decode_header(&usual).context("the token's header")?;
    let claims = jsonwebtoken::dangerous::insecure_decode::<Value>(&usual).context("the token's claims")?.claims;
    let sign = |subject: &str, groups: &[&str], end: Option<i64>| {
        let mut claims = claims.clone();
        claims["sub"] = json!(format!("local|00000000-0000-4000-8000-{subject:0>12}"));
        claims["cust"]["groups"] = json!(groups);
        if let Some(end) = end {
            claims["exp"] = json!(end);
        }
        jsonwebtoken::encode(&header, &claims, &key).map(Some)
    };
    Ok([
        Some(stack.admin.token().await?),
        sign("1", &["admin"], None)?,
        Some(usual),
        sign("a", &[], None)?,
        sign("2", &["strangers", "viewers"], None)?,
        // Of a group whose actions have no meaning here, and of names that are nearly those that count.
        sign("3", &["others", "Admin", "viewer", "cckm admins"], None)?,
        Some(stack.stranger.token().await?),
        sign("1", &["admin"], Some(1_600_000_300))?,
        None,
    ])
}

/// Makes what the call takes away, and calls.
async fn send(stack: &Keyfleet, row: &Row, fixture: &Fixture, token: Option<&str>) -> Result<Answer> {
    let made = async |path: &str, body: Value| {
        let made = stack.admin.post(path, &body).await?.expect(201)?.body;
        made["id"].as_str().map(str::to_owned).context("an id")
    };
    let changes = row.method == Method::DELETE || row.method == Method::POST;
    let id = match row.path {
        path if path.starts_with(BULKJOB) => fixture.job.clone(),
        // What is deleted, archived or given away is made for it.
        path if path.starts_with(CONTAINERS) && path.contains("{id}") && changes => {
            made(CONTAINERS, new_container()).await?
        }
        path if path.starts_with(CONTAINERS) => "main".to_owned(),
        path if path.starts_with(TEMPLATES) && row.method == Method::DELETE => {
            made(TEMPLATES, json!({"name": format!("gone-{}", number()), "kms": "main"})).await?
        }
        path if path.starts_with(TEMPLATES) => fixture.template.clone(),
        path if path.starts_with(KEYS) => fixture.key.clone(),
        path if path.starts_with(SYNCHRONIZATIONS) => fixture.synchronization.clone(),
        _ => uuid::Uuid::new_v4().to_string(),
    };
    let mut body = (row.body)(fixture);
    if row.path == SYNCHRONIZATIONS && changes {
        // Of a container of its own: two at once of one are refused.
        body["kms"][0] = json!(made(CONTAINERS, new_container()).await?);
    }
    let mut call = stack.admin.bare(row.method.clone(), &row.path.replace("{id}", &id));
    if row.method != Method::GET {
        call = call.json(&body);
    }
    if let Some(token) = token {
        call = call.header("Authorization", &format!("Bearer {token}"));
    }
    call.send().await
}
