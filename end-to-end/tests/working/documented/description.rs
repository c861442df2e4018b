//! What the OpenAPI document says that there is.

use std::collections::BTreeSet;
use std::fmt;

use anyhow::{Context as _, Result};
use end_to_end::Keyfleet;
use serde_json::Value;

/// The OpenAPI document.
pub(crate) struct Description(Value);

/// One call of it.
pub(crate) struct Described<'d> {
    method: &'d str,
    path: &'d str,
    /// Whose title the chapter of the call has.
    pub(crate) tag: &'d str,
    described: &'d Value,
}

impl Description {
    pub(crate) async fn fetch(stack: &Keyfleet) -> Result<Self> {
        let described = stack.admin.get("/api/openapi.json").await?.expect(200)?.body;
        described["paths"]["/healthz"].as_object().context("no document that describes /healthz")?;
        Ok(Self(described))
    }

    pub(crate) fn calls(&self) -> impl Iterator<Item = Described<'_>> {
        let paths = self.0["paths"].as_object().into_iter().flatten();
        paths.flat_map(|(path, calls)| {
            calls.as_object().into_iter().flatten().map(move |(method, described)| {
                let tag = described["tags"][0].as_str().unwrap_or_default();
                Described { method, path, tag, described }
            })
        })
    }

    /// The names of a call's parameters, and of the fields of what it takes and answers when all is well.
    pub(crate) fn names(&self, call: &Described<'_>) -> BTreeSet<String> {
        let mut names = BTreeSet::new();
        let parameters = call.described["parameters"].as_array().into_iter().flatten();
        let elsewhere = parameters.filter(|parameter| parameter["in"] != "path");
        names.extend(elsewhere.filter_map(|parameter| parameter["name"].as_str()).map(str::to_owned));
        self.add_fields(&call.described["requestBody"], &mut names);
        for (status, answer) in call.described["responses"].as_object().into_iter().flatten() {
            if status.starts_with('2') {
                self.add_fields(answer, &mut names);
            }
        }
        names
    }

    fn add_fields(&self, described: &Value, names: &mut BTreeSet<String>) {
        match described {
            Value::Object(members) => {
                for (name, member) in members {
                    match (name.as_str(), member) {
                        ("$ref", Value::String(named)) => {
                            let schema = named.strip_prefix('#').and_then(|path| self.0.pointer(path));
                            self.add_fields(schema.unwrap_or(&Value::Null), names);
                        }
                        ("properties", Value::Object(fields)) => {
                            names.extend(fields.keys().cloned());
                            fields.values().for_each(|field| self.add_fields(field, names));
                        }
                        (_, member) => self.add_fields(member, names),
                    }
                }
            }
            Value::Array(members) => members.iter().for_each(|member| self.add_fields(member, names)),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }
}

impl Described<'_> {
    /// Whether this is the call of a method and a path.
    pub(crate) fn is_of(&self, (method, path): &(&str, &str)) -> bool {
        let alike = |(template, word): (&str, &str)| template == word || template.starts_with('{');
        self.method.eq_ignore_ascii_case(method)
            && self.path.split('/').count() == path.split('/').count()
            && self.path.split('/').zip(path.split('/')).all(alike)
    }
}

impl fmt::Debug for Described<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.method.to_uppercase(), self.path)
    }
}
