//! ListKeys and GetKey, and what a filter means in the words of the store.

use job_model::ResourceId;
use keyfleet_proto::{convert::BadField, estate::v1 as wire};
use tonic::{Request, Response, Status};

use super::{
    Service,
    access::{Access, Action},
    convert::micros,
    refused,
};
use crate::store::keys::{Key, KeyFilter, KeySort};

/// Rows of a page at the most.
const PAGE: u32 = 2_000;

#[tonic::async_trait]
impl wire::keys_server::Keys for Service {
    async fn list_keys(
        &self,
        request: Request<wire::ListKeysRequest>,
    ) -> Result<Response<wire::ListKeysResponse>, Status> {
        self.leader()?;
        let request = request.into_inner();
        let access = Access::of(self, &request.tenant, request.rights)?;
        access.need_somewhere(Action::View)?;
        let mut filter = filter(&access, request.filter.unwrap_or_default());
        if let Some((seen, _)) = access.seen() {
            filter.accounts = Some(match filter.accounts {
                Some(asked) => asked.into_iter().filter(|account| seen.contains(account)).collect(),
                None => seen,
            });
        }
        let sort: Vec<_> = request
            .sort
            .iter()
            .map(|key| Ok((sort_by(key.field())?, key.descending)))
            .collect::<Result<_, BadField>>()
            .map_err(|error| Status::invalid_argument(error.to_string()))?;
        let limit = request.limit.min(PAGE);
        let store = &self.context.store;
        let (total, keys) =
            store.key_page(&access.tenant, &filter, &sort, request.skip, limit).await.map_err(refused)?;
        let keys = keys.into_iter().map(|key| to_wire(&access, key)).collect();
        Ok(Response::new(wire::ListKeysResponse { total, keys }))
    }

    async fn get_key(&self, request: Request<wire::GetKeyRequest>) -> Result<Response<wire::Key>, Status> {
        self.leader()?;
        let request = request.into_inner();
        let access = Access::of(self, &request.tenant, request.rights)?;
        let id = request.id.parse().map_err(|_| no_such_key())?;
        let key = self.context.store.key_get(&access.tenant, id).await.map_err(refused)?.ok_or_else(no_such_key)?;
        access.need_for(Some(&key.account), Action::View)?;
        Ok(Response::new(to_wire(&access, key)))
    }
}

fn no_such_key() -> Status {
    Status::not_found("there is no key of this id")
}

/// What a message asks for. An id that is none matches nothing.
pub(super) fn filter(access: &Access, asked: wire::KeyFilter) -> KeyFilter {
    let nothing = ResourceId::from_uuid(uuid::Uuid::nil());
    let ids = asked.ids.iter().map(|id| id.parse().unwrap_or(nothing)).collect();
    let templates = asked
        .policy_template_ids
        .iter()
        .map(|id| id.parse().unwrap_or_else(|_| job_model::ids::TemplateId::from_uuid(uuid::Uuid::nil())))
        .collect();
    let mut accounts = (!asked.kms.is_empty()).then(|| access.accounts(&asked.kms));
    if !asked.account_ids.is_empty() {
        match &mut accounts {
            Some(accounts) => accounts.retain(|account| asked.account_ids.contains(account)),
            None => accounts = Some(asked.account_ids),
        }
    }
    KeyFilter {
        ids,
        key_ids: asked.key_ids,
        arns: asked.arns,
        aliases: asked.aliases,
        alias_prefix: (!asked.alias_prefix.is_empty()).then_some(asked.alias_prefix),
        accounts,
        regions: asked.regions,
        states: asked.states,
        enabled: asked.enabled,
        gone: asked.gone,
        tags: asked.tags.into_iter().map(|tags| tags.tags).collect(),
        templates,
        origins: asked.origins,
        described: asked.described.into_iter().map(|of| (of.field, of.values)).collect(),
        partitions: asked.partitions,
    }
}

const fn sort_by(field: wire::KeyField) -> Result<KeySort, BadField> {
    Ok(match field {
        wire::KeyField::Unspecified => return Err(BadField("sort")),
        wire::KeyField::Id => KeySort::Id,
        wire::KeyField::CreatedAt => KeySort::CreatedAt,
        wire::KeyField::UpdatedAt => KeySort::UpdatedAt,
        wire::KeyField::KeyId => KeySort::KeyId,
        wire::KeyField::Arn => KeySort::Arn,
        wire::KeyField::Region => KeySort::Region,
        wire::KeyField::State => KeySort::State,
        wire::KeyField::Alias => KeySort::Alias,
        wire::KeyField::Enabled => KeySort::Enabled,
        wire::KeyField::CreationDate => KeySort::CreationDate,
        wire::KeyField::Origin => KeySort::Origin,
    })
}

fn to_wire(access: &Access, key: Key) -> wire::Key {
    let container = access.of_account(&key.account);
    let (kms, kms_id) = container.map(|of| (of.name.clone(), of.id.to_string())).unwrap_or_default();
    wire::Key {
        id: key.id.to_string(),
        tenant: access.tenant.to_string(),
        kms,
        kms_id,
        account_id: key.account,
        region: key.region,
        key_id: key.key_id,
        arn: key.arn,
        state: key.state,
        deletion_date_us: key.deletion_date.map(micros),
        metadata: key.metadata.to_string(),
        tags: key.tags,
        aliases: key.aliases,
        gone: key.gone,
        policy_template_id: key.template.map(|id| id.to_string()).unwrap_or_default(),
        created_at_us: micros(key.created_at),
        updated_at_us: micros(key.updated_at),
        synced_at_us: micros(key.synced_at),
    }
}
