//! What a scenario found: headline figures and rows, as a table for people and as JSON for programs.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use serde_json::{Map, Value, json};
use service_kit::clock;

use crate::{machine::Machine, plot::Plot};

/// Where results go.
#[derive(Debug, Clone)]
pub struct Places {
    /// The folder of `<scenario>.json`.
    pub results: PathBuf,
    /// The folder of `<scenario>.svg`.
    pub plots: PathBuf,
}

/// The findings of one scenario.
#[derive(Debug, Clone, PartialEq)]
pub struct Report {
    /// The figures at the top level, by their agreed names: numbers, or objects of numbers by service.
    pub headline: Map<String, Value>,
    /// All cases.
    pub rows: Vec<Value>,
    /// The fields of the rows that the table shows, in this order; `a.b` is field `b` of the object `a`.
    pub columns: Vec<&'static str>,
    /// The rows as a picture.
    pub plot: Plot,
}

impl Report {
    /// A report of `headline`, an object, and `rows`, objects too.
    ///
    /// # Panics
    /// When the headline is no object: that is an error in the scenario.
    #[must_use]
    pub fn new(headline: Value, columns: &[&'static str], rows: Vec<Value>, plot: Plot) -> Self {
        let Value::Object(headline) = headline else { panic!("a headline is an object, not {headline}") };
        Self { headline, rows, columns: columns.to_vec(), plot }
    }

    /// The whole as JSON.
    ///
    /// # Errors
    /// When the machine cannot be described.
    pub fn json(&self, scenario: &str, full: bool) -> Result<Value> {
        let mut all = self.headline.clone();
        all.insert("scenario".to_owned(), json!(scenario));
        all.insert("full".to_owned(), json!(full));
        all.insert("measured_at".to_owned(), json!(clock::wall().unix_timestamp()));
        all.insert("machine".to_owned(), json!(Machine::describe()?));
        all.insert("rows".to_owned(), json!(self.rows));
        Ok(Value::Object(all))
    }

    /// Writes JSON and picture, and prints the table.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub fn tell(&self, scenario: &str, full: bool, places: &Places) -> Result<()> {
        print!("{}", self.table());
        for (name, value) in &self.headline {
            println!("{name}: {}", shown(value));
        }
        let text = serde_json::to_string_pretty(&self.json(scenario, full)?).context("the result")?;
        write(&places.results, &format!("{scenario}.json"), &(text + "\n"))?;
        write(&places.plots, &format!("{scenario}.svg"), &self.plot.svg())
    }

    /// The rows as a table, numbers to the right.
    #[must_use]
    pub fn table(&self) -> String {
        let mut lines: Vec<Vec<String>> = vec![self.columns.iter().map(|name| (*name).to_owned()).collect()];
        let is_number =
            |name: &str| self.rows.iter().all(|row| matches!(at(row, name), Value::Number(_) | Value::Null));
        let right: Vec<bool> = self.columns.iter().map(|name| is_number(name)).collect();
        lines.extend(self.rows.iter().map(|row| self.columns.iter().map(|name| shown(at(row, name))).collect()));
        let width = |column: usize| lines.iter().map(|line| line[column].chars().count()).max().unwrap_or_default();
        let widths: Vec<usize> = (0..self.columns.len()).map(width).collect();
        let mut text = String::new();
        for line in &lines {
            let cells = line.iter().enumerate().map(|(column, cell)| {
                let width = widths[column];
                if right[column] { format!("{cell:>width$}") } else { format!("{cell:<width$}") }
            });
            text += cells.collect::<Vec<_>>().join("  ").trim_end();
            text.push('\n');
        }
        text
    }
}

fn write(folder: &Path, name: &str, text: &str) -> Result<()> {
    let file = folder.join(name);
    fs::create_dir_all(folder)
        .and_then(|()| fs::write(&file, text))
        .with_context(|| format!("cannot write {}", file.display()))?;
    println!("{}", file.display());
    Ok(())
}

/// A row's name, made of the fields that tell it from the others.
#[must_use]
pub fn name_of(row: &Value, fields: &[&str]) -> String {
    fields.iter().map(|name| shown(at(row, name))).collect::<Vec<_>>().join(" ")
}

/// A bar of each row that has the figure.
#[must_use]
pub fn bars(title: &str, rows: &[Value], name: &[&str], figure: &str) -> Plot {
    let bar = |row: &Value| at(row, figure).as_f64().map(|value| (name_of(row, name), value));
    Plot::bars(title, rows.iter().filter_map(bar).collect())
}

/// A field that is a list of numbers.
#[must_use]
pub fn sample(row: &Value, name: &str) -> Vec<f64> {
    at(row, name).as_array().into_iter().flatten().filter_map(Value::as_f64).collect()
}

fn at<'a>(row: &'a Value, path: &str) -> &'a Value {
    path.split('.').fold(row, |value, name| &value[name])
}

/// Numbers with three digits that count, and whole ones in full.
fn shown(value: &Value) -> String {
    match value {
        Value::Number(number) => match (number.as_i64(), number.as_f64()) {
            (Some(whole), _) => whole.to_string(),
            (None, Some(x)) if x.abs() >= 100.0 => format!("{x:.0}"),
            (None, Some(x)) if x.abs() >= 10.0 => format!("{x:.1}"),
            (None, Some(x)) if x.abs() >= 1.0 => format!("{x:.2}"),
            (None, Some(x)) => format!("{x:.3}"),
            (None, None) => number.to_string(),
        },
        Value::String(text) => text.clone(),
        Value::Null => "-".to_owned(),
        Value::Object(fields) => {
            fields.iter().map(|(name, value)| format!("{name} {}", shown(value))).collect::<Vec<_>>().join(", ")
        }
        Value::Bool(_) | Value::Array(_) => value.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> Report {
        Report::new(
            json!({"ratio": 0.5432, "mb": {"api-gateway": 12.0}}),
            &["who", "keys_per_s", "cpu.worker"],
            vec![
                json!({"who": "keyfleet", "keys_per_s": 4321.9, "cpu": {"worker": 12.345}, "hidden": 1}),
                json!({"who": "bare", "keys_per_s": 9000, "cpu": {}}),
            ],
            Plot::bars("", Vec::new()),
        )
    }

    #[test]
    fn a_table_has_the_named_columns_and_nothing_else() {
        let expected =
            "who       keys_per_s  cpu.worker\nkeyfleet        4322        12.3\nbare            9000           -\n";
        assert_eq!(report().table(), expected);
    }

    #[test]
    fn rows_without_the_figure_have_no_bar() {
        let rows = [json!({"a": "x", "n": 2, "v": 1.5}), json!({"a": "y", "n": 3})];
        assert_eq!(bars("t", &rows, &["a", "n"], "v"), Plot::bars("t", vec![("x 2".to_owned(), 1.5)]));
        assert_eq!(sample(&json!({"v": [1, 2.5]}), "v"), [1.0, 2.5]);
    }

    #[test]
    fn the_headline_stands_at_the_top_level_as_numbers() {
        let json = report().json("engine", true).unwrap();
        assert_eq!((json["ratio"].as_f64(), json["mb"]["api-gateway"].as_f64()), (Some(0.5432), Some(12.0)));
        assert_eq!((&json["scenario"], &json["full"]), (&json!("engine"), &json!(true)));
        assert_eq!(json["rows"].as_array().map(Vec::len), Some(2));
        assert!(json["machine"]["cores"].as_u64() > Some(0));
    }
}
