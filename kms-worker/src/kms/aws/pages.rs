//! Pages of what an account and Region have: the lists of keys and aliases, and of each key its description and tags.
//!
//! A page is read whole or not at all, so that the leader need remember no more than a marker. Its reads are paid for
//! before it is asked for; those that KMS throttles all the same are made again here, a few times, each later than the
//! one before, because a page of two hundred reads would else hardly ever succeed under an account's other callers.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use job_model::outcome::{Failure, Meaning};
use serde::{Deserialize, Deserializer, Serialize, Serializer, ser::Error as _};
use serde_with::skip_serializing_none;
use time::{format_description::BorrowedFormatItem, macros::format_description};

use super::{
    Answer, Kms,
    answers::{Object, Output, Seconds, without},
    clients::Line,
    make,
};
use crate::permit::Permit;

/// Keys of a page that are read at once.
const AT_ONCE: usize = 32;
/// How often one read is made at the most.
const TRIES: u32 = 6;
/// The pause before the second try; it doubles.
const PAUSE: Duration = Duration::from_millis(50);
/// Tags in one answer (API reference: at most 50, which is as many as a key may have).
const TAGS: u32 = 50;
/// Aliases in one answer at the most (API reference).
const ALIASES: u32 = 100;
/// Keys in one answer at the most (API reference).
const KEYS: u32 = 1_000;
/// Dates as the REST API tells them: always of one length, so that their texts sort as they do.
const DATE: &[BorrowedFormatItem<'_>] =
    format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:6]Z");

/// What is read of, under which permit.
#[derive(Debug)]
pub struct Shelf {
    line: Line,
    permit: Arc<Permit>,
    throttled: AtomicBool,
}

/// A page of keys.
#[derive(Debug, Default)]
pub struct KeysPage {
    /// Those that are there and may be described.
    pub keys: Vec<SeenKey>,
    /// KMS's marker of the next page.
    pub next: Option<String>,
    /// Keys that KMS refused to describe.
    pub skipped: u32,
}

/// A key as KMS describes it.
#[derive(Debug)]
pub struct SeenKey {
    /// Its id.
    pub id: String,
    /// Its ARN.
    pub arn: String,
    /// Its state, in AWS's word.
    pub state: String,
    /// When it is deleted, in microseconds since 1970.
    pub deletion_date_us: Option<i64>,
    /// What else is told of it, a JSON object in AWS's names.
    pub metadata: String,
    /// Its tags.
    pub tags: HashMap<String, String>,
}

/// A page of aliases.
#[derive(Debug, Default)]
pub struct AliasesPage {
    /// Each with the id of its key; those of no key are left out.
    pub aliases: Vec<(String, String)>,
    /// KMS's marker of the next page.
    pub next: Option<String>,
}

impl Kms {
    /// What there is in an account and Region.
    ///
    /// # Errors
    /// [`Failure::Refused`] when nothing reaches the account.
    pub fn shelf(&self, account: &str, region: &str, permit: Arc<Permit>) -> Result<Shelf, Failure> {
        let line = self.line(account, region).map_err(Failure::Refused)?;
        Ok(Shelf { line, permit, throttled: AtomicBool::new(false) })
    }
}

impl Shelf {
    /// Whether KMS has refused a read for pace.
    pub fn was_throttled(&self) -> bool {
        self.throttled.load(Ordering::Relaxed)
    }

    /// One page of keys.
    ///
    /// # Errors
    /// [`Failure`] of the list, or of a read that may yet succeed: then none of the page is told.
    pub async fn keys(&self, marker: &str, limit: u32) -> Result<KeysPage, Failure> {
        let asked = Asked { limit: Some(limit.clamp(1, KEYS)), ..Asked::from(marker) };
        let Object(listed) = self.read::<Object<Keys>>("ListKeys", &asked).await?;
        // None listed and no list are not the same: after the last page what was not met counts as gone.
        let entries = listed.keys.ok_or_else(|| without("Keys"))?.into_iter();
        let ids = entries.map(|Object(key)| key.key_id.ok_or_else(|| without("KeyId")));
        let ids: Vec<String> = ids.collect::<Result<_, _>>()?;
        let read: Vec<Seen> = stream::iter(ids).map(|id| self.key(id)).buffered(AT_ONCE).try_collect().await?;
        let mut page = KeysPage { next: next(listed.truncated, listed.next_marker)?, ..KeysPage::default() };
        for seen in read {
            match seen {
                Seen::Key(key) => page.keys.push(*key),
                Seen::Gone => {}
                Seen::Refused => page.skipped += 1,
            }
        }
        Ok(page)
    }

    /// One page of aliases.
    ///
    /// # Errors
    /// [`Failure`] of the list.
    pub async fn aliases(&self, marker: &str, limit: u32) -> Result<AliasesPage, Failure> {
        let asked = Asked { limit: Some(limit.clamp(1, ALIASES)), ..Asked::from(marker) };
        let Object(listed) = self.read::<Object<Aliases>>("ListAliases", &asked).await?;
        let aliases = listed.aliases.ok_or_else(|| without("Aliases"))?;
        let aliases =
            aliases.into_iter().filter_map(|Object(alias)| Some((alias.alias_name?, alias.target_key_id?))).collect();
        Ok(AliasesPage { aliases, next: next(listed.truncated, listed.next_marker)? })
    }

    async fn key(&self, id: String) -> Result<Seen, Failure> {
        let asked = Asked { key_id: Some(&id), ..Asked::default() };
        let Object(metadata) = match self.read::<Object<Described>>("DescribeKey", &asked).await {
            Ok(Object(described)) => described.key_metadata.ok_or_else(|| without("KeyMetadata"))?,
            Err(Failure::Refused(refusal)) if refusal.says_not_found() => return Ok(Seen::Gone),
            Err(failure) if is_final(&failure) => {
                tracing::warn!(key = id, ?failure, "KMS does not let this key be described.");
                return Ok(Seen::Refused);
            }
            Err(failure) => return Err(failure),
        };
        let asked = Asked { key_id: Some(&id), limit: Some(TAGS), ..Asked::default() };
        let tags = match self.read::<Object<Tags>>("ListResourceTags", &asked).await {
            Ok(Object(listed)) => {
                let tags = listed.tags.unwrap_or_default().into_iter();
                tags.map(|Object(tag)| (tag.tag_key, tag.tag_value)).collect()
            }
            // Keys of AWS's own may have none to tell.
            Err(failure) if is_final(&failure) => HashMap::new(),
            Err(failure) => return Err(failure),
        };
        Ok(Seen::Key(Box::new(SeenKey {
            state: metadata.key_state.ok_or_else(|| without("KeyState"))?,
            arn: metadata.arn.ok_or_else(|| without("Arn"))?,
            deletion_date_us: metadata.deletion_date.map(Seconds::micros),
            metadata: serde_json::to_string(&metadata.told)
                .map_err(|error| Failure::Unanswered(format!("a description that cannot be told: {error}")))?,
            tags,
            id,
        })))
    }

    /// Makes a read until it is answered, or refused for another reason than pace.
    async fn read<T: Output>(&self, operation: &'static str, asked: &Asked<'_>) -> Result<T, Failure> {
        let mut pause = PAUSE;
        let mut tries = 1;
        loop {
            if self.permit.check().is_err() {
                return Err(Failure::Void);
            }
            let Answer { result, .. } = make(operation, asked, &self.permit, &self.line).await;
            let failure = match result {
                Ok(output) => return Ok(output),
                Err(failure) => failure,
            };
            let again = match &failure {
                Failure::Refused(refusal) => match refusal.meaning() {
                    Meaning::Throttled => {
                        self.throttled.store(true, Ordering::Relaxed);
                        true
                    }
                    Meaning::Passing | Meaning::Unclear => true,
                    Meaning::Final | Meaning::InvalidState => false,
                },
                Failure::Unsent(_) | Failure::Unanswered(_) => true,
                Failure::Void => false,
            };
            if !again || tries == TRIES {
                return Err(failure);
            }
            tries += 1;
            tokio::time::sleep(pause).await;
            pause *= 2;
        }
    }
}

enum Seen {
    Key(Box<SeenKey>),
    /// It was deleted since it was listed.
    Gone,
    Refused,
}

/// KMS said no, and will say so again.
pub(super) fn is_final(failure: &Failure) -> bool {
    match failure {
        // Without an HTTP status it was not KMS that refused: no credentials, say, which is about all keys.
        Failure::Refused(refusal) => match refusal.meaning() {
            Meaning::Final | Meaning::InvalidState => refusal.status != 0,
            Meaning::Throttled | Meaning::Passing | Meaning::Unclear => false,
        },
        Failure::Unsent(_) | Failure::Unanswered(_) | Failure::Void => false,
    }
}

fn next(truncated: Option<bool>, marker: Option<String>) -> Result<Option<String>, Failure> {
    match (truncated.unwrap_or_default(), marker) {
        (false, _) => Ok(None),
        (true, Some(marker)) if !marker.is_empty() => Ok(Some(marker)),
        (true, _) => Err(without("NextMarker")),
    }
}

/// What a read asks for.
#[skip_serializing_none]
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Asked<'a> {
    key_id: Option<&'a str>,
    limit: Option<u32>,
    marker: Option<&'a str>,
}

impl<'a> From<&'a str> for Asked<'a> {
    fn from(marker: &'a str) -> Self {
        Self { marker: (!marker.is_empty()).then_some(marker), ..Self::default() }
    }
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Keys {
    keys: Option<Vec<Object<ListedKey>>>,
    next_marker: Option<String>,
    truncated: Option<bool>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ListedKey {
    key_id: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Aliases {
    aliases: Option<Vec<Object<ListedAlias>>>,
    next_marker: Option<String>,
    truncated: Option<bool>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ListedAlias {
    alias_name: Option<String>,
    target_key_id: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Tags {
    tags: Option<Vec<Object<Tag>>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Tag {
    tag_key: String,
    tag_value: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Described {
    key_metadata: Option<Object<Metadata>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Metadata {
    arn: Option<String>,
    key_state: Option<String>,
    deletion_date: Option<Seconds>,
    #[serde(flatten)]
    told: Told,
}

/// All of a key's description that does not change, in AWS's names, as it is told on.
#[skip_serializing_none]
#[derive(Debug, Deserialize, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Told {
    #[serde(rename = "AWSAccountId")]
    account: Option<String>,
    creation_date: Option<Seconds>,
    custom_key_store_id: Option<String>,
    customer_master_key_spec: Option<String>,
    description: Option<Text>,
    encryption_algorithms: Option<Vec<String>>,
    expiration_model: Option<String>,
    key_manager: Option<String>,
    key_spec: Option<String>,
    key_usage: Option<String>,
    mac_algorithms: Option<Vec<String>>,
    multi_region: Option<bool>,
    multi_region_configuration: Option<Object<Regions>>,
    origin: Option<String>,
    pending_deletion_window_in_days: Option<i32>,
    signing_algorithms: Option<Vec<String>>,
    valid_to: Option<Seconds>,
}

/// Which key of several Regions a key is, and the others.
#[derive(Debug, Deserialize, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Regions {
    multi_region_key_type: Option<String>,
    primary_key: Option<Object<InRegion>>,
    #[serde(default)]
    replica_keys: Vec<Object<InRegion>>,
}

#[derive(Debug, Deserialize, Serialize)]
#[serde(rename_all = "PascalCase")]
struct InRegion {
    arn: Option<String>,
    region: Option<String>,
}

/// Free text. Postgres takes no NUL in it.
#[derive(Debug, Serialize)]
struct Text(String);

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Self(String::deserialize(deserializer)?.replace('\0', "\u{fffd}")))
    }
}

impl Serialize for Seconds {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let moment = self.moment().ok_or_else(|| S::Error::custom("a date out of range"))?;
        serializer.serialize_str(&moment.format(DATE).map_err(S::Error::custom)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_exact_and_of_one_length() {
        let told = |seconds: &str| serde_json::to_string(&serde_json::from_str::<Seconds>(seconds).unwrap()).ok();
        assert_eq!(told("1.7E9").unwrap(), r#""2023-11-14T22:13:20.000000Z""#);
        assert_eq!(told("1700000000.543").unwrap(), r#""2023-11-14T22:13:20.543000Z""#);
        assert_eq!(told("-0.001").unwrap(), r#""1969-12-31T23:59:59.999000Z""#);
        assert_eq!(told("1e18"), None);
    }

    #[test]
    fn a_description_is_told_on_in_aws_s_names() {
        let answer = r#"{"KeyMetadata": {"AWSAccountId": "1", "Arn": "arn", "Enabled": true, "KeyState": "Updating", "Description": "a\u0000b",
            "KeyUsage": "SIGN_VERIFY", "SigningAlgorithms": ["SM2DSA"], "MultiRegion": true, "ValidTo": null, "DeletionDate": 7.5,
            "MultiRegionConfiguration": {"MultiRegionKeyType": "PRIMARY", "PrimaryKey": {"Arn": "a", "Region": "r"}, "ReplicaKeys": []}}}"#;
        let Object(metadata) = Object::<Described>::read(answer.as_bytes()).unwrap().0.key_metadata.unwrap();
        assert_eq!(metadata.deletion_date.unwrap().micros(), 7_500_000);
        assert_eq!(
            serde_json::to_value(metadata.told).unwrap(),
            serde_json::json!({
                "AWSAccountId": "1", "Description": "a\u{fffd}b", "KeyUsage": "SIGN_VERIFY", "MultiRegion": true, "SigningAlgorithms": ["SM2DSA"],
                "MultiRegionConfiguration": {
                    "MultiRegionKeyType": "PRIMARY", "PrimaryKey": {"Arn": "a", "Region": "r"}, "ReplicaKeys": [],
                },
            })
        );
    }
}
