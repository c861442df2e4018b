//! Schedulers with a database and a virtual host of their own, and a gateway's view of them.

use dev_stack::scratch::{Database, VirtualHost};
use job_model::{JobId, TaskRef};
use keyfleet_proto::estate::v1::Rights;
use keyfleet_proto::jobs::v1::{
    self as wire, AwaitStoppedRequest, CreateJobRequest, CreateJobResponse, GetJobRequest, GetJobResponse, Operation,
    OverallStatus,
    create_job_request::{Begin, Commit, Keys, Part},
    jobs_client::JobsClient,
};
use scheduler_client::Leader;
use service_kit::Readiness;
use sqlx::PgPool;
use task_queue::{Broker, BrokerSettings, OfferEvent, Offers};
use tokio::sync::Mutex;
use tonic::{Status, transport::Channel};

use super::{LOOK_EVERY, in_time, process::Scheduler};

pub(crate) const TENANT: &str = "kylo:kylo";
pub(crate) const STRANGER: &str = "acme:acme";

/// Nothing lapses, however slow the machine.
pub(crate) const CALM: [(&str, &str); 3] =
    [("LEASE", "20s"), ("TERM_OF_LEADERSHIP", "60s"), ("OPERATION_TIMEOUT", "60s")];
/// A lost worker is soon given up; the leader stays.
pub(crate) const SHORT_LEASE: [(&str, &str); 3] =
    [("LEASE", "1s"), ("TERM_OF_LEADERSHIP", "60s"), ("OPERATION_TIMEOUT", "1s")];
/// A lost leader is soon replaced.
pub(crate) const SHORT_TERM: [(&str, &str); 3] =
    [("LEASE", "1s"), ("TERM_OF_LEADERSHIP", "2s"), ("OPERATION_TIMEOUT", "1s")];

pub(crate) struct Site {
    // In the order of dropping: who uses comes before what is used.
    pub(crate) schedulers: Vec<Scheduler>,
    pub(crate) leader: Leader,
    pub(crate) broker: Broker,
    offers: Mutex<Offers>,
    pub(crate) pool: PgPool,
    _vhost: VirtualHost,
    _database: Database,
}

impl Site {
    /// One scheduler.
    pub(crate) async fn with(settings: &[(&str, &str)]) -> Self {
        Self::of(1, settings).await
    }

    /// So many; the first leads.
    pub(crate) async fn of(count: usize, settings: &[(&str, &str)]) -> Self {
        let (database, vhost) = (Database::create().unwrap(), VirtualHost::create().unwrap());
        let mut all = vec![
            ("DATABASE_URL", database.url()),
            ("AMQP_URL", vhost.url()),
            ("AWS_ACCOUNT_ID", "111122223333"),
            ("KEYFLEET_QUOTA", "off"),
        ];
        all.extend_from_slice(settings);
        let mut schedulers: Vec<Scheduler> = Vec::new();
        for _ in 0..count {
            schedulers.push(Scheduler::start(&all).await);
            let first = Leader::new(vec![schedulers[0].url.clone()]).unwrap();
            leads(&first).await;
        }
        let leader = Leader::new(schedulers.iter().map(|scheduler| scheduler.url.clone()).collect()).unwrap();
        let settings = BrokerSettings::at(vhost.url().parse().unwrap());
        let broker = Broker::connect(&settings, Readiness::default().part("test")).unwrap();
        let pool = PgPool::connect_lazy(database.url()).unwrap();
        let offers = Mutex::new(broker.consume_offers(100));
        Self { schedulers, leader, broker, offers, pool, _vhost: vhost, _database: database }
    }

    /// The leader's service, once there is one.
    pub(crate) async fn jobs(&self) -> JobsClient<Channel> {
        leads(&self.leader).await
    }

    /// The service of one scheduler, leading or not.
    pub(crate) async fn jobs_of(&self, scheduler: usize) -> JobsClient<Channel> {
        JobsClient::connect(self.schedulers[scheduler].url.clone()).await.unwrap()
    }

    /// Creates an enablekey job of these keys, and waits until all are offered: before, no worker asks for them.
    pub(crate) async fn create(&self, keys: &[&str]) -> JobId {
        let job = created(&self.send(parts(keys)).await.unwrap());
        self.offered(tasks(job, 0..u32::try_from(keys.len()).unwrap())).await;
        job
    }

    /// Takes offers off the queue until these have come; a copy counts as one.
    pub(crate) async fn offered(&self, mut wanted: Vec<TaskRef>) {
        let mut offers = self.offers.lock().await;
        in_time(async {
            while !wanted.is_empty() {
                match offers.next().await.unwrap() {
                    OfferEvent::Delivered(offer) => {
                        wanted.retain(|task| *task != offer.task);
                        offers.ack(&[(offer.channel_generation, offer.tag)]);
                    }
                    OfferEvent::ChannelLost(_) => {}
                }
            }
        })
        .await;
    }

    pub(crate) async fn send(&self, parts: Vec<Part>) -> Result<CreateJobResponse, Status> {
        send(&mut self.jobs().await, parts).await
    }

    /// The job as it is, from whoever leads.
    pub(crate) async fn read(&self, job: JobId) -> GetJobResponse {
        in_time(async {
            loop {
                let request =
                    GetJobRequest { tenant: TENANT.to_owned(), id: job.to_string(), with_tasks: true, rights: admin() };
                match self.jobs().await.get_job(request).await {
                    Ok(found) => return found.into_inner(),
                    // A leader may be lost under the question.
                    Err(status) => assert!(self.leader.note(&status), "{status:?}"),
                }
                tokio::time::sleep(LOOK_EVERY).await;
            }
        })
        .await
    }

    /// The job once it is so.
    pub(crate) async fn until(&self, job: JobId, so: impl Fn(&wire::Job) -> bool) -> GetJobResponse {
        in_time(async {
            loop {
                let found = self.read(job).await;
                if found.job.as_ref().is_some_and(&so) {
                    return found;
                }
                tokio::time::sleep(LOOK_EVERY).await;
            }
        })
        .await
    }

    pub(crate) async fn finished(&self, job: JobId) -> GetJobResponse {
        self.until(job, |job| job.overall_status() != OverallStatus::InProgress).await
    }

    pub(crate) async fn count(&self, rows: &'static str) -> i64 {
        sqlx::query_scalar(rows).fetch_one(&self.pool).await.unwrap()
    }
}

async fn leads(leader: &Leader) -> JobsClient<Channel> {
    in_time(async {
        loop {
            if let Ok(jobs) = leader.jobs().await {
                return jobs;
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    })
    .await
}

pub(crate) async fn send(jobs: &mut JobsClient<Channel>, parts: Vec<Part>) -> Result<CreateJobResponse, Status> {
    let parts = parts.into_iter().map(|part| CreateJobRequest { part: Some(part) });
    Ok(in_time(jobs.create_job(tokio_stream::iter(parts.collect::<Vec<_>>()))).await?.into_inner())
}

/// An enablekey job of these keys.
pub(crate) fn parts(keys: &[&str]) -> Vec<Part> {
    vec![begin(TENANT), keys_part(keys), Part::Commit(commit())]
}

pub(crate) fn begin(tenant: &str) -> Part {
    begin_as(tenant, admin())
}

pub(crate) fn begin_as(tenant: &str, rights: Option<Rights>) -> Part {
    Part::Begin(Begin { tenant: tenant.to_owned(), created_by: "admin".to_owned(), rights })
}

/// May do everything.
pub(crate) fn admin() -> Option<Rights> {
    Some(Rights { everything: true, ..Rights::default() })
}

pub(crate) fn keys_part(keys: &[&str]) -> Part {
    Part::Keys(Keys { keys: keys.iter().map(|key| (*key).to_owned()).collect() })
}

pub(crate) fn commit() -> Commit {
    Commit { operation: Operation::EnableKey.into(), ..Commit::default() }
}

pub(crate) fn created(response: &CreateJobResponse) -> JobId {
    response.job.as_ref().unwrap().id.parse().unwrap()
}

pub(crate) fn stop(job: JobId, wait_ms: u64) -> AwaitStoppedRequest {
    AwaitStoppedRequest {
        tenant: TENANT.to_owned(),
        id: job.to_string(),
        canceled_by: "admin".to_owned(),
        wait_ms,
        rights: admin(),
    }
}

pub(crate) fn tasks(job: JobId, seqs: impl IntoIterator<Item = u32>) -> Vec<TaskRef> {
    seqs.into_iter().map(|seq| TaskRef { job, seq }).collect()
}

/// Succeeded, failed and canceled.
pub(crate) fn counts(found: &GetJobResponse) -> (u64, u64, u64) {
    let counts = found.job.as_ref().unwrap().counts.as_ref().unwrap();
    (counts.succeeded, counts.failed, counts.canceled)
}

pub(crate) fn status(found: &GetJobResponse) -> OverallStatus {
    found.job.as_ref().unwrap().overall_status()
}
