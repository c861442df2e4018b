//! Frames of a leader that makes mistakes: what makes no sense is passed over by itself, and nothing panics.

use std::time::Duration;

use job_model::Operation;
use keyfleet_proto::jobs::v1 as jobs;
use proptest::{collection::vec, prelude::*};
use prost::Message as _;
use uuid::Uuid;

use super::*;

const ACCOUNT: &str = "111122223333";

fn clock() -> Moment {
    Moment::from_nanos(1)
}

/// A desk with a lease of an hour, in its first session.
fn desk() -> Desk {
    let mut desk = Desk::new(Arc::default(), clock);
    desk.hello(WorkerId::from_uuid(Uuid::from_u128(1)), "worker", 8);
    let number = desk.take_frame().heartbeat.unwrap().number;
    let lease = wire::Lease { number, lease_ms: 3_600_000, aborted: Vec::new() };
    desk.on_frame(wire::FromLeader { lease: Some(lease), ..wire::FromLeader::default() });
    desk
}

fn job(number: u128) -> Vec<u8> {
    JobId::from_uuid(Uuid::from_u128(number)).to_vec()
}

fn task(seq: u32) -> wire::TaskRef {
    wire::TaskRef { job_id: job(7).into(), seq }
}

fn spec() -> wire::JobSpec {
    wire::JobSpec {
        job_id: job(7).into(),
        operation: jobs::Operation::from(Operation::EnableKey).into(),
        ..wire::JobSpec::default()
    }
}

fn go(number: u64) -> wire::Go {
    let key = wire::KeyAddress {
        account: ACCOUNT.to_owned(),
        region: "us-east-1".to_owned(),
        key_id: format!("key-{number}"),
    };
    let task = Some(task(u32::try_from(number).unwrap()));
    wire::Go { go: number, task, key: Some(key), acting: true, ..wire::Go::default() }
}

fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        Just(String::new()),
        Just("a\0b".to_owned()),
        any::<String>(),
        (1_usize..50_000).prop_map(|length| "x".repeat(length)),
    ]
}

/// Ids that are none.
fn no_id() -> impl Strategy<Value = Vec<u8>> {
    vec(any::<u8>(), 0..40).prop_filter("an id has 16 bytes", |bytes| bytes.len() != 16)
}

/// A Go that cannot be: of no task, of no key, or of a job whose spec makes no sense. All have numbers that no good one
/// has.
fn no_go() -> impl Strategy<Value = wire::Go> {
    let broken = prop_oneof![
        no_id().prop_map(|id| wire::Go { task: Some(wire::TaskRef { job_id: id.into(), seq: 1 }), ..go(1) }),
        Just(wire::Go { task: None, ..go(1) }),
        Just(wire::Go { key: None, ..go(1) }),
        Just(wire::Go { task: Some(wire::TaskRef { job_id: job(8).into(), seq: 1 }), ..go(1) }),
        Just(wire::Go { task: Some(wire::TaskRef { job_id: job(9).into(), seq: 1 }), ..go(1) }),
    ];
    (broken, 1_000..2_000_u64).prop_map(|(broken, number)| wire::Go { go: number, ..broken })
}

/// A spec that is none; of a job that has no other.
fn no_spec() -> impl Strategy<Value = wire::JobSpec> {
    prop_oneof![
        no_id().prop_map(|id| wire::JobSpec { job_id: id.into(), ..spec() }),
        prop::sample::select(vec![0, -1, 6, 99, i32::MIN, i32::MAX]).prop_map(|operation| wire::JobSpec {
            job_id: job(8).into(),
            operation,
            ..spec()
        }),
    ]
}

/// Whatever else a frame may hold.
fn rest() -> impl Strategy<Value = wire::FromLeader> {
    let ids = || vec(prop_oneof![no_id(), (20..30_u128).prop_map(job)], 0..4);
    let bytes = |ids: Vec<Vec<u8>>| ids.into_iter().map(Into::into).collect::<Vec<_>>();
    let tasks = vec((no_id(), any::<u32>()), 0..4);
    let acks = vec((2_000..3_000_u64, any::<bool>()), 0..4);
    let looks = vec((any::<u64>(), prop_oneof![no_id(), Just(job(7)), Just(job(8))], any::<bool>()), 0..4);
    let pages = vec((any::<u64>(), text(), any::<i32>(), any::<u32>()), 0..4);
    (ids(), ids(), tasks, acks, looks, pages, any::<Option<(u64, u64)>>()).prop_map(
        move |(aborts, forget, tasks, acks, looks, pages, lease)| wire::FromLeader {
            lease: lease.map(|(number, lease_ms)| wire::Lease {
                // None that is awaited.
                number: number | 1 << 40,
                lease_ms,
                aborted: bytes(aborts.clone()),
            }),
            aborts: bytes(aborts),
            forget: bytes(forget),
            nevers: tasks.into_iter().map(|(id, seq)| wire::TaskRef { job_id: id.into(), seq }).collect(),
            report_acks: acks.into_iter().map(|(go, r#final)| wire::ReportAck { go, task: None, r#final }).collect(),
            looks: looks
                .into_iter()
                .map(|(look, id, key)| wire::Look { look, job_id: id.into(), key: go(1).key.filter(|_| key) })
                .collect(),
            pages: pages
                .into_iter()
                .map(|(page, text, kind, limit)| wire::PageRequest {
                    page,
                    account: text.clone(),
                    region: text.clone(),
                    kind,
                    marker: text,
                    limit,
                })
                .collect(),
            ..wire::FromLeader::default()
        },
    )
}

fn tried(work: &[Work]) -> Vec<u64> {
    work.iter()
        .filter_map(|work| match work {
            Work::Try { go, .. } => Some(go.as_u64()),
            Work::Look { .. } | Work::Page { .. } => None,
        })
        .collect()
}

proptest! {
    #[test]
    fn what_makes_no_sense_costs_itself_alone(
        mut frame in rest(),
        specs in vec(no_spec(), 0..4),
        gos in vec(no_go(), 0..6),
        good in vec(any::<prop::sample::Index>(), 1..4),
    ) {
        frame.specs = specs;
        frame.specs.push(spec());
        frame.gos = gos;
        for (place, number) in good.iter().zip(1..) {
            frame.gos.insert(place.index(frame.gos.len() + 1), go(number));
        }
        let mut desk = desk();
        let work = desk.on_frame(frame.clone());
        let mut begun = tried(&work);
        begun.sort_unstable();
        let expected: Vec<u64> = (1..).take(good.len()).collect();
        prop_assert_eq!(begun, expected, "the good ones go, and no other does");
        for work in &work {
            if let Work::Try { attempt, .. } = work {
                prop_assert!(attempt.permit.begin().is_ok(), "and they may begin");
            }
        }
        let looks = frame.looks.iter().filter(|look| look.job_id[..] == job(7) && look.key.is_some()).count();
        let looked = work.iter().filter(|work| matches!(work, Work::Look { .. })).count();
        prop_assert_eq!(looked, looks);
        // The same again begins nothing twice, and all of it can be told.
        prop_assert!(tried(&desk.on_frame(frame)).is_empty());
        while desk.has_frame() {
            drop(desk.take_frame());
        }
    }

    /// Damage to the bytes themselves, where they still are a message.
    #[test]
    fn damaged_frames_break_nothing(mut frame in rest(), damage in vec((any::<prop::sample::Index>(), any::<u8>()), 1..6), cut: prop::sample::Index) {
        frame.specs.push(spec());
        frame.gos.push(go(1));
        frame.reaches = Some(wire::Reaches::default());
        let mut bytes = frame.encode_to_vec();
        for (at, byte) in damage {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        for bytes in [&bytes[..], &bytes[..cut.index(bytes.len() + 1)]] {
            if let Ok(frame) = wire::FromLeader::decode(bytes) {
                let mut desk = desk();
                for work in desk.on_frame(frame) {
                    if let Work::Try { go, attempt } = work {
                        prop_assert_eq!(attempt.permit.begin().is_ok(), !desk.stops.is_set(attempt.task.job));
                        prop_assert!(desk.gos.in_flight(attempt.task.job) > 0, "{:?}", go);
                    }
                }
                desk.hello(WorkerId::from_uuid(Uuid::from_u128(1)), "worker", 8);
                while desk.has_frame() {
                    drop(desk.take_frame());
                }
            }
        }
    }
}

#[test]
fn a_lease_of_any_length_is_reckoned_with() {
    for lease_ms in [0, 1, u64::MAX / 2, u64::MAX] {
        let mut desk = Desk::new(Arc::default(), clock);
        desk.hello(WorkerId::from_uuid(Uuid::from_u128(1)), "worker", 8);
        let number = desk.take_frame().heartbeat.unwrap().number;
        let lease = wire::Lease { number, lease_ms, aborted: Vec::new() };
        desk.on_frame(wire::FromLeader { lease: Some(lease), ..wire::FromLeader::default() });
        assert!(desk.interval() > Duration::ZERO);
    }
}
