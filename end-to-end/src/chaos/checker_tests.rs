//! A history that keeps every promise, and one spoiled copy of it for each way to break one.

use std::collections::BTreeMap;

use super::checker::{Promise, check};
use super::evidence::*;
use crate::job::Counts;
use crate::kms_end::Row;

const OURS: &str = "kylo:kylo";
const CANCELED_AT: u64 = 9_000_000_000;

fn caller(tenant: &str) -> Caller {
    Caller { tenant: tenant.to_owned(), user: "admin".to_owned() }
}

fn event(asked_ns: u64, answered_ns: u64, call: Call, answer: Answer) -> Event {
    Event { caller: caller(OURS), asked_ns, answered_ns, call, answer }
}

fn row(n: u64, at_ns: u64, op: &str, key: &str, status: u16, error: Option<&str>) -> Row {
    let (op, key, error) = (op.to_owned(), Some(key.to_owned()), error.map(str::to_owned));
    let (account, region) = ("111122223333".to_owned(), "us-east-1".to_owned());
    Row { n, at_ns, account, region, op, key, status, error, took_us: None }
}

fn task(seq: i32, key: &str, state: &str, detail: Option<&str>) -> TaskRow {
    let (key, state, detail) = (key.to_owned(), state.to_owned(), detail.map(str::to_owned));
    TaskRow { job: "j".to_owned(), seq, lane: 0, key, state, detail }
}

fn statuses() -> BTreeMap<String, String> {
    let told = [
        ("did", "Success"),
        ("had", "Success"),
        ("lost-answer", "Success"),
        ("refused", "Failed: AccessDeniedException: no"),
        ("left", "Canceled"),
    ];
    told.map(|(key, status)| (key.to_owned(), status.to_owned())).into()
}

fn view() -> View {
    let counts = Counts { total: 5, in_progress: 0, succeeded: 3, failed: 1, canceled: 1, already: 1 };
    View { id: "j".to_owned(), overall: "canceled".to_owned(), abort: true, counts, statuses: statuses() }
}

fn create() -> Call {
    let keys = ["did", "had", "lost-answer", "refused", "left"].map(str::to_owned).to_vec();
    Call::Create { once: Some("once".to_owned()), op: "EnableKey", keys }
}

fn read() -> Call {
    Call::Read { job: "j".to_owned() }
}

/// A job of five keys, one for each way to end; it was canceled before the last one was published.
fn kept() -> Evidence {
    let mut begun = view();
    begun.overall = "in_progress".to_owned();
    begun.statuses = BTreeMap::new();
    let mut foreigner = event(3, 4, read(), Answer::Refused(404));
    foreigner.caller = caller("other:other");
    let fact = |held_before, holds_after| KeyFact { held_before, holds_after, reachable: true };
    let rows = [
        ("did", "succeeded", None),
        ("had", "succeeded", None),
        ("lost-answer", "succeeded", None),
        ("refused", "failed", Some("AccessDeniedException: no")),
        ("left", "canceled", None),
    ];
    Evidence {
        history: vec![
            event(0, 1, create(), Answer::Nothing),
            event(1, 2, create(), Answer::Job(201, begun)),
            foreigner,
            event(5, CANCELED_AT, Call::Cancel { job: "j".to_owned() }, Answer::Job(200, view())),
            event(CANCELED_AT + 1, CANCELED_AT + 2, read(), Answer::Job(200, view())),
            event(
                CANCELED_AT + 1,
                CANCELED_AT + 3,
                Call::List,
                Answer::Jobs(vec![View { statuses: BTreeMap::new(), ..view() }]),
            ),
        ],
        keys: BTreeMap::from([
            ("did".to_owned(), fact(false, true)),
            ("had".to_owned(), fact(true, true)),
            ("lost-answer".to_owned(), fact(false, true)),
            ("refused".to_owned(), fact(false, false)),
            ("left".to_owned(), fact(false, false)),
        ]),
        jobs: vec![JobRow {
            id: "j".to_owned(),
            tenant: OURS.to_owned(),
            state: "finished".to_owned(),
            abort: true,
            counts: view().counts,
            cursors: BTreeMap::from([(0, 4)]),
        }],
        tasks: vec![
            task(0, "did", "succeeded", None),
            task(1, "had", "succeeded", None),
            task(2, "lost-answer", "succeeded", None),
            task(3, "refused", "failed", Some("AccessDeniedException: no")),
            task(4, "left", "pending", None),
        ],
        kms: vec![
            row(1, 10, "DescribeKey", "had", 200, None),
            row(2, 11, "EnableKey", "did", 200, None),
            row(3, 12, "EnableKey", "lost-answer", 0, Some("disconnect_after")),
            row(4, 13, "EnableKey", "refused", 400, Some("AccessDeniedException")),
            row(5, CANCELED_AT + 5, "DescribeKey", "left", 200, None),
        ],
        at_rest: vec![AtRest {
            read: view(),
            listed: Some(View { statuses: BTreeMap::new(), ..view() }),
            rows: rows
                .map(|(key, state, detail)| (key.to_owned(), state.to_owned(), detail.map(str::to_owned)))
                .to_vec(),
        }],
    }
}

/// What is found broken, once each, when the evidence is spoiled so.
fn broken(spoil: impl FnOnce(&mut Evidence)) -> Vec<Promise> {
    let mut evidence = kept();
    spoil(&mut evidence);
    let mut promises: Vec<Promise> = check(&evidence).into_iter().map(|violation| violation.promise).collect();
    promises.dedup();
    promises
}

#[test]
fn a_history_that_keeps_every_promise_passes() {
    assert_eq!(check(&kept()), []);
}

#[test]
fn an_accepted_job_that_is_gone_or_never_ends_is_found() {
    assert!(broken(|e| e.jobs.clear()).contains(&Promise::Ends));
    assert_eq!(broken(|e| e.jobs[0].state = "stopping".to_owned()), [Promise::Ends]);
}

#[test]
fn a_job_of_which_nobody_was_told_must_end_as_well() {
    let spoiled = broken(|e| {
        e.history[1].answer = Answer::Nothing;
        e.jobs[0].state = "running".to_owned();
    });
    assert_eq!(spoiled, [Promise::Ends]);
}

#[test]
fn a_key_without_a_final_status_is_found() {
    // The job was finished without this task: it went out, and nobody knew.
    assert!(broken(|e| e.tasks[0].state = "pending".to_owned()).contains(&Promise::OneStatus));
    assert!(broken(|e| e.jobs[0].abort = false).contains(&Promise::OneStatus));
    assert!(broken(|e| drop(e.tasks.pop())).contains(&Promise::OneStatus));
}

#[test]
fn a_final_status_that_changes_is_found() {
    let spoiled = broken(|e| {
        let Answer::Job(_, view) = &mut e.history[4].answer else { panic!("the read") };
        view.statuses.insert("did".to_owned(), "in_progress".to_owned());
    });
    assert_eq!(spoiled, [Promise::OneStatus]);
}

#[test]
fn reads_that_overlap_may_be_answered_in_either_order() {
    let spoiled = broken(|e| {
        let Answer::Job(_, view) = &mut e.history[4].answer else { panic!("the read") };
        view.statuses.insert("did".to_owned(), "in_progress".to_owned());
        e.history[4].asked_ns = CANCELED_AT - 1;
    });
    assert_eq!(spoiled, []);
}

#[test]
fn a_success_that_kms_knows_nothing_of_is_found() {
    assert_eq!(broken(|e| e.kms.retain(|row| row.n != 2)), [Promise::TrueSuccess]);
    assert_eq!(broken(|e| e.kms[1].status = 500), [Promise::TrueSuccess]);
    assert_eq!(broken(|e| e.kms[2].error = Some("disconnect_before".to_owned())), [Promise::TrueSuccess]);
    assert_eq!(broken(|e| e.keys.get_mut("had").unwrap().held_before = false), [Promise::TrueSuccess]);
    assert_eq!(broken(|e| e.keys.get_mut("did").unwrap().holds_after = false), [Promise::TrueSuccess]);
}

#[test]
fn a_refusal_that_kms_never_gave_is_found() {
    assert_eq!(broken(|e| e.kms[3].error = Some("ThrottlingException".to_owned())), [Promise::TrueFailure]);
    // A key of nobody's is not found, whatever KMS would say.
    let nobodys = |e: &mut Evidence, code: &str| {
        let detail = format!("{code}: no container");
        e.kms.remove(3);
        e.keys.get_mut("refused").unwrap().reachable = false;
        e.at_rest[0].read.statuses.insert("refused".to_owned(), format!("Failed: {detail}"));
        e.tasks[3].detail = Some(detail.clone());
        e.at_rest[0].rows[3].2 = Some(detail);
        e.history.truncate(3);
        e.history.push(event(5, 6, Call::Cancel { job: "j".to_owned() }, Answer::Nothing));
    };
    assert_eq!(broken(|e| nobodys(e, "NotFoundException")), []);
    assert_eq!(broken(|e| nobodys(e, "AccessDeniedException")), [Promise::TrueFailure]);
}

#[test]
fn a_failure_of_a_key_that_was_changed_is_found() {
    assert_eq!(broken(|e| e.keys.get_mut("refused").unwrap().holds_after = true), [Promise::TrueFailure]);
}

#[test]
fn a_canceled_key_that_was_changed_is_found() {
    // Blanket cancel without looking: the request was under way, and nobody asked what came of it.
    let done = |error: Option<&str>, status| row(6, 14, "EnableKey", "left", status, error);
    assert_eq!(broken(|e| e.kms.push(done(None, 200))), [Promise::TrueCanceled]);
    assert_eq!(broken(|e| e.kms.push(done(Some("timeout_before"), 0))), []);
    let unheard = |changed| {
        broken(|e| {
            e.kms.push(done(Some("timeout_after"), 0));
            e.keys.get_mut("left").unwrap().holds_after = changed;
        })
    };
    assert_eq!(unheard(true), [Promise::TrueCanceled]);
    // Worked on and refused, which nobody heard.
    assert_eq!(unheard(false), []);
}

#[test]
fn a_mutating_request_after_a_200_to_cancel_is_found() {
    // Flag check removed, lease ignored, no Go asked: all end in this. Whether it took effect does not matter.
    assert_eq!(broken(|e| e.kms[3].at_ns = CANCELED_AT + 1), [Promise::Stopped]);
    assert_eq!(broken(|e| e.kms[3].at_ns = CANCELED_AT), []);
}

#[test]
fn only_a_200_to_cancel_promises_that_all_has_stopped() {
    let spoiled = broken(|e| {
        let Answer::Job(status, _) = &mut e.history[3].answer else { panic!("the cancel") };
        *status = 202;
        e.kms[3].at_ns = CANCELED_AT + 1;
    });
    assert_eq!(spoiled, []);
}

#[test]
fn a_200_to_cancel_with_keys_in_progress_is_found() {
    let spoiled = broken(|e| {
        let Answer::Job(_, view) = &mut e.history[3].answer else { panic!("the cancel") };
        view.counts.in_progress = 1;
    });
    assert_eq!(spoiled, [Promise::Stopped]);
}

#[test]
fn two_jobs_for_one_idempotency_key_are_found() {
    let told = broken(|e| {
        let Answer::Job(_, mut second) = e.history[1].answer.clone() else { panic!("the create") };
        second.id = "k".to_owned();
        e.history[0].answer = Answer::Job(201, second);
    });
    assert!(told.contains(&Promise::Once));
    let untold = broken(|e| e.tasks.push(TaskRow { job: "k".to_owned(), ..task(0, "did", "succeeded", None) }));
    assert_eq!(untold, [Promise::Once]);
}

#[test]
fn readers_that_disagree_are_found() {
    assert_eq!(broken(|e| e.at_rest[0].rows[0].1 = "failed".to_owned()), [Promise::Agree]);
    assert_eq!(broken(|e| e.at_rest[0].listed = None), [Promise::Agree]);
    assert_eq!(broken(|e| e.at_rest[0].listed.as_mut().unwrap().counts.succeeded = 2), [Promise::Agree]);
    assert_eq!(broken(|e| e.jobs[0].counts.failed = 2), [Promise::Agree]);
    let miscounted = broken(|e| {
        e.jobs[0].counts.failed = 2;
        e.at_rest[0].read.counts.failed = 2;
        e.at_rest[0].listed.as_mut().unwrap().counts.failed = 2;
    });
    assert_eq!(miscounted, [Promise::Agree]);
    assert_eq!(broken(|e| e.at_rest.clear()), [Promise::Agree]);
}

#[test]
fn a_foreigner_who_learns_of_a_job_is_found() {
    assert_eq!(broken(|e| e.history[2].answer = Answer::Job(200, view())), [Promise::Apart]);
    assert_eq!(broken(|e| e.history[2].answer = Answer::Jobs(vec![view()])), [Promise::Apart]);
    assert_eq!(broken(|e| e.history[2].answer = Answer::Refused(403)), [Promise::Apart]);
    assert_eq!(broken(|e| e.history[2].answer = Answer::Refused(503)), []);
}

#[test]
fn a_job_that_a_foreigner_stopped_is_found() {
    let spoiled = broken(|e| {
        e.history[3].caller = caller("other:other");
        e.history[3].answer = Answer::Refused(404);
    });
    assert_eq!(spoiled, [Promise::Apart]);
}

#[test]
fn a_request_of_another_operation_is_found() {
    assert_eq!(broken(|e| e.kms.push(row(6, 14, "DisableKey", "refused", 400, None))), [Promise::TrueSuccess]);
}
