//! What nobody meant to send, for the fuzz tests: JSON of any form, with the values that break readers among it.

use proptest::prelude::*;
use serde_json::{Map, Number, Value};

/// Texts that have broken readers before, and others.
pub(crate) fn text() -> impl Strategy<Value = String> {
    let nasty = [
        "",
        " ",
        "\0",
        "a\0b",
        "\u{202e}",
        "\u{fffd}",
        "\u{10ffff}",
        "../..",
        "%00",
        "-1",
        "null",
        "true",
        "0x10",
        "1e999",
        "NaN",
        "aws",
        "admin",
        "arn:aws:iam::222233334444:role/a",
        "222233334444",
        "eu-west-1",
        "Enabled",
        "00000000-0000-0000-0000-000000000000",
        "{}",
        "[]",
        "\"",
        "\\u0000",
        "a=b",
        "alias/",
        "'; --",
    ];
    prop_oneof![
        3 => prop::sample::select(nasty.to_vec()).prop_map(str::to_owned),
        2 => any::<String>(),
        1 => (1_usize..3_000).prop_map(|length| "x".repeat(length)),
    ]
}

fn number() -> impl Strategy<Value = Number> {
    prop_oneof![
        any::<i64>().prop_map(Number::from),
        any::<u64>().prop_map(Number::from),
        prop::sample::select(vec![i64::MIN, -1, 0, 1, 6, 7, 30, 31, i64::MAX]).prop_map(Number::from),
        prop::sample::select(vec![1e300, -1e300, 0.5, 5e-324, -0.0])
            .prop_map(|float| Number::from_f64(float).unwrap_or_else(|| Number::from(0))),
    ]
}

/// Any JSON.
pub(crate) fn json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::Bool),
        number().prop_map(Value::Number),
        text().prop_map(Value::String),
    ];
    leaf.prop_recursive(3, 24, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::Array),
            prop::collection::vec((text(), inner), 0..6)
                .prop_map(|pairs| Value::Object(pairs.into_iter().collect::<Map<String, Value>>())),
        ]
    })
}

/// A good object with members changed, taken away or added.
pub(crate) fn spoilt(good: Value) -> impl Strategy<Value = Value> {
    let names: Vec<String> = good.as_object().into_iter().flatten().map(|(name, _)| name.clone()).collect();
    let name = prop_oneof![9 => prop::sample::select(names), 1 => text()];
    let change = (name, prop::option::weighted(0.9, json()));
    prop::collection::vec(change, 1..4).prop_map(move |changes| {
        let mut spoilt = good.clone();
        for (name, value) in changes {
            if let Some(members) = spoilt.as_object_mut() {
                match value {
                    Some(value) => drop(members.insert(name, value)),
                    None => drop(members.remove(&name)),
                }
            }
        }
        spoilt
    })
}
