//! A worker played by the test: its session, and what the leader has sent it.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use job_model::{JobId, TaskRef, WorkerId};
use keyfleet_proto::{
    convert,
    workers::v1::{
        FromLeader, FromWorker, Go, Heartbeat, Hello, JobSpec, Look, LookResult, OpenGo, Report, ReportAck, Seen,
        StopAck, look_result, report::Outcome,
    },
};
use tokio::{sync::mpsc, task::JoinHandle};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;
use uuid::Uuid;

use super::{LOOK_EVERY, in_time, site::Site};

/// Far below the shortest lease used here.
const BEAT: Duration = Duration::from_millis(150);

pub(crate) struct Worker {
    pub(crate) id: WorkerId,
    outbox: Outbox,
    frames: Streaming<FromLeader>,
    beating: JoinHandle<()>,
    pub(crate) inbox: Inbox,
}

/// Numbers heartbeats in the order in which they go out.
#[derive(Clone)]
struct Outbox(Arc<Mutex<u64>>, mpsc::Sender<FromWorker>);

impl Outbox {
    fn beat(&self) -> u64 {
        let mut number = self.0.lock().unwrap();
        *number += 1;
        self.send(FromWorker {
            heartbeat: Some(Heartbeat { number: *number, stops: Vec::new() }),
            ..FromWorker::default()
        });
        *number
    }

    fn send(&self, frame: FromWorker) {
        // An error says that the session has ended.
        let _ended = self.1.try_send(frame);
    }
}

/// All that has come and was not taken out.
#[derive(Default)]
pub(crate) struct Inbox {
    /// The last lease's number, and the jobs it named.
    lease: u64,
    pub(crate) aborted: Vec<JobId>,
    pub(crate) specs: Vec<JobSpec>,
    pub(crate) gos: Vec<Go>,
    pub(crate) nevers: Vec<TaskRef>,
    acks: Vec<ReportAck>,
    pub(crate) aborts: Vec<JobId>,
    pub(crate) looks: Vec<Look>,
    pub(crate) forget: Vec<JobId>,
    /// How accounts are reached, as told last: account and connection.
    pub(crate) reaches: Vec<(String, String)>,
    /// How often that was told.
    pub(crate) reaches_told: u32,
}

impl Inbox {
    fn take(&mut self, frame: FromLeader) {
        if let Some(lease) = frame.lease {
            self.lease = lease.number;
            self.aborted = lease.aborted.iter().map(|id| convert::job_id(id).unwrap()).collect();
        }
        if let Some(reaches) = frame.reaches {
            self.reaches = reaches.accounts.into_iter().map(|reach| (reach.account, reach.connection)).collect();
            self.reaches_told += 1;
        }
        assert!(self.reaches_told > 0, "the first frame did not say how accounts are reached");
        for go in &frame.gos {
            let account = &go.key.as_ref().unwrap().account;
            assert!(self.reaches.iter().any(|(known, _)| known == account), "a Go came before the way to {account}");
            let job = &go.task.as_ref().unwrap().job_id;
            let known = self.specs.iter().chain(&frame.specs).any(|spec| spec.job_id == job);
            assert!(known, "a Go came before its job's spec");
        }
        self.specs.extend(frame.specs);
        self.gos.extend(frame.gos);
        self.nevers.extend(frame.nevers.iter().map(|task| TaskRef::try_from(task).unwrap()));
        self.acks.extend(frame.report_acks);
        self.aborts.extend(frame.aborts.iter().map(|id| convert::job_id(id).unwrap()));
        self.looks.extend(frame.looks);
        self.forget.extend(frame.forget.iter().map(|id| convert::job_id(id).unwrap()));
    }
}

impl Worker {
    /// One that has just started.
    pub(crate) async fn new(site: &Site) -> Self {
        Self::back(site, WorkerId::from_uuid(Uuid::new_v4()), &[]).await
    }

    /// Opens a session of a worker that holds these Gos.
    pub(crate) async fn back(site: &Site, id: WorkerId, open: &[&Go]) -> Self {
        let open_gos = open.iter().map(|go| OpenGo { go: go.go, task: go.task.clone() }).collect();
        let hello = Hello { worker_id: id.to_vec().into(), name: "played".to_owned(), concurrency: 100, open_gos };
        let (outbox, frames) = in_time(async {
            loop {
                let (sender, outgoing) = mpsc::channel(1_000);
                sender.try_send(FromWorker { hello: Some(hello.clone()), ..FromWorker::default() }).unwrap();
                if let Ok(mut workers) = site.leader.workers().await {
                    match workers.session(ReceiverStream::new(outgoing)).await {
                        Ok(frames) => return (Outbox(Arc::default(), sender), frames.into_inner()),
                        Err(status) => assert!(site.leader.note(&status), "{status:?}"),
                    }
                }
                tokio::time::sleep(LOOK_EVERY).await;
            }
        })
        .await;
        let beats = outbox.clone();
        let beating = tokio::spawn(async move {
            while !beats.1.is_closed() {
                beats.beat();
                tokio::time::sleep(BEAT).await;
            }
        });
        Self { id, outbox, frames, beating, inbox: Inbox::default() }
    }

    /// Takes frames until `pick` finds what it looks for.
    pub(crate) async fn until<T>(&mut self, mut pick: impl FnMut(&mut Inbox) -> Option<T>) -> T {
        in_time(async {
            loop {
                if let Some(found) = pick(&mut self.inbox) {
                    return found;
                }
                self.inbox.take(self.frames.message().await.unwrap().expect("the leader ended the session"));
            }
        })
        .await
    }

    /// Waits until the leader has answered all that was sent before.
    pub(crate) async fn fence(&mut self) {
        let number = self.outbox.beat();
        self.until(|inbox| (inbox.lease >= number).then_some(())).await;
    }

    /// Sends a frame as it is.
    pub(crate) fn send(&self, frame: FromWorker) {
        self.outbox.send(frame);
    }

    pub(crate) fn start(&self, tasks: &[TaskRef]) {
        let starts = tasks.iter().map(|task| (*task).into()).collect();
        self.outbox.send(FromWorker { starts, ..FromWorker::default() });
    }

    /// The task's next Go.
    pub(crate) async fn go(&mut self, task: TaskRef) -> Go {
        self.until(|inbox| {
            let at = inbox.gos.iter().position(|go| convert::task(go.task.as_ref()).unwrap() == task)?;
            Some(inbox.gos.remove(at))
        })
        .await
    }

    /// Reports how a Go ended; answers whether the task is final.
    pub(crate) async fn report(&mut self, go: &Go, acted: bool, outcome: Outcome) -> bool {
        let report = Report {
            go: go.go,
            task: go.task.clone(),
            state_before: "Disabled".to_owned(),
            acted,
            started_at_us: 1_000_000,
            finished_at_us: 1_250_000,
            outcome: Some(outcome),
        };
        self.outbox.send(FromWorker { reports: vec![report], ..FromWorker::default() });
        let number = go.go;
        self.until(|inbox| {
            let at = inbox.acks.iter().position(|ack| ack.go == number)?;
            Some(inbox.acks.remove(at).r#final)
        })
        .await
    }

    /// Waits until the task will certainly never go.
    pub(crate) async fn never(&mut self, task: TaskRef) {
        self.until(|inbox| inbox.nevers.contains(&task).then_some(())).await;
    }

    /// Tells at once that the job's abort flag is set.
    pub(crate) fn stop_ack(&self, job: JobId) {
        let ack = StopAck { job_id: job.to_vec().into(), in_flight: 0 };
        self.outbox.send(FromWorker { stop_acks: vec![ack], ..FromWorker::default() });
    }

    /// The same, by a heartbeat alone.
    pub(crate) fn stop_in_heartbeat(&self, job: JobId) {
        let mut number = self.outbox.0.lock().unwrap();
        *number += 1;
        let stops = vec![StopAck { job_id: job.to_vec().into(), in_flight: 0 }];
        self.outbox.send(FromWorker { heartbeat: Some(Heartbeat { number: *number, stops }), ..FromWorker::default() });
    }

    /// Answers looks for ever: this key is in the asked state, and no other.
    pub(crate) async fn look_for_ever(&mut self, there: &str) {
        loop {
            for look in std::mem::take(&mut self.inbox.looks) {
                let there = look.key.as_ref().unwrap().key_id == there;
                let seen = Seen { there, state: if there { "Enabled" } else { "Disabled" }.to_owned() };
                let result = LookResult { look: look.look, outcome: Some(look_result::Outcome::Seen(seen)) };
                self.outbox.send(FromWorker { look_results: vec![result], ..FromWorker::default() });
            }
            self.inbox.take(self.frames.message().await.unwrap().expect("the leader ended the session"));
        }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.beating.abort();
    }
}

pub(crate) fn succeeded() -> Outcome {
    Outcome::Succeeded(keyfleet_proto::workers::v1::Succeeded { already: false })
}

pub(crate) fn already() -> Outcome {
    Outcome::Succeeded(keyfleet_proto::workers::v1::Succeeded { already: true })
}

pub(crate) fn refused() -> Outcome {
    Outcome::Refused(keyfleet_proto::workers::v1::Refused {
        code: "KMSInvalidStateException".to_owned(),
        text: "it is gone".to_owned(),
    })
}

pub(crate) fn again(reason: keyfleet_proto::workers::v1::AgainReason) -> Outcome {
    Outcome::Again(keyfleet_proto::workers::v1::Again {
        reason: reason.into(),
        code: "InternalFailure".to_owned(),
        text: "try again".to_owned(),
    })
}
