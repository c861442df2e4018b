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

use aws_sdk_kms::{
    primitives::DateTime,
    types::{
        EncryptionAlgorithmSpec, KeyMetadata, MacAlgorithmSpec, MultiRegionConfiguration, MultiRegionKey,
        MultiRegionKeyType, SigningAlgorithmSpec,
    },
};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use job_model::outcome::{Failure, Meaning};
use serde_json::{Map, Value, json};
use time::{OffsetDateTime, format_description::BorrowedFormatItem, macros::format_description};

use super::{Answer, Kms, answers::without, clients::Line, make};
use crate::permit::Permit;

/// Keys of a page that are read at once.
const AT_ONCE: usize = 32;
/// How often one read is made at the most.
const TRIES: u32 = 6;
/// The pause before the second try; it doubles.
const PAUSE: Duration = Duration::from_millis(50);
/// Tags in one answer (API reference: at most 50, which is as many as a key may have).
const TAGS: i32 = 50;
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
        let limit = i32::try_from(limit.clamp(1, KEYS)).unwrap_or(1);
        let listed = self
            .read("ListKeys", || {
                let marker = (!marker.is_empty()).then(|| marker.to_owned());
                self.line.client.list_keys().limit(limit).set_marker(marker).send()
            })
            .await?;
        // None listed and no list are not the same: after the last page what was not met counts as gone.
        let entries = listed.keys.as_ref().ok_or_else(|| without("Keys"))?.iter();
        let ids = entries.map(|key| key.key_id().map(str::to_owned).ok_or_else(|| without("KeyId")));
        let ids: Vec<String> = ids.collect::<Result<_, _>>()?;
        let read: Vec<Seen> = stream::iter(ids).map(|id| self.key(id)).buffered(AT_ONCE).try_collect().await?;
        let mut page = KeysPage { next: next(listed.truncated(), listed.next_marker())?, ..KeysPage::default() };
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
        let limit = i32::try_from(limit.clamp(1, ALIASES)).unwrap_or(1);
        let listed = self
            .read("ListAliases", || {
                let marker = (!marker.is_empty()).then(|| marker.to_owned());
                self.line.client.list_aliases().limit(limit).set_marker(marker).send()
            })
            .await?;
        let aliases = listed.aliases.as_ref().ok_or_else(|| without("Aliases"))?;
        let aliases = aliases
            .iter()
            .filter_map(|alias| Some((alias.alias_name()?.to_owned(), alias.target_key_id()?.to_owned())))
            .collect();
        Ok(AliasesPage { aliases, next: next(listed.truncated(), listed.next_marker())? })
    }

    async fn key(&self, id: String) -> Result<Seen, Failure> {
        let described = self.read("DescribeKey", || self.line.client.describe_key().key_id(&id).send()).await;
        let metadata = match described {
            Ok(output) => output.key_metadata.ok_or_else(|| without("KeyMetadata"))?,
            Err(Failure::Refused(refusal)) if refusal.says_not_found() => return Ok(Seen::Gone),
            Err(failure) if is_final(&failure) => {
                tracing::warn!(key = id, ?failure, "KMS does not let this key be described.");
                return Ok(Seen::Refused);
            }
            Err(failure) => return Err(failure),
        };
        let listed =
            self.read("ListResourceTags", || self.line.client.list_resource_tags().key_id(&id).limit(TAGS).send());
        let tags = match listed.await {
            Ok(output) => output.tags().iter().map(|tag| (tag.tag_key.clone(), tag.tag_value.clone())).collect(),
            // Keys of AWS's own may have none to tell.
            Err(failure) if is_final(&failure) => HashMap::new(),
            Err(failure) => return Err(failure),
        };
        let state = metadata.key_state().ok_or_else(|| without("KeyState"))?.as_str().to_owned();
        let arn = metadata.arn().ok_or_else(|| without("Arn"))?.to_owned();
        Ok(Seen::Key(Box::new(SeenKey {
            state,
            arn,
            deletion_date_us: metadata.deletion_date().and_then(micros),
            metadata: described_as(&metadata).to_string(),
            tags,
            id,
        })))
    }

    /// Makes a read until it is answered, or refused for another reason than pace.
    async fn read<T, E, Call>(&self, operation: &'static str, call: impl Fn() -> Call) -> Result<T, Failure>
    where
        Call: Future<
            Output = Result<
                T,
                aws_sdk_kms::error::SdkError<E, aws_smithy_runtime_api::client::orchestrator::HttpResponse>,
            >,
        >,
        E: aws_sdk_kms::error::ProvideErrorMetadata + std::error::Error + 'static,
    {
        let mut pause = PAUSE;
        let mut tries = 1;
        loop {
            if self.permit.check().is_err() {
                return Err(Failure::Void);
            }
            let Answer { result, .. } = make(operation, &self.permit, &self.line, call()).await;
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

fn next(truncated: bool, marker: Option<&str>) -> Result<Option<String>, Failure> {
    match (truncated, marker) {
        (false, _) => Ok(None),
        (true, Some(marker)) if !marker.is_empty() => Ok(Some(marker.to_owned())),
        (true, _) => Err(without("NextMarker")),
    }
}

fn micros(date: &DateTime) -> Option<i64> {
    i64::try_from(date.as_nanos() / 1_000).ok()
}

/// A date as text, to the millisecond: KMS tells seconds with a fraction, which as a binary number is not exact.
fn date(date: &DateTime) -> Option<Value> {
    let millis = (date.as_nanos() + 500_000).div_euclid(1_000_000);
    OffsetDateTime::from_unix_timestamp_nanos(millis * 1_000_000).ok()?.format(DATE).ok().map(Value::String)
}

/// All of the description that does not change, in AWS's names.
fn described_as(metadata: &KeyMetadata) -> Value {
    let texts = |texts: Vec<&str>| (!texts.is_empty()).then(|| json!(texts));
    let all = [
        ("AWSAccountId", metadata.aws_account_id().map(Value::from)),
        ("CreationDate", metadata.creation_date().and_then(date)),
        ("CustomKeyStoreId", metadata.custom_key_store_id().map(Value::from)),
        ("CustomerMasterKeySpec", metadata.key_spec().map(|spec| Value::from(spec.as_str()))),
        // Free text: Postgres takes no NUL in it.
        ("Description", metadata.description().map(|text| Value::from(text.replace('\0', "\u{fffd}")))),
        (
            "EncryptionAlgorithms",
            texts(metadata.encryption_algorithms().iter().map(EncryptionAlgorithmSpec::as_str).collect()),
        ),
        ("ExpirationModel", metadata.expiration_model().map(|model| Value::from(model.as_str()))),
        ("KeyManager", metadata.key_manager().map(|manager| Value::from(manager.as_str()))),
        ("KeySpec", metadata.key_spec().map(|spec| Value::from(spec.as_str()))),
        ("KeyUsage", metadata.key_usage().map(|usage| Value::from(usage.as_str()))),
        ("MacAlgorithms", texts(metadata.mac_algorithms().iter().map(MacAlgorithmSpec::as_str).collect())),
        ("MultiRegion", metadata.multi_region().map(Value::from)),
        ("MultiRegionConfiguration", metadata.multi_region_configuration().map(regions)),
        ("Origin", metadata.origin().map(|origin| Value::from(origin.as_str()))),
        ("PendingDeletionWindowInDays", metadata.pending_deletion_window_in_days().map(Value::from)),
        ("SigningAlgorithms", texts(metadata.signing_algorithms().iter().map(SigningAlgorithmSpec::as_str).collect())),
        ("ValidTo", metadata.valid_to().and_then(date)),
    ];
    let told: Map<String, Value> =
        all.into_iter().filter_map(|(name, value)| value.map(|value| (name.to_owned(), value))).collect();
    Value::Object(told)
}

/// Which key of several Regions a key is, and the others.
fn regions(of: &MultiRegionConfiguration) -> Value {
    let key = |key: &MultiRegionKey| json!({"Arn": key.arn(), "Region": key.region()});
    json!({
        "MultiRegionKeyType": of.multi_region_key_type().map(MultiRegionKeyType::as_str),
        "PrimaryKey": of.primary_key().map(key),
        "ReplicaKeys": of.replica_keys().iter().map(key).collect::<Vec<_>>(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_exact_to_the_millisecond_and_of_one_length() {
        let text = |seconds| date(&DateTime::from_secs_f64(seconds));
        assert_eq!(text(1_700_000_000.0), Some(json!("2023-11-14T22:13:20.000000Z")));
        assert_eq!(text(1_700_000_000.543), Some(json!("2023-11-14T22:13:20.543000Z")));
        assert_eq!(text(-0.001), Some(json!("1969-12-31T23:59:59.999000Z")));
        assert_eq!(date(&DateTime::from_secs(i64::MAX)), None);
    }
}
