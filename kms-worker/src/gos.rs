//! The Gos of this worker, from their receipt to the acknowledgement of their reports.
//!
//! Problem: the leader frees a key only when it knows what became of its Go, over sessions and leaders. Invariant: a Go
//! that may have begun stays here, and is declared in every Hello, until its report is acknowledged. What had not begun
//! when a session ended is taken back for ever and needs no report.

use std::{collections::HashMap, sync::Arc};

use job_model::{GoId, JobId, TaskRef};
use keyfleet_proto::workers::v1 as wire;

use crate::permit::Permit;

/// The open Gos.
#[derive(Debug, Default)]
pub struct Gos {
    open: HashMap<GoId, Open>,
    by_job: HashMap<JobId, u32>,
    /// Reports that wait to be sent in this session, in the order of their making.
    unsent: Vec<GoId>,
}

#[derive(Debug)]
struct Open {
    task: TaskRef,
    permit: Arc<Permit>,
    report: Option<wire::Report>,
}

impl Gos {
    /// A Go was received. One that is open already changes nothing and gives `false`.
    pub fn given(&mut self, go: GoId, task: TaskRef, permit: Arc<Permit>) -> bool {
        if self.open.contains_key(&go) {
            return false;
        }
        self.open.insert(go, Open { task, permit, report: None });
        *self.by_job.entry(task.job).or_default() += 1;
        true
    }

    /// Its try has ended with this report. A Go that was taken back meanwhile needs none.
    pub fn reported(&mut self, go: GoId, report: wire::Report) {
        if let Some(open) = self.open.get_mut(&go) {
            open.report = Some(report);
            self.unsent.push(go);
        }
    }

    /// Its report was acknowledged: the Go is over. `None` when it was before.
    pub fn acknowledged(&mut self, go: GoId) -> Option<TaskRef> {
        self.remove(go).map(|open| open.task)
    }

    /// A new session: takes back what has not begun (given here), and gives what its Hello must declare. All reports are
    /// to be sent again.
    pub fn new_session(&mut self) -> (Vec<TaskRef>, Vec<wire::OpenGo>) {
        let taken_back: Vec<GoId> =
            self.open.iter().filter(|(_, open)| open.permit.take_back()).map(|(go, _)| *go).collect();
        let void = taken_back.into_iter().filter_map(|go| self.remove(go)).map(|open| open.task).collect();
        self.unsent.retain(|go| self.open.contains_key(go));
        let queued: std::collections::HashSet<_> = self.unsent.iter().copied().collect();
        let again = self.open.iter().filter(|(go, open)| open.report.is_some() && !queued.contains(go));
        let again: Vec<GoId> = again.map(|(go, _)| *go).collect();
        self.unsent.extend(again);
        let declared =
            self.open.iter().map(|(go, open)| wire::OpenGo { go: go.as_u64(), task: Some(open.task.into()) }).collect();
        (void, declared)
    }

    /// Takes up to `most` reports to be sent.
    pub fn take_reports(&mut self, most: usize) -> Vec<wire::Report> {
        let taken = self.unsent.drain(..most.min(self.unsent.len()));
        taken.filter_map(|go| self.open.get(&go)?.report.clone()).collect()
    }

    /// Whether reports wait to be sent.
    pub const fn has_reports(&self) -> bool {
        !self.unsent.is_empty()
    }

    /// How many Gos of the job run or have a report that is not acknowledged.
    pub fn in_flight(&self, job: JobId) -> u32 {
        self.by_job.get(&job).copied().unwrap_or(0)
    }

    /// How many are open.
    pub fn len(&self) -> usize {
        self.open.len()
    }

    /// Whether none is open.
    pub fn is_empty(&self) -> bool {
        self.open.is_empty()
    }

    fn remove(&mut self, go: GoId) -> Option<Open> {
        let open = self.open.remove(&go)?;
        if let Some(count) = self.by_job.get_mut(&open.task.job) {
            *count -= 1;
            if *count == 0 {
                self.by_job.remove(&open.task.job);
            }
        }
        Some(open)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use job_model::Moment;

    use super::*;
    use crate::{
        lease::{Heartbeats, Lease},
        stops::Stops,
    };

    fn clock() -> Moment {
        Moment::from_nanos(1)
    }

    fn permit() -> Arc<Permit> {
        let lease = Arc::new(Lease::default());
        let mut beats = Heartbeats::new(lease.clone());
        let number = beats.beat(clock());
        beats.granted(number, Duration::from_secs(1), clock());
        Arc::new(Permit::for_go(&lease, Stops::default().flag(task(0).job), clock))
    }

    fn task(seq: u32) -> TaskRef {
        TaskRef { job: JobId::from_uuid(uuid::Uuid::from_u128(1)), seq }
    }

    fn go(number: u64) -> GoId {
        GoId::new(1, number)
    }

    fn report(number: u64) -> wire::Report {
        wire::Report { go: go(number).as_u64(), ..wire::Report::default() }
    }

    fn numbers(reports: &[wire::Report]) -> Vec<u64> {
        reports.iter().map(|report| report.go).collect()
    }

    #[test]
    fn a_go_is_in_flight_until_its_report_is_acknowledged() {
        let mut gos = Gos::default();
        assert!(gos.given(go(1), task(1), permit()));
        assert!(!gos.given(go(1), task(1), permit()), "the same Go twice is one");
        assert_eq!(gos.in_flight(task(1).job), 1);
        gos.reported(go(1), report(1));
        assert_eq!(numbers(&gos.take_reports(10)), [go(1).as_u64()]);
        assert!(!gos.has_reports());
        assert_eq!(gos.in_flight(task(1).job), 1);
        assert_eq!(gos.acknowledged(go(1)), Some(task(1)));
        assert_eq!(gos.acknowledged(go(1)), None);
        assert_eq!(gos.in_flight(task(1).job), 0);
    }

    #[test]
    fn a_new_session_declares_what_has_begun_and_sends_its_reports_again() {
        let mut gos = Gos::default();
        let (begun, fresh) = (permit(), permit());
        begun.begin().unwrap();
        gos.given(go(1), task(1), begun);
        gos.given(go(2), task(2), fresh);
        gos.reported(go(1), report(1));
        gos.take_reports(10);
        let (void, declared) = gos.new_session();
        assert_eq!(void, [task(2)]);
        assert_eq!(declared.iter().map(|open| open.go).collect::<Vec<_>>(), [go(1).as_u64()]);
        assert_eq!(numbers(&gos.take_reports(10)), [go(1).as_u64()]);
        gos.reported(go(2), report(2));
        assert!(!gos.has_reports(), "what was taken back needs no report");
    }

    #[test]
    fn reports_go_out_in_bounded_batches_and_order() {
        let mut gos = Gos::default();
        for number in 1..=3 {
            let permit = permit();
            permit.begin().unwrap();
            gos.given(go(number), task(1), permit);
            gos.reported(go(number), report(number));
        }
        assert_eq!(numbers(&gos.take_reports(2)), [go(1).as_u64(), go(2).as_u64()]);
        assert_eq!(numbers(&gos.take_reports(2)), [go(3).as_u64()]);
    }
}
