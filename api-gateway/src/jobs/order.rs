//! Reads the body of a create: what is to be done, to which keys.
//!
//! A body may name a million keys in 128 MB, so it is read as it arrives: keys go on in chunks as soon as they are
//! read, wherever in the object they stand, and only the few other fields are kept. That is safe because nothing is
//! stored before the whole body has been found good. Every refusal names the field.

use std::{fmt, io::Read};

use job_model::{Operation, Request};
use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};

use super::{distinct::Distinct, selector::Selector};
use crate::error::ApiError;

/// The longest key, in bytes; AWS's own names end at 2,048 characters (an alias or key ARN in the API model).
const LONGEST_KEY: usize = 2_048;
/// The longest template id, in bytes. Real ones are UUIDs.
const LONGEST_ID: usize = 255;
/// The most keys handed on at once.
const CHUNK_KEYS: usize = 5_000;
/// The most bytes of keys handed on at once: several chunks are under way at any time.
const CHUNK_BYTES: usize = 256 << 10;
/// So many keys need leave: see [`KeySink::many`].
const MANY: usize = 100_000;
/// The slowest pace of a job, in keys per second. What a worker holds of a job waits for its pace, and RabbitMQ takes back
/// what is held for 30 minutes.
const LEAST_RATE: f64 = 0.01;

/// What a caller orders, but for the keys themselves.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Order {
    pub(super) operation: Operation,
    pub(super) days: Option<u32>,
    pub(super) policy_template_id: Option<String>,
    pub(super) force: bool,
    /// Observe and decide only.
    pub(super) dry_run: bool,
    /// Tasks per second over the whole job.
    pub(super) max_rate: Option<f64>,
    pub(super) selector: Option<Selector>,
}

/// Takes the keys as they are read: different ones, in the caller's order.
pub(super) trait KeySink {
    /// The next ones.
    fn take(&mut self, keys: Vec<String>) -> Result<(), Closed>;
    /// Asked once when they become so many that remembering them takes memory worth rationing. May block.
    fn many(&mut self) -> Result<(), Closed>;
}

/// Nobody takes the keys any more.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Closed;

/// Why there is no order.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum NoOrder {
    /// The body is wrong, or did not arrive.
    Refused(ApiError),
    /// The source or the sink was closed, for a reason that whoever closed it knows.
    Closed,
}

/// Reads the whole body. Blocks for as long as the source does.
pub(super) fn read_order(source: impl Read, max_keys: usize, sink: &mut impl KeySink) -> Result<Order, NoOrder> {
    let mut reading = Reading {
        sink,
        max_keys,
        chunk: Vec::new(),
        chunk_bytes: 0,
        distinct: Distinct::default(),
        named: 0,
        field: None,
        end: None,
    };
    let mut json = serde_json::Deserializer::from_reader(source);
    let read = match (&mut reading).deserialize(&mut json) {
        Ok(fields) => {
            reading.field = None;
            json.end().map(|()| fields)
        }
        Err(error) => Err(error),
    };
    match read {
        Ok(fields) => fields.order().map_err(|message| NoOrder::Refused(ApiError::BadRequest(message))),
        Err(error) => Err(reading.why(error)),
    }
}

/// The state of reading one body.
struct Reading<'a, S> {
    sink: &'a mut S,
    max_keys: usize,
    chunk: Vec<String>,
    chunk_bytes: usize,
    distinct: Distinct,
    /// The keys read, repeated ones too.
    named: u64,
    /// The field being read.
    field: Option<&'static str>,
    /// Why reading was ended, when it was not the JSON's fault.
    end: Option<NoOrder>,
}

#[derive(Default)]
struct Fields {
    operation: Option<String>,
    keys: Option<()>,
    days: Option<Option<u32>>,
    policy_template_id: Option<Option<String>>,
    force: Option<Option<bool>>,
    dry_run: Option<Option<bool>>,
    max_rate: Option<Option<f64>>,
    selector: Option<Option<Selector>>,
}

impl Fields {
    /// What holds between the fields. The texts name the field first.
    fn order(self) -> Result<Order, String> {
        let operation = self.operation.ok_or("operation: is missing")?;
        let operation: Operation = operation.parse().map_err(|error| format!("operation: {error}"))?;
        let selector = self.selector.flatten();
        match (self.keys, &selector) {
            (None, None) => return Err("keys: is missing; name keys, or give a selector".to_owned()),
            (Some(()), Some(_)) => return Err("selector: give it or keys, not both".to_owned()),
            (Some(()), None) => {}
            (None, Some(selector)) => selector.check()?,
        }
        let days = self.days.flatten();
        if days.is_some() && operation != Operation::ScheduleKeyDeletion {
            return Err(format!("days: only schedulekeydeletion takes it, not {operation}"));
        }
        let policy_template_id = self.policy_template_id.flatten();
        match (&policy_template_id, operation) {
            (Some(id), Operation::ApplyPolicyTemplate)
                if id.is_empty() || id.len() > LONGEST_ID || id.contains('\0') =>
            {
                Err("policy_template_id: is not the id of a template".to_owned())
            }
            (None, Operation::ApplyPolicyTemplate) => {
                Err("policy_template_id: is missing; applypolicytemplate needs it".to_owned())
            }
            (Some(_), Operation::ApplyPolicyTemplate) => Ok(()),
            (None, _) => Ok(()),
            (Some(_), _) => Err(format!("policy_template_id: only applypolicytemplate takes it, not {operation}")),
        }?;
        let max_rate = self.max_rate.flatten();
        if let Some(rate) = max_rate.filter(|rate| *rate < LEAST_RATE) {
            return Err(format!("max_rate: must be at least {LEAST_RATE} keys per second, not {rate}"));
        }
        let force = self.force.flatten().unwrap_or(false);
        let dry_run = self.dry_run.flatten().unwrap_or(false);
        Ok(Order { operation, days, policy_template_id, force, dry_run, max_rate, selector })
    }
}

impl<S: KeySink> Reading<'_, S> {
    /// One more key.
    fn key<E: serde::de::Error>(&mut self, key: &str) -> Result<(), E> {
        self.named += 1;
        let wrong = match key {
            "" => Some("is empty".to_owned()),
            key if key.len() > LONGEST_KEY => Some(format!("is longer than {LONGEST_KEY} bytes")),
            key if key.contains('\0') => Some("has a NUL character".to_owned()),
            _ => None,
        };
        if let Some(wrong) = wrong {
            return self.refuse(format!("keys: number {} {wrong}", self.named));
        }
        if !self.distinct.insert(key) {
            return Ok(());
        }
        if self.distinct.len() > self.max_keys {
            return self.refuse(format!("keys: there are more than {}", self.max_keys));
        }
        if self.distinct.len() == MANY {
            if let Err(closed) = self.sink.many() {
                return self.close(&closed);
            }
            self.distinct.expect_many();
        }
        self.chunk_bytes += key.len();
        self.chunk.push(key.to_owned());
        if self.chunk.len() >= CHUNK_KEYS || self.chunk_bytes >= CHUNK_BYTES { self.hand_on() } else { Ok(()) }
    }

    fn hand_on<E: serde::de::Error>(&mut self) -> Result<(), E> {
        if self.chunk.is_empty() {
            return Ok(());
        }
        self.chunk_bytes = 0;
        match self.sink.take(std::mem::take(&mut self.chunk)) {
            Ok(()) => Ok(()),
            Err(closed) => self.close(&closed),
        }
    }

    fn refuse<T, E: serde::de::Error>(&mut self, message: String) -> Result<T, E> {
        self.end = Some(NoOrder::Refused(ApiError::BadRequest(message)));
        Err(E::custom("refused"))
    }

    fn close<T, E: serde::de::Error>(&mut self, Closed: &Closed) -> Result<T, E> {
        self.end = Some(NoOrder::Closed);
        Err(E::custom("closed"))
    }

    /// What a failed reading means.
    fn why(&mut self, error: serde_json::Error) -> NoOrder {
        if let Some(end) = self.end.take() {
            return end;
        }
        let field = self.field;
        NoOrder::Refused(match error.classify() {
            serde_json::error::Category::Io => {
                let inner = std::io::Error::from(error).into_inner();
                match inner.and_then(|inner| inner.downcast::<ApiError>().ok()) {
                    Some(error) => in_field(*error, field),
                    None => return NoOrder::Closed,
                }
            }
            serde_json::error::Category::Data => ApiError::BadRequest(match field {
                Some(field) => format!("{field}: {error}"),
                None => format!("the body must be one JSON object: {error}"),
            }),
            serde_json::error::Category::Syntax | serde_json::error::Category::Eof => {
                ApiError::BadRequest(match field {
                    Some(field) => format!("{field}: the body is not valid JSON here: {error}"),
                    None => format!("the body is not valid JSON: {error}"),
                })
            }
        })
    }
}

/// Puts the field before the text of a bad request.
fn in_field(error: ApiError, field: Option<&'static str>) -> ApiError {
    match (error, field) {
        (ApiError::BadRequest(message), Some(field)) => ApiError::BadRequest(format!("{field}: {message}")),
        (error, _) => error,
    }
}

impl<'de, S: KeySink> DeserializeSeed<'de> for &mut Reading<'_, S> {
    type Value = Fields;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Fields, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de, S: KeySink> Visitor<'de> for &mut Reading<'_, S> {
    type Value = Fields;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object with operation and keys")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Fields, A::Error> {
        let mut fields = Fields::default();
        while let Some(name) = map.next_key::<String>()? {
            let twice = match name.as_str() {
                "operation" => {
                    self.field = Some("operation");
                    fields.operation.replace(map.next_value()?).is_some()
                }
                "keys" if fields.keys.is_some() => true,
                "keys" => {
                    self.field = Some("keys");
                    map.next_value_seed(KeyList(self))?;
                    fields.keys.replace(()).is_some()
                }
                "days" => {
                    self.field = Some("days");
                    fields.days.replace(map.next_value_seed(Days(self))?).is_some()
                }
                "policy_template_id" => {
                    self.field = Some("policy_template_id");
                    fields.policy_template_id.replace(map.next_value()?).is_some()
                }
                "force" => {
                    self.field = Some("force");
                    fields.force.replace(map.next_value()?).is_some()
                }
                "dry_run" => {
                    self.field = Some("dry_run");
                    fields.dry_run.replace(map.next_value()?).is_some()
                }
                "max_rate" => {
                    self.field = Some("max_rate");
                    fields.max_rate.replace(map.next_value()?).is_some()
                }
                "selector" => {
                    self.field = Some("selector");
                    fields.selector.replace(map.next_value()?).is_some()
                }
                unknown => return self.refuse(format!("{unknown}: there is no such field")),
            };
            if twice {
                return self.refuse(format!("{name}: is given twice"));
            }
            self.field = None;
        }
        Ok(fields)
    }
}

struct KeyList<'a, 'b, S>(&'a mut Reading<'b, S>);

impl<'de, S: KeySink> DeserializeSeed<'de> for KeyList<'_, '_, S> {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de, S: KeySink> Visitor<'de> for KeyList<'_, '_, S> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of strings")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        while list.next_element_seed(Key(self.0))?.is_some() {}
        if self.0.named == 0 {
            return self.0.refuse("keys: is empty; name at least one key".to_owned());
        }
        self.0.hand_on()
    }
}

struct Key<'a, 'b, S>(&'a mut Reading<'b, S>);

impl<'de, S: KeySink> DeserializeSeed<'de> for Key<'_, '_, S> {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<'de, S: KeySink> Visitor<'de> for Key<'_, '_, S> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string")
    }

    fn visit_str<E: serde::de::Error>(self, key: &str) -> Result<(), E> {
        self.0.key(key)
    }
}

struct Days<'a, 'b, S>(&'a mut Reading<'b, S>);

impl<'de, S: KeySink> DeserializeSeed<'de> for Days<'_, '_, S> {
    type Value = Option<u32>;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<S: KeySink> Days<'_, '_, S> {
    fn refuse<T, E: serde::de::Error>(self, given: impl fmt::Display) -> Result<T, E> {
        let (least, most) = Request::DAYS.into_inner();
        self.0.refuse(format!("days: must be a whole number from {least} to {most}, not {given}"))
    }
}

impl<'de, S: KeySink> Visitor<'de> for Days<'_, '_, S> {
    type Value = Option<u32>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a whole number from 7 to 30")
    }

    fn visit_unit<E: serde::de::Error>(self) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_u64<E: serde::de::Error>(self, number: u64) -> Result<Self::Value, E> {
        match u32::try_from(number) {
            Ok(days) if Request::DAYS.contains(&days) => Ok(Some(days)),
            Ok(_) | Err(_) => self.refuse(number),
        }
    }

    fn visit_i64<E: serde::de::Error>(self, number: i64) -> Result<Self::Value, E> {
        match u64::try_from(number) {
            Ok(number) => self.visit_u64(number),
            Err(_) => self.refuse(number),
        }
    }

    fn visit_f64<E: serde::de::Error>(self, number: f64) -> Result<Self::Value, E> {
        self.refuse(number)
    }
}

#[cfg(test)]
#[path = "order_tests.rs"]
mod tests;
