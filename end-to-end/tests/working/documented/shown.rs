//! Whether what is printed is what is shown: the same fields in the same order, with the same values.
//!
//! Ids and times are other ones each time. So a time stands for any of the same precision, and an id for the one that it stood
//! for before: what is shown as one id must be one id. `1f2d9e1c-…` is short for the id that begins so, a text that ends in `…`
//! for any that begins like it, and the field `…` for more fields.

use std::collections::HashMap;
use std::sync::LazyLock;

use anyhow::{Context as _, Result, ensure};
use indexmap::IndexMap;
use regex::{Captures, Regex};
use serde::Deserialize;
use serde_json::Value;

const MORE: &str = "…";
/// By how much of them the ids of the document are told apart.
const SHORT_ID: usize = 8;

static TIME: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z").expect("a pattern"));
static ID: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"\b[0-9a-f]{8}-(…|[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12})").expect("a pattern")
});

/// A JSON value that keeps the order of its fields.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Json {
    Object(IndexMap<String, Json>),
    Array(Vec<Json>),
    Text(String),
    Other(Value),
}

/// What the ids that are shown stand for, as far as it is known.
#[derive(Default)]
pub(crate) struct Comparison(HashMap<String, String>);

impl Comparison {
    /// Compares texts of any number of JSON values, and gives the number.
    ///
    /// # Errors
    /// Says where they differ.
    pub(crate) fn same(&mut self, shown: &str, printed: &str) -> Result<usize> {
        let read = |text| serde_json::Deserializer::from_str(text).into_iter().collect::<Result<Vec<Json>, _>>();
        let shown = read(shown).context("what is shown is no JSON")?;
        let printed = read(printed).context("what is printed is no JSON")?;
        self.arrays(&shown, &printed)?;
        Ok(printed.len())
    }

    fn values(&mut self, shown: &Json, printed: &Json) -> Result<()> {
        match (shown, printed) {
            (Json::Object(shown), Json::Object(printed)) => self.objects(shown, printed),
            (Json::Array(shown), Json::Array(printed)) => self.arrays(shown, printed),
            (Json::Text(shown), Json::Text(printed)) => {
                ensure!(self.texts(shown, printed), "{shown:?} is shown, {printed:?} is printed");
                Ok(())
            }
            (shown, printed) => {
                let same = matches!((shown, printed), (Json::Other(shown), Json::Other(printed)) if shown == printed);
                ensure!(same, "{shown:?} is shown, {printed:?} is printed");
                Ok(())
            }
        }
    }

    fn arrays(&mut self, shown: &[Json], printed: &[Json]) -> Result<()> {
        ensure!(shown.len() == printed.len(), "{} are shown, {} are printed", shown.len(), printed.len());
        shown.iter().zip(printed).try_for_each(|(shown, printed)| self.values(shown, printed))
    }

    fn objects(&mut self, shown: &IndexMap<String, Json>, printed: &IndexMap<String, Json>) -> Result<()> {
        let has_more = shown.contains_key(MORE);
        let mut rest = printed.iter();
        for (name, value) in shown.iter().filter(|(name, _)| *name != MORE) {
            let field = if has_more { rest.find(|(other, _)| self.texts(name, other)) } else { rest.next() };
            let (other, printed) = field.with_context(|| format!("{name:?} is not printed there"))?;
            ensure!(self.texts(name, other), "{name:?} is shown where {other:?} is printed");
            self.values(value, printed).with_context(|| name.clone())?;
        }
        ensure!(has_more || rest.len() == 0, "not shown: {:?}", rest.map(|(name, _)| name).collect::<Vec<_>>());
        Ok(())
    }

    fn texts(&mut self, shown: &str, printed: &str) -> bool {
        let (shown, names) = apart(shown);
        let (printed, ids) = apart(printed);
        let alike = match shown.strip_suffix(MORE) {
            Some(begin) => printed.starts_with(begin),
            None => shown == printed,
        };
        alike
            && names.into_iter().zip(ids).all(|(mut name, id)| {
                name.truncate(SHORT_ID);
                *self.0.entry(name).or_insert_with(|| id.clone()) == id
            })
    }
}

/// A text without what differs each time, and the ids that were in it.
fn apart(text: &str) -> (String, Vec<String>) {
    let ids = ID.find_iter(text).map(|id| id.as_str().to_owned()).collect();
    let text = ID.replace_all(text, "<id>");
    let digits = |time: &Captures<'_>| time[0].replace(|digit: char| digit.is_ascii_digit(), "0");
    (TIME.replace_all(&text, digits).into_owned(), ids)
}

#[test]
fn what_differs_by_chance_alone_is_the_same() {
    let same = |shown, printed| Comparison::default().same(shown, printed).unwrap();
    same("", "");
    same(r#"{"a": 1} {"b": [true, null]}"#, "{\"a\":1}\n{\"b\":[true,null]}\n");
    same(r#"["eyJ…", "…"]"#, r#"["eyJ0", "x"]"#);
    same(r#"{"b": 2, "…": "…"}"#, r#"{"a": 1, "b": 2, "c": 3}"#);
    same(r#"["2023-02-10T08:19:48.558869Z"]"#, r#"["2026-11-30T00:00:00.000001Z"]"#);
    same(
        r#"{"id": "e612b64f-6364-48ce-92ec-c6dd608d7ad0", "uri": "job:e612b64f-…", "keys": {"1f2d9e1c-…": "Success"}}"#,
        r#"{"id": "01999999-0000-7000-8000-000000000000", "uri": "job:01999999-0000-7000-8000-000000000000",
            "keys": {"2f2d9e1c-1111-4222-8333-444455556666": "Success"}}"#,
    );
}

#[test]
fn everything_else_is_another() {
    for (shown, printed) in [
        (r#"{"a": 1}"#, ""),
        ("", r#"{"a": 1}"#),
        (r#"{"a": 1}"#, r#"{"a": 2}"#),
        (r#"{"a": null}"#, r#"{"a": "x"}"#),
        (r#"{"a": 1}"#, r#"{"a": 1, "b": 2}"#),
        (r#"{"a": 1, "b": 2}"#, r#"{"a": 1}"#),
        (r#"{"a": 1, "b": 2}"#, r#"{"b": 2, "a": 1}"#),
        (r#"{"a": 1, "b": 2, "…": "…"}"#, r#"{"b": 2, "c": 3, "a": 1}"#),
        ("[1]", "[1, 1]"),
        (r#"["eyJ…"]"#, r#"["x"]"#),
        (r#"["2023-02-10T08:19:48.558869Z"]"#, r#"["2026-11-30T00:00:00Z"]"#),
        (
            r#"["e612b64f-…", "e612b64f-…"]"#,
            r#"["01999999-0000-7000-8000-000000000000", "01999999-0000-7000-8000-000000000001"]"#,
        ),
    ] {
        assert!(Comparison::default().same(shown, printed).is_err(), "{shown} {printed}");
    }
}
