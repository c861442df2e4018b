//! CreateJob: tasks stream into one transaction, and the last message commits it with the job.

use std::collections::HashMap;

use job_model::{JobId, Operation, Request, SMALL_JOB, Tenant};
use keyfleet_proto::{
    estate::v1::KeyFilter,
    jobs::v1::{self as wire, create_job_request::Part},
};
use service_kit::clock::wall;
use tonic::{Status, Streaming};
use uuid::Uuid;

use super::{Service, containers, convert, keys, refused, tenant};
use crate::{
    board,
    containers::Place,
    leader::{Event, Handle},
    store::{
        create::{Created, Draft, Idempotency, NewJob, NewLane, NewTask},
        templates::Template,
    },
};

/// Lanes a job may have: accounts times Regions.
const LANES: usize = 10_000;

pub(super) async fn create_job(
    service: &Service,
    parts: Streaming<wire::CreateJobRequest>,
) -> Result<wire::CreateJobResponse, Status> {
    let leader = service.leader()?;
    // A task of its own: a caller that leaves drops the stream, which ends it, but never cancels it inside a statement.
    let own = service.clone();
    let id = tokio::spawn(async move { store_job(&own, &leader, parts).await })
        .await
        .map_err(|_| Status::internal("creating the job failed"))??;
    let job = service.job(&id.0, id.1).await?;
    let mut tasks = Vec::new();
    if usize::try_from(job.total).is_ok_and(|total| total <= SMALL_JOB) {
        tasks = service.context.store.task_page(job.id, 0, job.total).await.map_err(refused)?;
    }
    Ok(wire::CreateJobResponse { job: Some(convert::job(&job)), tasks: tasks.into_iter().map(convert::task).collect() })
}

async fn store_job(
    service: &Service,
    leader: &Handle,
    mut parts: Streaming<wire::CreateJobRequest>,
) -> Result<(Tenant, JobId), Status> {
    let begin = match parts.message().await?.and_then(|message| message.part) {
        Some(Part::Begin(begin)) => begin,
        Some(Part::Keys(_) | Part::Commit(_)) | None => return Err(Status::invalid_argument("Begin comes first")),
    };
    let tenant = tenant(&begin.tenant)?;
    let id = JobId::from_uuid(Uuid::now_v7());
    let store = &service.context.store;
    let mut draft = store.draft_begin(id).await.map_err(refused)?;
    let mut sorting = Sorting::new(service, &tenant);
    let commit = loop {
        match parts.message().await?.and_then(|message| message.part) {
            Some(Part::Keys(keys)) => {
                let tasks = sorting.sort(keys.keys).await?;
                draft.tasks_insert(tasks, wall()).await.map_err(refused)?;
            }
            Some(Part::Commit(commit)) => break commit,
            Some(Part::Begin(_)) => return Err(Status::invalid_argument("Begin comes once")),
            None => return Err(Status::cancelled("the stream ended before Commit")),
        }
    };
    match &commit.filter {
        None if sorting.total == 0 => return Err(Status::invalid_argument("keys: there are none")),
        None => {}
        Some(_) if sorting.total > 0 => {
            return Err(Status::invalid_argument("selector: give it or keys, not both"));
        }
        Some(filter) => {
            sorting.lanes = select(service, &tenant, &mut draft, filter, commit.max_keys).await?;
            sorting.total = sorting.lanes.iter().map(|lane| lane.tasks).sum();
        }
    }
    let dry_run = commit.dry_run() != wire::Operation::Unspecified;
    let operation = convert::operation(if dry_run { commit.dry_run } else { commit.operation })?;
    if commit.max_rate.is_some_and(|rate| !rate.is_finite() || rate <= 0.0) {
        return Err(Status::invalid_argument("max_rate: must be a positive number"));
    }
    let template = match operation {
        Operation::ApplyPolicyTemplate => {
            Some(template(service, &tenant, commit.policy_template_id.as_deref(), &sorting.lanes).await?)
        }
        Operation::EnableKey
        | Operation::DisableKey
        | Operation::ScheduleKeyDeletion
        | Operation::CancelKeyDeletion => None,
    };
    let new = NewJob {
        id,
        tenant: tenant.clone(),
        created_by: begin.created_by,
        operation,
        days: commit.days,
        policy_template_id: commit.policy_template_id,
        policy: template.map(|template| template.policy),
        force: commit.force,
        dry_run,
        max_rate: commit.max_rate,
        follows: draft.any_registered(&sorting.lanes).await.map_err(refused)?,
        selector: commit.filter.is_some().then_some(commit.selector),
        lanes: sorting.lanes,
        total: sorting.total,
        failed: sorting.failed,
        now: wall(),
    };
    let idempotency = (!commit.idempotency_key.is_empty())
        .then(|| Idempotency { key: commit.idempotency_key, body_digest: commit.body_digest.to_vec() });
    finish(service, leader, draft, new, idempotency).await.map(|id| (tenant, id))
}

/// Commits a draft as this job, and tells the board.
pub(super) async fn finish(
    service: &Service,
    leader: &Handle,
    draft: Draft,
    new: NewJob,
    idempotency: Option<Idempotency>,
) -> Result<JobId, Status> {
    let most = service.context.settings.max_running_jobs;
    match draft.commit(leader.epoch, &new, idempotency.as_ref(), most).await.map_err(refused)? {
        Created::New => {}
        Created::Before(id) => return Ok(id),
        Created::OtherBody => {
            return Err(Status::already_exists("Idempotency-Key: it was used before with another body"));
        }
        Created::TooMany => {
            return Err(Status::resource_exhausted(format!(
                "the tenant has {most} unfinished jobs; wait for one to end"
            )));
        }
    }
    tracing::info!(
        job.id = %new.id, job.operation = %new.operation, job.keys = new.total, tenant = %new.tenant,
        by = new.created_by, "A job was created."
    );
    metrics::counter!("keyfleet_jobs_created_total", "operation" => new.operation.as_str()).increment(1);
    if new.failed < new.total {
        // A leader that has just lost its place misses this; the next one reads the job from the store.
        let _ = leader.tell(Event::JobAdded(for_board(&new))).await;
    }
    Ok(new.id)
}

fn for_board(new: &NewJob) -> board::NewJob {
    let request = match new.operation {
        Operation::EnableKey => Request::EnableKey,
        Operation::DisableKey => Request::DisableKey,
        Operation::CancelKeyDeletion => Request::CancelKeyDeletion,
        Operation::ScheduleKeyDeletion => {
            Request::ScheduleKeyDeletion { days: new.days.unwrap_or(Request::DEFAULT_DAYS) }
        }
        Operation::ApplyPolicyTemplate => {
            Request::ApplyPolicy { policy: new.policy.as_deref().unwrap_or_default().into() }
        }
    };
    let lanes = new
        .lanes
        .iter()
        .map(|lane| board::NewLane {
            account: lane.account.as_str().into(),
            region: lane.region.as_str().into(),
            undispatched: lane.tasks,
            open: Vec::new(),
        })
        .collect();
    board::NewJob {
        id: new.id,
        request,
        force: new.force,
        dry_run: new.dry_run,
        max_rate: new.max_rate,
        follows: new.follows,
        stopping: false,
        inherited: false,
        lanes,
    }
}

/// Makes the tasks of the registered keys that match.
async fn select(
    service: &Service,
    tenant: &Tenant,
    draft: &mut Draft,
    asked: &KeyFilter,
    most: u32,
) -> Result<Vec<NewLane>, Status> {
    for container in &asked.kms {
        containers::by_name(service, tenant, container)
            .map_err(|_| Status::invalid_argument(format!("selector: there is no container {container:?}")))?;
    }
    let filter = keys::filter(service, tenant, asked.clone());
    let lanes = draft.tasks_select(tenant, &filter).await.map_err(refused)?;
    let total: u64 = lanes.iter().map(|lane| u64::from(lane.tasks)).sum();
    if total == 0 {
        return Err(Status::invalid_argument("selector: no registered key matches"));
    }
    if total > u64::from(most) {
        return Err(Status::invalid_argument(format!("selector: {total} keys match, more than {most}")));
    }
    Ok(lanes)
}

/// The template as it is now. It and all keys belong to one account.
async fn template(service: &Service, tenant: &Tenant, id: Option<&str>, lanes: &[NewLane]) -> Result<Template, Status> {
    let id = id.ok_or_else(|| Status::invalid_argument("policy_template_id: it is missing"))?;
    let found = match id.parse::<Uuid>() {
        Ok(_) => service.context.store.template_get(tenant, id).await.map_err(refused)?,
        Err(_) => None,
    };
    let template =
        found.ok_or_else(|| Status::invalid_argument(format!("policy_template_id: there is no template {id:?}")))?;
    let account = template.account.as_ref().or(lanes.first().map(|lane| &lane.account));
    match lanes.iter().find(|lane| Some(&lane.account) != account) {
        None => Ok(template),
        Some(lane) => Err(Status::invalid_argument(format!(
            "keys: some are of account {}, and the policy template is for {}; they must belong to one container",
            lane.account,
            account.map_or("another", String::as_str)
        ))),
    }
}

/// Numbers the keys and sorts them into lanes.
struct Sorting<'a> {
    service: &'a Service,
    tenant: &'a Tenant,
    numbers: HashMap<Place, u16>,
    lanes: Vec<NewLane>,
    total: u32,
    failed: u32,
    /// Whether the tenant has registered keys, once that was asked.
    any_registered: Option<bool>,
}

impl<'a> Sorting<'a> {
    fn new(service: &'a Service, tenant: &'a Tenant) -> Self {
        Self { service, tenant, numbers: HashMap::new(), lanes: Vec::new(), total: 0, failed: 0, any_registered: None }
    }

    async fn sort(&mut self, keys: Vec<String>) -> Result<Vec<NewTask>, Status> {
        let registered = self.registered(&keys).await?;
        let mut tasks = Vec::with_capacity(keys.len());
        for key in keys {
            let seq = self.total;
            self.total += 1;
            if let Some((account, region, aws_key)) = resource(&key).and_then(|id| registered.get(&id)).cloned() {
                let lane = Some(self.lane(Place { account, region })?);
                tasks.push(NewTask { seq, lane, key, aws_key: Some(aws_key), detail: None });
                continue;
            }
            tasks.push(match self.service.context.container.place(self.tenant, &key) {
                Ok(place) => NewTask { seq, lane: Some(self.lane(place)?), key, aws_key: None, detail: None },
                Err(detail) => {
                    self.failed += 1;
                    NewTask { seq, lane: None, key, aws_key: None, detail: Some(detail) }
                }
            });
        }
        Ok(tasks)
    }

    /// Where those live that are ids of registered resources. An id of AWS's looks the same, so all are looked up, but
    /// only where the tenant has registered keys at all.
    async fn registered(&mut self, keys: &[String]) -> Result<HashMap<Uuid, (String, String, String)>, Status> {
        let ids: Vec<Uuid> = keys.iter().filter_map(|key| resource(key)).collect();
        if ids.is_empty() {
            return Ok(HashMap::new());
        }
        let store = &self.service.context.store;
        let any = match self.any_registered {
            Some(any) => any,
            None => *self.any_registered.insert(store.keys_any(self.tenant).await.map_err(refused)?),
        };
        if any { store.keys_resolve(self.tenant, &ids).await.map_err(refused) } else { Ok(HashMap::new()) }
    }

    fn lane(&mut self, place: Place) -> Result<u16, Status> {
        let number = match self.numbers.get(&place) {
            Some(number) => *number,
            None => {
                let number = u16::try_from(self.lanes.len())
                    .ok()
                    .filter(|number| usize::from(*number) < LANES)
                    .ok_or_else(|| Status::invalid_argument(format!("keys: they lie in more than {LANES} Regions")))?;
                self.lanes.push(NewLane { account: place.account.clone(), region: place.region.clone(), tasks: 0 });
                self.numbers.insert(place, number);
                number
            }
        };
        self.lanes[usize::from(number)].tasks += 1;
        Ok(number)
    }
}

/// The id of a registered resource, if the text may be one.
fn resource(text: &str) -> Option<Uuid> {
    (text.len() == 36).then(|| text.parse().ok()).flatten()
}
