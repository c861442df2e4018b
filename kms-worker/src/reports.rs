//! What is told to the leader about tries and looks, in the protocol's words.

use job_model::{AgainReason, GoId, Outcome, Refusal, TaskRef};
use keyfleet_proto::workers::v1 as wire;
use time::OffsetDateTime;

use crate::run::{Looked, Tried};

/// Characters of an error's text that are told at the most. KMS's own texts are far shorter; what is longer came from
/// something in between.
const LONGEST_TEXT: usize = 2_000;

/// How a try ended.
pub(crate) fn report(go: GoId, task: TaskRef, tried: Tried) -> wire::Report {
    use wire::report::Outcome;
    let mut outcome = tried.outcome.into();
    match &mut outcome {
        Outcome::Refused(wire::Refused { code, text }) | Outcome::Again(wire::Again { code, text, .. }) => {
            tidy(code);
            tidy(text);
        }
        Outcome::Foretold(wire::Foretold { reason, .. }) => tidy(reason),
        Outcome::Succeeded(_) | Outcome::Unstarted(_) => {}
    }
    wire::Report {
        state_before: tried.state_before.to_owned(),
        acted: tried.acted,
        started_at_us: micros(tried.started_at),
        finished_at_us: micros(tried.finished_at),
        outcome: Some(outcome),
        ..unstarted(go, task)
    }
}

/// Nothing was begun.
pub(crate) fn unstarted(go: GoId, task: TaskRef) -> wire::Report {
    wire::Report {
        go: go.as_u64(),
        task: Some(task.into()),
        outcome: Some(wire::report::Outcome::Unstarted(wire::Unstarted {})),
        ..wire::Report::default()
    }
}

/// What a look showed.
pub(crate) fn look_result(look: u64, looked: Looked) -> wire::LookResult {
    use wire::look_result::Outcome;
    let outcome = match looked {
        Looked::Seen { there, state } => Outcome::Seen(wire::Seen { there, state: state.to_owned() }),
        Looked::Refused { mut code, mut text } => {
            tidy(&mut code);
            tidy(&mut text);
            Outcome::Refused(wire::Refused { code, text })
        }
        Looked::Unavailable { mut code, mut text } => {
            tidy(&mut code);
            tidy(&mut text);
            Outcome::Unavailable(wire::Again { reason: wire::AgainReason::Unavailable.into(), code, text })
        }
    };
    wire::LookResult { look, outcome: Some(outcome) }
}

/// What a try comes to that ended without an end (it panicked): whatever it sent may have had an effect.
pub(crate) fn broken_try(now: OffsetDateTime) -> Tried {
    let said = Refusal { code: "Unanswered".to_owned(), text: "the try ended abnormally".to_owned(), status: 0 };
    Tried {
        outcome: Outcome::Again { reason: AgainReason::Unanswered, said },
        state_before: "",
        acted: true,
        started_at: now,
        finished_at: now,
    }
}

fn micros(at: OffsetDateTime) -> i64 {
    i64::try_from(at.unix_timestamp_nanos() / 1_000).unwrap_or(i64::MAX)
}

/// Makes what somebody else wrote fit to be kept.
pub(crate) fn tidy(text: &mut String) {
    replace_nul(text);
    if let Some((end, _)) = text.char_indices().nth(LONGEST_TEXT) {
        text.truncate(end);
    }
}

/// Takes out the one character that Postgres takes in no text. What can never be written would be tried for ever, and
/// all that wait behind it with it.
pub(crate) fn replace_nul(text: &mut String) {
    if text.contains('\0') {
        *text = text.replace('\0', "\u{fffd}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endless_text_is_cut_between_characters() {
        let mut text = "ä".repeat(LONGEST_TEXT + 1);
        tidy(&mut text);
        assert_eq!(text.chars().count(), LONGEST_TEXT);
        let mut short = "short".to_owned();
        tidy(&mut short);
        assert_eq!(short, "short");
    }

    #[test]
    fn what_kms_says_can_be_kept_whatever_is_in_it() {
        let task = TaskRef { job: job_model::JobId::from_uuid(uuid::Uuid::from_u128(1)), seq: 3 };
        let said = Refusal { code: "Bad\0Code".to_owned(), text: "no\0body".to_owned(), status: 400 };
        let tried = Tried { outcome: Outcome::Refused(said), ..broken_try(OffsetDateTime::UNIX_EPOCH) };
        let Some(wire::report::Outcome::Refused(refused)) = report(GoId::new(1, 2), task, tried).outcome else {
            panic!("not refused")
        };
        assert_eq!((refused.code.as_str(), refused.text.as_str()), ("Bad\u{fffd}Code", "no\u{fffd}body"));
        let looked = Looked::Refused { code: "\0".to_owned(), text: "\0".to_owned() };
        let Some(wire::look_result::Outcome::Refused(refused)) = look_result(1, looked).outcome else {
            panic!("not refused")
        };
        assert_eq!((refused.code.as_str(), refused.text.as_str()), ("\u{fffd}", "\u{fffd}"));
    }

    #[test]
    fn a_try_that_broke_is_doubtful() {
        let task = TaskRef { job: job_model::JobId::from_uuid(uuid::Uuid::from_u128(1)), seq: 3 };
        let report = report(GoId::new(1, 2), task, broken_try(OffsetDateTime::UNIX_EPOCH));
        let Some(wire::report::Outcome::Again(again)) = &report.outcome else { panic!("{report:?}") };
        assert_eq!(again.reason(), wire::AgainReason::Unanswered);
        assert!(report.acted);
        assert_eq!((report.go, report.task), (GoId::new(1, 2).as_u64(), Some(task.into())));
    }
}
