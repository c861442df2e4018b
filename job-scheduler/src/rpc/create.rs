//! CreateJob: tasks stream into one transaction, and the last message commits it with the job.

use job_model::{JobId, Operation, Request};
use keyfleet_proto::{
    estate::v1::KeyFilter,
    jobs::v1::{self as wire, create_job_request::Part},
};
use service_kit::clock::wall;
use tonic::{Status, Streaming};
use uuid::Uuid;

use super::{
    Service,
    access::{Access, Action},
    convert, get, keys,
    needs::Needs,
    refused,
    sorting::Sorting,
};
use crate::{
    board,
    leader::{Event, Handle, Owner},
    store::{
        create::{Created, Draft, Idempotency, NewJob, NewLane},
        templates::Template,
    },
};

pub(super) async fn create_job(
    service: &Service,
    parts: Streaming<wire::CreateJobRequest>,
) -> Result<wire::CreateJobResponse, Status> {
    let leader = service.leader()?;
    // A task of its own: a caller that leaves drops the stream, which ends it, but never cancels it inside a statement.
    let own = service.clone();
    let (access, id) = tokio::spawn(async move { store_job(&own, &leader, parts).await })
        .await
        .map_err(|_| Status::internal("creating the job failed"))??;
    let job = service.job(&access, id).await?;
    let wire::GetJobResponse { job, tasks } = get::with_tasks(service, &job).await?;
    Ok(wire::CreateJobResponse { job, tasks })
}

async fn store_job(
    service: &Service,
    leader: &Handle,
    mut parts: Streaming<wire::CreateJobRequest>,
) -> Result<(Access, JobId), Status> {
    let begin = match parts.message().await?.and_then(|message| message.part) {
        Some(Part::Begin(begin)) => begin,
        Some(Part::Keys(_) | Part::Commit(_)) | None => return Err(Status::invalid_argument("Begin comes first")),
    };
    let access = Access::of(service, &begin.tenant, begin.rights)?;
    // Before a million keys are read for nothing.
    access.need_somewhere(Action::Bulk)?;
    let id = JobId::from_uuid(Uuid::now_v7());
    let store = &service.context.store;
    let mut draft = store.draft_begin(id).await.map_err(refused)?;
    let mut sorting = Sorting::new(service, &access);
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
            sorting.lanes = select(&access, &mut sorting.needs, &mut draft, filter, commit.max_keys).await?;
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
            Some(template(service, &access, commit.policy_template_id.as_deref(), &sorting.lanes).await?)
        }
        Operation::EnableKey
        | Operation::DisableKey
        | Operation::ScheduleKeyDeletion
        | Operation::CancelKeyDeletion => None,
    };
    let new = NewJob {
        id,
        tenant: access.tenant.clone(),
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
        total: sorting.total,
        failed: sorting.failed,
        lanes: sorting.lanes,
        containers: sorting.needs.containers(),
        now: wall(),
    };
    let idempotency = (!commit.idempotency_key.is_empty())
        .then(|| Idempotency { key: commit.idempotency_key, body_digest: commit.body_digest.to_vec() });
    let id = finish(service, leader, &access, draft, new, idempotency).await?;
    Ok((access, id))
}

/// Commits a draft as this job, and tells the board.
pub(super) async fn finish(
    service: &Service,
    leader: &Handle,
    access: &Access,
    draft: Draft,
    new: NewJob,
    idempotency: Option<Idempotency>,
) -> Result<JobId, Status> {
    let most = service.context.settings.max_running_jobs;
    match draft.commit(leader.epoch, &new, idempotency.as_ref(), most).await.map_err(refused)? {
        Created::New => {}
        // Whoever reads it next asks again whether the caller may.
        Created::Before(id) => return Ok(id),
        Created::OtherBody => {
            return Err(Status::already_exists("Idempotency-Key: it was used before with another body"));
        }
        Created::TooMany => {
            return Err(Status::resource_exhausted(format!(
                "the tenant has {most} unfinished jobs; wait for one to end"
            )));
        }
        Created::ContainerClosed(id) => {
            let container = access.containers().find(|container| container.id == id);
            return Err(Status::failed_precondition(format!(
                "the container {:?} was archived or deleted meanwhile",
                container.map_or("of some keys", |container| &container.name)
            )));
        }
    }
    tracing::info!(
        job.id = %new.id, job.operation = %new.operation, job.keys = new.total, tenant = %new.tenant,
        by = new.created_by, "A job was created."
    );
    metrics::counter!("keyfleet_jobs_created_total", "operation" => new.operation.as_str()).increment(1);
    if new.failed < new.total {
        let owner = Owner { tenant: new.tenant.clone(), containers: new.containers.clone(), total: new.total };
        leader.owned.add(new.id, owner);
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
    access: &Access,
    needs: &mut Needs<'_>,
    draft: &mut Draft,
    asked: &KeyFilter,
    most: u32,
) -> Result<Vec<NewLane>, Status> {
    for container in &asked.kms {
        access
            .by_name(container)
            .map_err(|_| Status::invalid_argument(format!("selector: there is no container {container:?}")))?;
    }
    let filter = keys::filter(access, asked.clone());
    let lanes = draft.tasks_select(&access.tenant, &filter).await.map_err(refused)?;
    // Before anything is told of keys that the caller may not use.
    needs.take_lanes(&lanes)?;
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
async fn template(service: &Service, access: &Access, id: Option<&str>, lanes: &[NewLane]) -> Result<Template, Status> {
    let id = id.ok_or_else(|| Status::invalid_argument("policy_template_id: it is missing"))?;
    let found = match id.parse::<Uuid>() {
        Ok(_) => service.context.store.template_get(&access.tenant, id).await.map_err(refused)?,
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
