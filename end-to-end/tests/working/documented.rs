//! `docs/API.md` tells the truth: what it shows of an answer is what a running Keyfleet answers, field by field. The bodies that
//! its commands send are sent; ids and names in them that are another one's are put in the place of the document's.
//!
//! Every block of JSON in the document is compared here, but those of `Containers`, whose commands the gateway's own tests
//! run, and the one that is a file of settings.

use std::collections::BTreeSet;

use anyhow::{Context as _, Result, bail, ensure};
use end_to_end::caller::{BULKJOB, KEYS, SYNCHRONIZATIONS, TEMPLATES};
use end_to_end::patience::until;
use end_to_end::{Keyfleet, StackSettings, scenarios};
use serde_json::{Value, json};

const DOCUMENT: &str = include_str!("../../../docs/API.md");
/// Compared elsewhere, or no answer.
const ELSEWHERE: [&str; 2] = ["Containers", "Tokens of your own identity provider *(ours)*"];

#[tokio::test(flavor = "multi_thread")]
async fn what_the_document_shows_is_so() {
    let settings = StackSettings { quota: "off".to_owned(), ..StackSettings::default() };
    let stack = Keyfleet::start(settings).await.unwrap();
    scenarios!(stack; every_answer_that_is_shown_is_answered_so);
}

async fn every_answer_that_is_shown_is_answered_so(stack: &Keyfleet) -> Result<()> {
    let mut document = Document::read();
    let admin = &stack.admin;

    document.shows("Log in", &admin.log_in().await?.expect(200)?.body)?;
    document.shows("Who am I", &admin.get("/api/v1/auth/self/user").await?.expect(200)?.body)?;

    let key = stack.sim.make_keys(1, "Enabled").await?.remove(0);
    let mut order = document.sends("Create: `POST /cckm/aws/bulkjob`")?;
    order["keys"] = json!([key]);
    let job = admin.post(BULKJOB, &order).await?.expect(201)?.body["id"].as_str().context("an id")?.to_owned();
    let ended = until("the documented job to end", async || {
        let job = admin.get(&format!("{BULKJOB}/{job}")).await?.expect(200)?.body;
        Ok((job["overall_status"] != "in_progress").then_some(job))
    })
    .await?;
    document.shows("The job", &ended)?;
    ensure!(ended["detailed_status"][&key] == "Success", "{ended}");
    document.shows("List: `GET /cckm/aws/bulkjob`", &admin.get(BULKJOB).await?.expect(200)?.body)?;
    let rows = admin.get(&format!("{BULKJOB}/{job}/keys")).await?.expect(200)?.body;
    document.shows("Keys *(ours)*: `GET /cckm/aws/bulkjob/{id}/keys`", &rows["resources"][0])?;
    let canceled = admin.post(&format!("{BULKJOB}/{job}/cancel"), &Value::Null).await?.expect(200)?.body;
    ensure!(canceled["abort"] == true && canceled["overall_status"] == "completed", "{canceled}");

    let key = stack.sim.make_keys(1, "Enabled").await?.remove(0);
    let order = document.sends("Synchronize: `POST /cckm/aws/synchronization-jobs`")?;
    let begun = admin.post(SYNCHRONIZATIONS, &order).await?.expect(201)?.body;
    document.shows("Synchronize: `POST /cckm/aws/synchronization-jobs`", &begun)?;
    let path = format!("{SYNCHRONIZATIONS}/{}", begun["id"].as_str().context("an id")?);
    until("the documented synchronization to end", async || {
        Ok((admin.get(&path).await?.expect(200)?.body["overall_status"] == "completed").then_some(()))
    })
    .await?;
    let keys = admin.get(&format!("{KEYS}?keyid={key}")).await?.expect(200)?.body;
    let id = keys["resources"][0]["id"].as_str().context("a registered key")?;
    document.shows("Get: `GET /cckm/aws/keys/{id}`", &admin.get(&format!("{KEYS}/{id}")).await?.expect(200)?.body)?;

    let order = document.sends("Create: `POST /cckm/aws/templates`")?;
    document.shows("Create: `POST /cckm/aws/templates`", &admin.post(TEMPLATES, &order).await?.expect(201)?.body)?;

    let wrong = json!({"operation": "schedulekeydeletion", "days": 31, "keys": ["k"]});
    let refused = admin.post(BULKJOB, &wrong).await?.expect(400)?.body;
    document.shows("Errors", &refused)?;
    document.all_compared()
}

/// The document's sections, and which were compared.
struct Document {
    compared: BTreeSet<&'static str>,
}

impl Document {
    const fn read() -> Self {
        Self { compared: BTreeSet::new() }
    }

    /// Title and text of each, down to the next title of any depth.
    fn sections() -> impl Iterator<Item = (&'static str, &'static str)> {
        DOCUMENT.split("\n##").skip(1).filter_map(|section| {
            let (title, text) = section.split_once('\n')?;
            Some((title.trim_start_matches('#').trim(), text))
        })
    }

    fn block(title: &str, kind: &'static str) -> Result<&'static str> {
        let (_, text) = Self::sections().find(|(other, _)| *other == title).with_context(|| format!("no {title:?}"))?;
        blocks(text, kind).next().with_context(|| format!("{title:?} has no block of {kind}"))
    }

    /// What the section's first command sends.
    fn sends(&self, title: &str) -> Result<Value> {
        let command = Self::block(title, "sh")?;
        let (_, rest) = command.split_once("-d '").with_context(|| format!("{title:?} sends nothing: {command}"))?;
        let (body, _) = rest.split_once('\'').context("the end of the body")?;
        serde_json::from_str(body).with_context(|| format!("{title:?} sends {body}"))
    }

    /// Compares what the section shows with what was answered.
    fn shows(&mut self, title: &'static str, answered: &Value) -> Result<()> {
        let shown =
            serde_json::from_str(Self::block(title, "json")?).with_context(|| format!("what {title:?} shows"))?;
        self.compared.insert(title);
        same_form(&shown, answered).with_context(|| format!("{title:?} shows {shown}, the answer is {answered}"))
    }

    fn all_compared(&self) -> Result<()> {
        let mut chapter = "";
        for section in DOCUMENT.split("\n##").skip(1) {
            let (title, text) = section.split_once('\n').context("a title")?;
            let named = title.trim_start_matches('#').trim();
            if !title.starts_with('#') {
                chapter = named;
            }
            let elsewhere = [named, chapter].iter().any(|title| ELSEWHERE.contains(title));
            let shows_none = blocks(text, "json").next().is_none();
            ensure!(elsewhere || shows_none || self.compared.contains(named), "nobody compares what {named:?} shows");
        }
        Ok(())
    }
}

fn blocks<'d>(text: &'d str, kind: &'static str) -> impl Iterator<Item = &'d str> {
    let fenced = text.split("```").skip(1).step_by(2);
    fenced.filter_map(move |block| block.split_once('\n').filter(|(named, _)| *named == kind).map(|(_, block)| block))
}

/// Whether an answer has the fields that are shown, with values of the kinds that are shown. `…` stands for more; maps by keys,
/// tags or places have other names in them.
fn same_form(shown: &Value, answered: &Value) -> Result<()> {
    match (shown, answered) {
        (Value::Object(shown), Value::Object(answered)) => {
            if shown.contains_key("…") {
                return Ok(());
            }
            let names = |object: &serde_json::Map<String, Value>| object.keys().cloned().collect::<BTreeSet<_>>();
            let (mine, theirs) = (names(shown), names(answered));
            let by_chance = |names: &BTreeSet<String>| {
                names.iter().all(|name| name.contains(['-', '/']) && !name.starts_with("key-"))
            };
            if by_chance(&mine) && by_chance(&theirs) {
                let (Some(one), Some(other)) = (shown.values().next(), answered.values().next()) else { return Ok(()) };
                return same_form(one, other);
            }
            ensure!(mine == theirs, "fields: {:?}", mine.symmetric_difference(&theirs).collect::<Vec<_>>());
            shown.iter().try_for_each(|(name, value)| same_form(value, &answered[name]).with_context(|| name.clone()))
        }
        (Value::Array(shown), Value::Array(answered)) => match (shown.first(), answered.first()) {
            // A page whose entries are shown by their id alone.
            (Some(Value::Object(entry)), _) if entry.len() == 1 => Ok(()),
            (Some(one), Some(other)) => same_form(one, other),
            (_, _) => Ok(()),
        },
        (Value::String(_), Value::String(_))
        | (Value::Number(_), Value::Number(_))
        | (Value::Bool(_), Value::Bool(_))
        | (Value::Null, _)
        | (_, Value::Null) => Ok(()),
        (_, _) => bail!("{shown} is shown, {answered} is answered"),
    }
}
