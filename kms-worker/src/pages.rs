//! Pages of keys and aliases for a synchronization, in the protocol's words.

use std::sync::Arc;

use job_model::outcome::{Failure, Meaning};
use keyfleet_proto::workers::v1::{self as wire, page_result::Outcome};

use crate::{
    kms::{AliasesPage, KeysPage, Kms, SeenKey},
    permit::Permit,
    reports::{replace_nul, tidy},
};

/// Reads the page, under its permit.
pub async fn read(kms: &Kms, request: &wire::PageRequest, permit: Arc<Permit>) -> wire::PageResult {
    let (begun, mut throttled) = (permit.begin(), false);
    let outcome = match (begun, kms.shelf(&request.account, &request.region, permit)) {
        (Err(_void), _) => Err(Failure::Void),
        (Ok(()), Err(unreached)) => Err(unreached),
        (Ok(()), Ok(shelf)) => {
            let outcome = match request.kind() {
                wire::PageKind::Keys => shelf.keys(&request.marker, request.limit).await.map(keys),
                wire::PageKind::Aliases => shelf.aliases(&request.marker, request.limit).await.map(aliases),
                wire::PageKind::Unspecified => Err(Failure::Unsent("a page of nothing was asked for".to_owned())),
            };
            throttled = shelf.was_throttled();
            outcome
        }
    };
    wire::PageResult { page: request.page, throttled, outcome: Some(outcome.unwrap_or_else(why_not)) }
}

fn keys(page: KeysPage) -> Outcome {
    Outcome::Keys(wire::KeysPage {
        keys: page.keys.into_iter().map(key).collect(),
        next_marker: page.next.unwrap_or_default(),
        skipped: page.skipped,
    })
}

fn key(mut seen: SeenKey) -> wire::KeySeen {
    seen.tags.values_mut().for_each(replace_nul);
    wire::KeySeen {
        key_id: seen.id,
        arn: seen.arn,
        state: seen.state,
        deletion_date_us: seen.deletion_date_us,
        metadata: seen.metadata,
        tags: seen.tags,
    }
}

fn aliases(page: AliasesPage) -> Outcome {
    Outcome::Aliases(wire::AliasesPage {
        aliases: page.aliases.into_iter().map(|(name, key_id)| wire::AliasSeen { name, key_id }).collect(),
        next_marker: page.next.unwrap_or_default(),
    })
}

fn why_not(failure: Failure) -> Outcome {
    let again = |code: &str, mut text: String| {
        let mut code = code.to_owned();
        tidy(&mut code);
        tidy(&mut text);
        Outcome::Unavailable(wire::Again { reason: wire::AgainReason::Unavailable.into(), code, text })
    };
    match failure {
        Failure::Refused(refusal) => match refusal.meaning() {
            // Also without an HTTP status: where there are no credentials the whole part says so, once.
            Meaning::Final | Meaning::InvalidState => {
                let (mut code, mut text) = (refusal.code, refusal.text);
                tidy(&mut code);
                tidy(&mut text);
                Outcome::Refused(wire::Refused { code, text })
            }
            Meaning::Throttled | Meaning::Passing | Meaning::Unclear => again(&refusal.code, refusal.text),
        },
        Failure::Unsent(why) => again("Unsent", why),
        Failure::Unanswered(why) => again("Unanswered", why),
        Failure::Void => again("Void", "the lease has lapsed".to_owned()),
    }
}
