//! The board's frames as messages.

use std::collections::HashMap;

use job_model::JobId;
use keyfleet_proto::workers::v1 as wire;

use crate::{
    board::{Frame, Step},
    containers::Reach,
};

pub(super) fn to_wire(frame: Frame, specs: &HashMap<JobId, wire::JobSpec>) -> wire::FromLeader {
    let id = |job: JobId| job.to_vec().into();
    wire::FromLeader {
        lease: frame.lease.map(|lease| wire::Lease {
            number: lease.number,
            lease_ms: u64::try_from(lease.span.as_millis()).unwrap_or(0),
            aborted: lease.aborted.into_iter().map(id).collect(),
        }),
        specs: frame.specs.iter().filter_map(|job| specs.get(job).cloned()).collect(),
        gos: frame
            .gos
            .into_iter()
            .map(|go| wire::Go {
                go: go.go.as_u64(),
                task: Some(go.task.into()),
                key: Some((&go.key).into()),
                acting: go.acting,
                doubted: go.doubted,
                trust_reading: go.trust_reading,
            })
            .collect(),
        nevers: frame.nevers.into_iter().map(Into::into).collect(),
        report_acks: frame
            .report_acks
            .into_iter()
            .map(|(go, task, r#final)| wire::ReportAck { go: go.as_u64(), task: Some(task.into()), r#final })
            .collect(),
        aborts: frame.aborts.into_iter().map(id).collect(),
        looks: frame
            .looks
            .into_iter()
            .map(|look| wire::Look { look: look.look, job_id: look.job.to_vec().into(), key: Some((&look.key).into()) })
            .collect(),
        forget: frame.forget.into_iter().map(id).collect(),
        pages: frame
            .pages
            .into_iter()
            .map(|ask| wire::PageRequest {
                page: ask.page,
                account: ask.account.to_string(),
                region: ask.region.to_string(),
                kind: match ask.step {
                    Step::Keys => wire::PageKind::Keys,
                    Step::Aliases => wire::PageKind::Aliases,
                }
                .into(),
                marker: ask.marker,
                limit: ask.limit,
            })
            .collect(),
        reaches: None,
    }
}

/// A frame that says how accounts are reached, and nothing else.
pub(super) fn reaches(reaches: &[Reach]) -> wire::FromLeader {
    let accounts = reaches.iter().map(|reach| wire::Reach {
        account: reach.account.clone(),
        tenant: reach.tenant.to_string(),
        connection: reach.connection.clone(),
        role_arn: reach.role_arn.clone(),
        external_id: reach.external_id.clone(),
    });
    wire::FromLeader { reaches: Some(wire::Reaches { accounts: accounts.collect() }), ..wire::FromLeader::default() }
}
