//! Frames of workers that make mistakes, read as the session reads them: what makes no sense costs itself alone, nothing
//! panics, and nothing gets through that the database or the API could not take afterwards.

use job_model::{JobId, TaskRef};
use proptest::{collection::vec, prelude::*};
use prost::Message as _;
use uuid::Uuid;

use super::*;

fn task(seq: u32) -> TaskRef {
    TaskRef { job: JobId::from_uuid(Uuid::from_u128(1)), seq }
}

/// Times from all over: most are before or after all that a calendar knows.
fn moment() -> impl Strategy<Value = i64> {
    prop_oneof![
        Just(1_700_000_000_000_000),
        any::<i64>(),
        prop::sample::select(vec![i64::MIN, -1, 0, 253_402_300_800_000_000, -377_705_116_800_000_001, i64::MAX]),
    ]
}

fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        Just(String::new()),
        Just("a\0b".to_owned()),
        any::<String>(),
        (1_usize..50_000).prop_map(|length| "x".repeat(length)),
    ]
}

fn no_task() -> impl Strategy<Value = Option<wire::TaskRef>> {
    let short = vec(any::<u8>(), 0..40).prop_filter("an id has 16 bytes", |bytes| bytes.len() != 16);
    prop::option::of((short, any::<u32>()).prop_map(|(id, seq)| wire::TaskRef { job_id: id.into(), seq }))
}

/// Any outcome, also those that are none.
fn outcome() -> impl Strategy<Value = Option<wire::report::Outcome>> {
    use wire::report::Outcome;
    let said = || (text(), text());
    prop::option::weighted(
        0.9,
        prop_oneof![
            any::<bool>().prop_map(|already| Outcome::Succeeded(wire::Succeeded { already })),
            said().prop_map(|(code, text)| Outcome::Refused(wire::Refused { code, text })),
            (any::<i32>(), said()).prop_map(|(reason, (code, text))| Outcome::Again(wire::Again {
                reason,
                code,
                text
            })),
            (0..6, said()).prop_map(|(reason, (code, text))| Outcome::Again(wire::Again { reason, code, text })),
            (-1..5, text()).prop_map(|(forecast, reason)| Outcome::Foretold(wire::Foretold { forecast, reason })),
            Just(Outcome::Unstarted(wire::Unstarted {})),
        ],
    )
}

fn any_report() -> impl Strategy<Value = wire::Report> {
    let task = prop_oneof![3 => any::<u32>().prop_map(|seq| Some(task(seq).into())), 1 => no_task()];
    (any::<u64>(), task, text(), any::<bool>(), moment(), moment(), outcome()).prop_map(
        |(go, task, state_before, acted, started_at_us, finished_at_us, outcome)| wire::Report {
            go,
            task,
            state_before,
            acted,
            started_at_us,
            finished_at_us,
            outcome,
        },
    )
}

fn any_key() -> impl Strategy<Value = wire::KeySeen> {
    let metadata = prop_oneof![
        2 => Just("{}".to_owned()),
        1 => prop::sample::select(vec!["", "null", "7", "[]", "\"x\"", "[{}]", "{", r#"{"a":"\u0000"}"#, r#"{"a":1e999}"#])
            .prop_map(str::to_owned),
        1 => text(),
    ];
    (text(), text(), text(), prop::option::of(moment()), metadata, vec((text(), text()), 0..3)).prop_map(
        |(key_id, arn, state, deletion_date_us, metadata, tags)| wire::KeySeen {
            key_id,
            arn,
            state,
            deletion_date_us,
            metadata,
            tags: tags.into_iter().collect(),
        },
    )
}

fn any_page() -> impl Strategy<Value = wire::PageResult> {
    use page_result::Outcome;
    let outcome = prop::option::weighted(
        0.9,
        prop_oneof![
            3 => (vec(any_key(), 0..4), text(), any::<u32>())
                .prop_map(|(keys, next_marker, skipped)| Outcome::Keys(wire::KeysPage { keys, next_marker, skipped })),
            1 => (vec((text(), text()), 0..4), text()).prop_map(|(seen, next_marker)| {
                let aliases = seen.into_iter().map(|(name, key_id)| wire::AliasSeen { name, key_id }).collect();
                Outcome::Aliases(wire::AliasesPage { aliases, next_marker })
            }),
            1 => (text(), text()).prop_map(|(code, text)| Outcome::Refused(wire::Refused { code, text })),
            1 => (any::<i32>(), text())
                .prop_map(|(reason, text)| Outcome::Unavailable(wire::Again { reason, code: text.clone(), text })),
        ],
    );
    (any::<u64>(), any::<bool>(), outcome).prop_map(|(page, throttled, outcome)| wire::PageResult {
        page,
        throttled,
        outcome,
    })
}

fn any_frame() -> impl Strategy<Value = wire::FromWorker> {
    let starts = vec(prop_oneof![any::<u32>().prop_map(|seq| Some(task(seq).into())), no_task()], 0..5);
    let stops = vec((no_task(), any::<u32>()), 0..3);
    let hello = prop::option::of((vec(any::<u8>(), 0..20), text(), any::<u32>(), vec((any::<u64>(), no_task()), 0..3)));
    (starts, vec(any_report(), 0..5), stops, vec(any_page(), 0..3), hello, any::<Option<u64>>()).prop_map(
        |(starts, reports, stops, page_results, hello, heartbeat)| {
            let stops: Vec<wire::StopAck> = stops
                .into_iter()
                .map(|(task, in_flight)| wire::StopAck { job_id: task.unwrap_or_default().job_id, in_flight })
                .collect();
            wire::FromWorker {
                hello: hello.map(|(id, name, concurrency, gos)| wire::Hello {
                    worker_id: id.into(),
                    name,
                    concurrency,
                    open_gos: gos.into_iter().map(|(go, task)| wire::OpenGo { go, task }).collect(),
                }),
                heartbeat: heartbeat.map(|number| wire::Heartbeat { number, stops: stops.clone() }),
                starts: starts.into_iter().map(Option::unwrap_or_default).collect(),
                reports,
                stop_acks: stops,
                look_results: vec![wire::LookResult::default()],
                page_results,
            }
        },
    )
}

/// What can be known of whatever was read.
fn check(received: &Received) {
    for report in &received.reports {
        assert!(report.took <= LONGEST_TRY);
    }
    for (_, _, leaf) in &received.pages {
        match leaf {
            Leaf::Read(Page::Keys { keys, next, .. }) => {
                assert!(next.as_deref() != Some(""));
                for key in keys {
                    assert!(key.metadata.is_object(), "the API writes it as one: {}", key.metadata);
                    // Postgres knows neither the one nor the other.
                    assert!(key.deletion_date.is_none_or(|date| (1970..10_000).contains(&date.year())));
                }
            }
            Leaf::Read(Page::Aliases { .. }) | Leaf::Refused(_) | Leaf::Unavailable(_) => {}
        }
    }
}

/// A report of a good task, whose words are all right.
fn good(go: u64) -> wire::Report {
    wire::Report {
        go,
        task: Some(task(3).into()),
        outcome: Some(wire::report::Outcome::Succeeded(wire::Succeeded { already: false })),
        ..wire::Report::default()
    }
}

proptest! {
    #[test]
    fn what_makes_no_sense_costs_itself_alone(mut frame in any_frame(), places in vec(any::<prop::sample::Index>(), 1..5)) {
        // Numbers by which the good ones are known again.
        frame.reports.retain(|report| !(1..10).contains(&report.go));
        frame.starts.retain(|start| start.seq > 9);
        for (place, number) in places.iter().zip(1_u32..) {
            let at = place.index(frame.reports.len() + 1);
            frame.reports.insert(at, good(number.into()));
            let at = place.index(frame.starts.len() + 1);
            frame.starts.insert(at, task(number).into());
        }
        let sound_starts = frame.starts.iter().filter(|start| start.job_id.len() == 16).count();
        let of_tasks = |report: &&wire::Report| report.task.as_ref().is_some_and(|task| task.job_id.len() == 16);
        let sound_reports = frame.reports.iter().filter(of_tasks).count();
        let (looks, pages) = (frame.look_results.len(), frame.page_results.len());
        let _any = hello(&frame);
        let received = read(frame);
        check(&received);
        prop_assert_eq!(received.starts.len(), sound_starts);
        prop_assert_eq!(received.reports.len(), sound_reports);
        prop_assert_eq!((received.looks.len(), received.pages.len()), (looks, pages), "each is answered");
        for number in 1..=u32::try_from(places.len()).unwrap() {
            prop_assert!(received.starts.contains(&task(number)));
            let kept = received.reports.iter().find(|report| report.go == GoId::from_u64(number.into()));
            let as_told = kept.is_some_and(|report| report.outcome == Outcome::Succeeded { already: false });
            prop_assert!(as_told, "report {} is lost", number);
        }
    }

    /// An outcome that nobody knows may be of a try that changed the key.
    #[test]
    fn a_report_without_a_known_outcome_is_doubtful(report in any_report()) {
        let known = edge::outcome(report.outcome.clone()).is_ok();
        if let Ok(read) = super::report(report) && !known {
            prop_assert!(read.acted);
            let unanswered = matches!(read.outcome, Outcome::Again { reason: AgainReason::Unanswered, .. });
            prop_assert!(unanswered, "{:?}", read.outcome);
        }
    }

    /// Damage to the bytes themselves, where they still are a message.
    #[test]
    fn damaged_frames_break_nothing(frame in any_frame(), damage in vec((any::<prop::sample::Index>(), any::<u8>()), 1..6), cut: prop::sample::Index) {
        let mut bytes = frame.encode_to_vec();
        for (at, byte) in damage {
            if !bytes.is_empty() {
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
        }
        for bytes in [&bytes[..], &bytes[..cut.index(bytes.len() + 1)]] {
            if let Ok(frame) = wire::FromWorker::decode(bytes) {
                let _any = hello(&frame);
                check(&read(frame));
            }
        }
    }
}
