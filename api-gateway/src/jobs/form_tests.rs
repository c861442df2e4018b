//! The form against the documented example, letter by letter.

use super::*;

fn task(seq: u32, key: &str, state: proto::TaskState, detail: &str) -> proto::Task {
    proto::Task { seq, key: key.to_owned(), state: state.into(), detail: detail.to_owned(), ..Default::default() }
}

fn job(total: u64) -> proto::Job {
    proto::Job {
        id: "e612b64f-6364-48ce-92ec-c6dd608d7ad0".to_owned(),
        tenant: "kylo:kylo".to_owned(),
        created_by: "local|x".to_owned(),
        operation: proto::Operation::EnableKey.into(),
        abort: true,
        overall_status: proto::OverallStatus::Completed.into(),
        counts: Some(proto::Counts { total, succeeded: total, ..Default::default() }),
        created_at_us: 1_676_017_188_558_869,
        updated_at_us: 1_676_017_188_970_377,
        completed_at_us: Some(1_676_017_188_970_204),
        ..Default::default()
    }
}

fn whole(job: &proto::Job, tasks: &[proto::Task]) -> String {
    let mut out = Vec::new();
    JobForm::of(Some(job)).unwrap().write_whole(&mut out, tasks).unwrap();
    String::from_utf8(out).unwrap()
}

const HEAD: &str = concat!(
    r#"{"id":"e612b64f-6364-48ce-92ec-c6dd608d7ad0","#,
    r#""uri":"kylo:kylo:cckm:bulkjob:e612b64f-6364-48ce-92ec-c6dd608d7ad0","#,
    r#""account":"kylo:kylo:admin:accounts:kylo","createdAt":"2023-02-10T08:19:48.558869Z","#,
    r#""updatedAt":"2023-02-10T08:19:48.970377Z","completed_at":"2023-02-10T08:19:48.970204Z","#,
    r#""overall_status":"completed","#
);

#[test]
fn the_fields_stand_in_the_documented_order() {
    let tasks = [task(0, "k", proto::TaskState::Succeeded, "")];
    let expected = format!(
        "{HEAD}{}",
        concat!(
            r#""detailed_status":{"k":"Success"},"abort":true,"cloud":"aws","keys":["k"],"operation":"enablekey","#,
            r#""counts":{"total":1,"in_progress":0,"succeeded":1,"failed":0,"canceled":0,"already":0}}"#
        )
    );
    assert_eq!(whole(&job(1), &tasks), expected);
}

#[test]
fn a_large_job_stands_without_its_keys() {
    let form = JobForm::of(Some(&job(1_001))).unwrap();
    let mut out = Vec::new();
    form.write_usual(&mut out, &[]).unwrap();
    let text = String::from_utf8(out).unwrap();
    assert!(text.starts_with(HEAD), "{text}");
    assert!(text.contains(r#""overall_status":"completed","abort":true,"cloud":"aws","operation":"enablekey","#));
    serde_json::from_str::<serde_json::Value>(&text).unwrap();
    assert!(JobForm::of(Some(&job(1_000))).unwrap().is_small());
}

#[test]
fn what_was_given_is_echoed_and_the_rest_is_absent() {
    let mut job = job(1);
    job.completed_at_us = None;
    let value: serde_json::Value = serde_json::from_str(&whole(&job, &[])).unwrap();
    for absent in ["days", "policy_template_id", "force", "dry_run", "max_rate", "completed_at"] {
        assert!(value.get(absent).is_none(), "{absent}");
    }
    job.days = Some(7);
    job.policy_template_id = Some("t".to_owned());
    job.force = true;
    job.dry_run = true;
    job.max_rate = Some(2.5);
    let text = whole(&job, &[]);
    assert!(
        text.ends_with(r#","days":7,"policy_template_id":"t","force":true,"dry_run":true,"max_rate":2.5}"#),
        "{text}"
    );
}

#[test]
fn each_state_has_its_words_and_keys_are_escaped() {
    let tasks = [
        task(0, "a\"b\\\n", proto::TaskState::Pending, ""),
        task(1, "ключ", proto::TaskState::Failed, "NotFoundException: \"no\""),
        task(2, "c", proto::TaskState::Canceled, ""),
        task(3, "d", proto::TaskState::Succeeded, "Would enable the key"),
        task(4, "e", proto::TaskState::Failed, "Impossible: the key is pending deletion"),
    ];
    let value: serde_json::Value = serde_json::from_str(&whole(&job(5), &tasks)).unwrap();
    assert_eq!(value["detailed_status"]["a\"b\\\n"], "in_progress");
    assert_eq!(value["detailed_status"]["ключ"], "Failed: NotFoundException: \"no\"");
    assert_eq!(value["detailed_status"]["c"], "Canceled");
    assert_eq!(value["detailed_status"]["d"], "Would enable the key");
    assert_eq!(value["detailed_status"]["e"], "Impossible: the key is pending deletion");
    assert_eq!(value["keys"], serde_json::json!(["a\"b\\\n", "ключ", "c", "d", "e"]));
}

#[test]
fn an_answer_without_sense_is_an_internal_error() {
    assert_eq!(JobForm::of(None).err(), Some(ApiError::Internal));
    assert_eq!(JobForm::of(Some(&proto::Job { operation: 0, ..job(1) })).err(), Some(ApiError::Internal));
    assert_eq!(JobForm::of(Some(&proto::Job { overall_status: 99, ..job(1) })).err(), Some(ApiError::Internal));
    let stateless = task(0, "k", proto::TaskState::Unspecified, "");
    let mut out = Vec::new();
    assert!(JobForm::of(Some(&job(1))).unwrap().write_whole(&mut out, &[stateless]).is_err());
}
