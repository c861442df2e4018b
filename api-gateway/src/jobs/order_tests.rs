//! The reader against bodies of every kind, and against every way of cutting them up.

use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::jobs::upload::Upload;

#[derive(Default)]
struct Gathered {
    keys: Vec<String>,
    chunks: Vec<usize>,
    asked: usize,
    closes_after: Option<usize>,
}

impl KeySink for Gathered {
    fn take(&mut self, keys: Vec<String>) -> Result<(), Closed> {
        if self.closes_after.is_some_and(|most| self.chunks.len() >= most) {
            return Err(Closed);
        }
        self.chunks.push(keys.len());
        self.keys.extend(keys);
        Ok(())
    }
    fn many(&mut self) -> Result<(), Closed> {
        self.asked += 1;
        Ok(())
    }
}

fn read(body: &str) -> Result<(Order, Vec<String>), NoOrder> {
    let mut sink = Gathered::default();
    let order = read_order(Upload::whole(Bytes::copy_from_slice(body.as_bytes())), 1_000, &mut sink)?;
    Ok((order, sink.keys))
}

fn refusal(body: &str) -> String {
    match read(body) {
        Err(NoOrder::Refused(ApiError::BadRequest(message))) => message,
        other => panic!("{body} gave {other:?}"),
    }
}

#[test]
fn a_good_body_is_an_order() {
    let (order, keys) = read(r#"{"operation":"enablekey","keys":["a","b","a","c"]}"#).unwrap();
    let plain = Order {
        operation: Operation::EnableKey,
        days: None,
        policy_template_id: None,
        force: false,
        dry_run: false,
        max_rate: None,
        selector: None,
    };
    assert_eq!(order, plain);
    assert_eq!(keys, ["a", "b", "c"], "the same text twice stands once");

    let (order, keys) =
        read(r#" {"days":7,"force":true,"keys":["\u00e9\n"],"operation":"schedulekeydeletion"} "#).unwrap();
    assert_eq!((order.days, order.force), (Some(7), true));
    assert_eq!(keys, ["é\n"]);

    let (order, _) = read(r#"{"operation":"applypolicytemplate","policy_template_id":"t","keys":["a"]}"#).unwrap();
    assert_eq!(order.policy_template_id.as_deref(), Some("t"));
    let nulls = r#"{"operation":"enablekey","keys":["a"],"days":null,"policy_template_id":null,"force":null,"dry_run":null,"max_rate":null}"#;
    assert_eq!(read(nulls).unwrap().0, plain);
    let (order, _) = read(r#"{"operation":"enablekey","keys":["a"],"dry_run":true}"#).unwrap();
    assert_eq!(order, Order { dry_run: true, ..plain });
    for (rate, read_as) in [("7", 7.0), ("0.5", 0.5)] {
        let body = format!(r#"{{"operation":"enablekey","keys":["a"],"max_rate":{rate}}}"#);
        assert_eq!(read(&body).unwrap().0.max_rate, Some(read_as));
    }
}

#[test]
fn every_refusal_names_its_field() {
    let long = format!(r#"{{"operation":"enablekey","keys":["a","{}"]}}"#, "x".repeat(2_049));
    let longer = format!(r#"{{"operation":"enablekey","keys":["a","{}"]}}"#, "x".repeat(200_000));
    let many: Vec<String> = (0..1_001).map(|number| format!("\"{number}\"")).collect();
    let many = format!(r#"{{"operation":"enablekey","keys":[{}]}}"#, many.join(","));
    let id =
        format!(r#"{{"operation":"applypolicytemplate","policy_template_id":"{}","keys":["a"]}}"#, "x".repeat(256));
    for (body, field, says) in [
        (r#"{"keys":["a"]}"#, "operation", "missing"),
        (r#"{"operation":"enablekey"}"#, "keys", "missing"),
        (r#"{"operation":"destroykey","keys":["a"]}"#, "operation", "destroykey"),
        (r#"{"operation":5,"keys":["a"]}"#, "operation", "a string"),
        (r#"{"operation":null,"keys":["a"]}"#, "operation", "a string"),
        (r#"{"operation":"enablekey","operation":"enablekey","keys":["a"]}"#, "operation", "twice"),
        (r#"{"operation":"enablekey","keys":["a"],"keys":["b"]}"#, "keys", "twice"),
        (r#"{"operation":"enablekey","keys":[]}"#, "keys", "empty"),
        (r#"{"operation":"enablekey","keys":["a",""]}"#, "keys", "number 2 is empty"),
        (r#"{"operation":"enablekey","keys":["a\u0000"]}"#, "keys", "NUL"),
        (r#"{"operation":"enablekey","keys":["a",7]}"#, "keys", "a string"),
        (r#"{"operation":"enablekey","keys":[["a"]]}"#, "keys", "a string"),
        (r#"{"operation":"enablekey","keys":"a"}"#, "keys", "a list of strings"),
        (r#"{"operation":"enablekey","keys":null}"#, "keys", "a list of strings"),
        (r#"{"operation":"enablekey","keys":{"a":1}}"#, "keys", "a list of strings"),
        (long.as_str(), "keys", "longer than 2048"),
        (longer.as_str(), "keys", "longer than"),
        (many.as_str(), "keys", "more than 1000"),
        (r#"{"operation":"schedulekeydeletion","keys":["a"],"days":6}"#, "days", "from 7 to 30, not 6"),
        (r#"{"operation":"schedulekeydeletion","keys":["a"],"days":31}"#, "days", "not 31"),
        (r#"{"operation":"schedulekeydeletion","keys":["a"],"days":-7}"#, "days", "not -7"),
        (r#"{"operation":"schedulekeydeletion","keys":["a"],"days":7.5}"#, "days", "not 7.5"),
        (r#"{"operation":"schedulekeydeletion","keys":["a"],"days":1e300}"#, "days", "whole number"),
        (r#"{"operation":"schedulekeydeletion","keys":["a"],"days":"7"}"#, "days", "whole number"),
        (r#"{"operation":"enablekey","keys":["a"],"days":7}"#, "days", "only schedulekeydeletion"),
        (
            r#"{"operation":"enablekey","keys":["a"],"policy_template_id":"t"}"#,
            "policy_template_id",
            "only applypolicytemplate",
        ),
        (r#"{"operation":"applypolicytemplate","keys":["a"]}"#, "policy_template_id", "missing"),
        (r#"{"operation":"applypolicytemplate","policy_template_id":"","keys":["a"]}"#, "policy_template_id", "id"),
        (
            r#"{"operation":"applypolicytemplate","policy_template_id":7,"keys":["a"]}"#,
            "policy_template_id",
            "a string",
        ),
        (id.as_str(), "policy_template_id", "id"),
        (r#"{"operation":"enablekey","keys":["a"],"force":"yes"}"#, "force", "a boolean"),
        (r#"{"operation":"enablekey","keys":["a"],"dry_run":"true"}"#, "dry_run", "a boolean"),
        (r#"{"operation":"enablekey","keys":["a"],"max_rate":0}"#, "max_rate", "at least 0.01"),
        (r#"{"operation":"enablekey","keys":["a"],"max_rate":-0.5}"#, "max_rate", "not -0.5"),
        (r#"{"operation":"enablekey","keys":["a"],"max_rate":1e999}"#, "max_rate", "out of range"),
        (r#"{"operation":"enablekey","keys":["a"],"max_rate":"5"}"#, "max_rate", "f64"),
        (r#"{"operation":"enablekey","keys":["a"],"dry_rum":true}"#, "dry_rum", "no such field"),
        (r#"{"operation":"enablekey","keys":["a"#, "keys", "not valid JSON"),
        (r#"{"operation":"enablekey","keys":["a",]}"#, "keys", "not valid JSON"),
    ] {
        let message = refusal(body);
        assert!(message.starts_with(&format!("{field}: ")), "{body} gave {message}");
        assert!(message.contains(says), "{body} gave {message}");
    }
    for body in ["", " ", "[]", "null", "7", "\"x\"", "{", "{}x", "{]", r#"{"operation":"enablekey","keys":["a"]} {}"#]
    {
        let message = refusal(body);
        assert!(message.contains("body") || message.contains("is missing"), "{body} gave {message}");
    }
}

#[test]
fn many_keys_come_in_chunks_and_ask_for_leave_once() {
    let list: Vec<String> = (0..120_000).map(|number| format!("\"key-{number}\"")).collect();
    let body = format!(r#"{{"keys":[{}],"operation":"disablekey"}}"#, list.join(","));
    let mut sink = Gathered::default();
    let order = read_order(Upload::whole(Bytes::from(body.clone())), 1_000_000, &mut sink).unwrap();
    assert_eq!(order.operation, Operation::DisableKey);
    assert_eq!(sink.keys.len(), 120_000);
    assert!(sink.chunks.iter().all(|&len| len <= CHUNK_KEYS));
    assert_eq!(sink.asked, 1);

    let mut closed = Gathered { closes_after: Some(2), ..Gathered::default() };
    let read = read_order(Upload::whole(Bytes::from(body)), 1_000_000, &mut closed);
    assert_eq!(read, Err(NoOrder::Closed));
}

#[test]
fn a_source_that_fails_is_not_the_caller_s_mistake() {
    for error in [ApiError::TooLarge(5), ApiError::BodyTooSlow] {
        let upload = Upload::pieces([Ok(Some(Bytes::from_static(b"{\"keys\":[\"a"))), Err(error.clone())]);
        let read = read_order(upload, 10, &mut Gathered::default());
        assert_eq!(read, Err(NoOrder::Refused(error)));
    }
    let abandoned = Upload::pieces([Ok(Some(Bytes::from_static(b"{")))]);
    assert_eq!(read_order(abandoned, 10, &mut Gathered::default()), Err(NoOrder::Closed));
}

/// Something like a body: mostly good, with mistakes and junk among it.
fn body() -> impl Strategy<Value = String> {
    let key = prop_oneof![
        8 => "[a-z0-9]{1,12}".prop_map(|key| format!("\"{key}\"")),
        1 => any::<String>().prop_map(|text| serde_json::to_string(&text).unwrap()),
        1 => Just("7".to_owned()),
    ];
    let member = prop_oneof![
        4 => prop::collection::vec(key, 0..40).prop_map(|keys| format!("\"keys\":[{}]", keys.join(","))),
        4 => prop::sample::select(vec!["enablekey", "schedulekeydeletion", "applypolicytemplate", "x"])
            .prop_map(|operation| format!("\"operation\":\"{operation}\"")),
        2 => (-5_i64..40).prop_map(|days| format!("\"days\":{days}")),
        1 => Just("\"force\":true".to_owned()),
        1 => Just("\"policy_template_id\":\"t\\u0041\"".to_owned()),
        1 => Just("\"dry_run\":true".to_owned()),
    ];
    prop_oneof![
        6 => prop::collection::vec(member, 0..5).prop_map(|members| format!("{{{}}}", members.join(" , "))),
        1 => any::<String>(),
        1 => "[\\[\\]{}\",:a-z0-9 \\\\]{0,60}",
    ]
}

proptest! {
    #[test]
    fn however_it_is_cut_a_body_reads_the_same(body in body(), cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..12)) {
        let mut at: Vec<usize> = cuts.iter().map(|cut| cut.index(body.len() + 1)).chain([0, body.len()]).collect();
        at.sort_unstable();
        let pieces = at.windows(2).map(|pair| Ok(Some(Bytes::copy_from_slice(&body.as_bytes()[pair[0]..pair[1]]))));
        let mut cut = Gathered::default();
        let mut upload = Upload::pieces(pieces.chain([Ok(None)]));
        let cut_read = read_order(&mut upload, 1_000, &mut cut);
        let mut whole = Gathered::default();
        let mut whole_upload = Upload::whole(Bytes::from(body));
        let whole_read = read_order(&mut whole_upload, 1_000, &mut whole);
        if whole_read.is_ok() {
            prop_assert_eq!(cut.keys, whole.keys);
            prop_assert_eq!(upload.digest(), whole_upload.digest());
        }
        prop_assert_eq!(cut_read, whole_read);
    }

    #[test]
    fn garbage_is_refused_without_panic(body in prop::collection::vec(any::<u8>(), 0..300)) {
        let _order = read_order(Upload::whole(Bytes::from(body)), 1_000, &mut Gathered::default());
    }
}
