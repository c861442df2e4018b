//! UpdateTemplate, and with `auto_push` the job that puts the new policy on the keys that have the template's.
//!
//! Both are one transaction: there is never a changed template whose push was lost, nor a push of a text that the
//! template does not have. The job is like any other: it is seen in the list, it can be canceled, and it works with the
//! text of this moment.

use job_model::{JobId, Operation};
use keyfleet_proto::jobs::v1 as wire;
use service_kit::clock::wall;
use tonic::Status;
use uuid::Uuid;

use super::{no_such_template, to_wire};
use crate::{
    leader::Handle,
    policies::{self, Grants},
    rpc::{
        Service,
        access::{Access, Action},
        create,
        needs::Needs,
        refused,
    },
    store::{
        create::{Draft, NewJob},
        templates::Template,
    },
};

pub(super) async fn update_template(
    service: &Service,
    request: wire::UpdateTemplateRequest,
) -> Result<wire::UpdateTemplateResponse, Status> {
    let leader = service.leader()?;
    let access = Access::of(service, &request.tenant, request.rights.clone())?;
    // A task of its own: a caller that leaves never cancels it inside a statement.
    let own = service.clone();
    tokio::spawn(async move { update(&own, &leader, &access, request).await })
        .await
        .map_err(|_| Status::internal("changing the template failed"))?
}

async fn update(
    service: &Service,
    leader: &Handle,
    access: &Access,
    request: wire::UpdateTemplateRequest,
) -> Result<wire::UpdateTemplateResponse, Status> {
    let job = JobId::from_uuid(Uuid::now_v7());
    let mut draft = service.context.store.draft_begin(job).await.map_err(refused)?;
    let found = draft.template_lock(&access.tenant, &request.template).await.map_err(refused)?;
    let mut template = found.ok_or_else(no_such_template)?;
    access.need_for(template.account.as_deref(), Action::TemplateUpdate)?;
    if let Some((policy, grants)) = changed(access, &template, &request)? {
        template.policy = policy;
        template.grants = grants;
        template.updated_at = wall();
        draft.template_change(&template).await.map_err(refused)?;
    }
    let pushed_by = if request.auto_push {
        push(service, leader, access, draft, job, &template, request.updated_by).await?
    } else {
        draft.commit_without_job(leader.epoch).await.map_err(refused)?;
        None
    };
    Ok(wire::UpdateTemplateResponse {
        template: Some(to_wire(access, template)),
        pushed_by: pushed_by.map(|job| job.to_string()).unwrap_or_default(),
    })
}

/// The new policy and whom it is made for; `None` when nothing was given.
fn changed(
    access: &Access,
    template: &Template,
    request: &wire::UpdateTemplateRequest,
) -> Result<Option<(String, Option<Grants>)>, Status> {
    let mut grants = template.grants.clone().unwrap_or_default();
    let mut given = false;
    for (list, new) in [
        (&mut grants.key_admins, &request.key_admins),
        (&mut grants.key_admins_roles, &request.key_admins_roles),
        (&mut grants.key_users, &request.key_users),
        (&mut grants.key_users_roles, &request.key_users_roles),
        (&mut grants.external_accounts, &request.external_accounts),
    ] {
        if let Some(new) = new {
            list.clone_from(&new.names);
            given = true;
        }
    }
    match (request.policy.as_str(), given) {
        ("", false) => Ok(None),
        ("", true) => {
            let id = template.account.as_deref().unwrap_or_default();
            let Some(container) = access.find("", id)? else {
                return Err(Status::invalid_argument("kms: the template is for no account to make a policy for"));
            };
            let made = policies::make(&container.account, policies::partition(&container.regions[0]), &grants);
            Ok(Some((made.map_err(Status::invalid_argument)?, Some(grants))))
        }
        (policy, false) => {
            policies::check(policy).map_err(Status::invalid_argument)?;
            Ok(Some((policy.to_owned(), None)))
        }
        (_, true) => Err(Status::invalid_argument("policy: give it or lists of names, not both")),
    }
}

/// Makes the job; none when no key has the template.
async fn push(
    service: &Service,
    leader: &Handle,
    access: &Access,
    mut draft: Draft,
    id: JobId,
    template: &Template,
    by: String,
) -> Result<Option<JobId>, Status> {
    let lanes = draft.tasks_of_template(template.id).await.map_err(refused)?;
    let total = lanes.iter().map(|lane| lane.tasks).sum();
    if total == 0 {
        draft.commit_without_job(leader.epoch).await.map_err(refused)?;
        return Ok(None);
    }
    let mut needs = Needs::of(access);
    needs.take_lanes(&lanes)?;
    let new = NewJob {
        id,
        tenant: access.tenant.clone(),
        created_by: by,
        operation: Operation::ApplyPolicyTemplate,
        days: None,
        policy_template_id: Some(template.id.to_string()),
        policy: Some(template.policy.clone()),
        force: false,
        dry_run: false,
        max_rate: None,
        follows: false, // which template a key has follows all the same
        selector: None,
        lanes,
        containers: needs.containers(),
        total,
        failed: 0,
        now: wall(),
    };
    create::finish(service, leader, access, draft, new, None).await.map(Some)
}
