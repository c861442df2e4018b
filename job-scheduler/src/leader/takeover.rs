//! What a new leader knows when it begins: the unfinished jobs, what of them is dispatched, and the last writes.

use std::{collections::HashMap, sync::Arc};

use job_model::{JobId, Request, WRITE_MEMORY};
use keyfleet_proto::{convert, workers::v1::JobSpec};
use service_kit::clock::{boottime, wall};

use super::{Owned, Owner, Term};
use crate::{
    Context,
    board::{Board, NewJob, NewLane, Settings, WalkId},
    store::{self, jobs::Job, syncs::Unfinished, takeover::LaneRow},
};

/// The board of a new leader, the specs of the unfinished jobs, and the synchronized parts that are yet to be swept. Adds the jobs'
/// owners.
pub(super) async fn load(
    context: &Context,
    term: &Term,
    owned: &Owned,
) -> Result<(Board, HashMap<JobId, JobSpec>, Vec<WalkId>), store::Error> {
    let store = &context.store;
    context.estates.refresh(store).await?;
    let predecessors = store.workers_of_earlier_leaders(term.epoch).await?.into_iter().collect();
    let settings = Settings {
        lease: context.settings.lease,
        operation_timeout: context.settings.operation_timeout,
        quotas: context.quotas.borrow().clone(),
    };
    let mut board = Board::new(settings, term.epoch, *term.end.borrow(), term.inherited_until, predecessors);
    let mut requests: HashMap<JobId, Option<Request>> = HashMap::new();

    let now = boottime();
    let wall_now = wall();
    for write in store.writes_since(wall_now - WRITE_MEMORY).await? {
        if let std::collections::hash_map::Entry::Vacant(e) = requests.entry(write.job) {
            let job = store.job_any_tenant(write.job).await?;
            e.insert(job.map(|job| job.request()).transpose()?);
        }
        if let Some(Some(request)) = requests.get(&write.job) {
            let at = now - (wall_now - write.at).unsigned_abs();
            board.write_recalled(&write.account.into(), &write.region.into(), &write.key, request, at);
        }
    }

    let mut specs = HashMap::new();
    for job in store.jobs_unfinished().await? {
        let request = job.request()?;
        specs.insert(job.id, convert::spec(job.id, &request, job.force, job.dry_run));
        let lanes = store.lanes_of(job.id).await?;
        let owner = Owner { tenant: job.tenant.clone(), containers: job.containers.clone(), total: job.total };
        owned.add(job.id, owner);
        board.job_added(as_new_job(&job, request, lanes), boottime());
    }
    let mut sweeps = Vec::new();
    for part in store.syncs_unfinished().await? {
        match part {
            Unfinished::Walk(walk) => board.walk_added(walk, boottime()),
            Unfinished::Sweep(walk) => sweeps.push(walk),
        }
    }
    tracing::info!(
        epoch = term.epoch,
        jobs = specs.len(),
        tasks = board.gauges().tasks,
        "Unfinished jobs are taken up."
    );
    Ok((board, specs, sweeps))
}

fn as_new_job(job: &Job, request: Request, lanes: Vec<LaneRow>) -> NewJob {
    let lanes = lanes
        .into_iter()
        .map(|lane| NewLane {
            account: Arc::from(lane.account),
            region: Arc::from(lane.region),
            undispatched: lane.undispatched,
            open: lane.open,
        })
        .collect();
    NewJob {
        id: job.id,
        request,
        force: job.force,
        dry_run: job.dry_run,
        max_rate: job.max_rate,
        follows: job.follows,
        stopping: job.abort,
        inherited: true,
        lanes,
    }
}
