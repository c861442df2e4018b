//! ListKeys and GetKey, and what a filter means in the words of the store.

use job_model::{ResourceId, Tenant};
use keyfleet_proto::{convert::BadField, estate::v1 as wire};
use tonic::{Request, Response, Status};

use super::{Service, containers, convert::micros, refused, tenant};
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
        let tenant = tenant(&request.tenant)?;
        let filter = filter(self, &tenant, request.filter.unwrap_or_default());
        let sort: Vec<_> = request
            .sort
            .iter()
            .map(|key| Ok((sort_by(key.field())?, key.descending)))
            .collect::<Result<_, BadField>>()
            .map_err(|error| Status::invalid_argument(error.to_string()))?;
        let limit = request.limit.min(PAGE);
        let store = &self.context.store;
        let (total, keys) = store.key_page(&tenant, &filter, &sort, request.skip, limit).await.map_err(refused)?;
        let keys = keys.into_iter().map(|key| to_wire(self, &tenant, key)).collect();
        Ok(Response::new(wire::ListKeysResponse { total, keys }))
    }

    async fn get_key(&self, request: Request<wire::GetKeyRequest>) -> Result<Response<wire::Key>, Status> {
        self.leader()?;
        let request = request.into_inner();
        let tenant = tenant(&request.tenant)?;
        let id = request.id.parse().map_err(|_| no_such_key())?;
        let key = self.context.store.key_get(&tenant, id).await.map_err(refused)?.ok_or_else(no_such_key)?;
        Ok(Response::new(to_wire(self, &tenant, key)))
    }
}

fn no_such_key() -> Status {
    Status::not_found("there is no key of this id")
}

/// What a message asks for. An id that is none matches nothing.
pub(super) fn filter(service: &Service, tenant: &Tenant, asked: wire::KeyFilter) -> KeyFilter {
    let nothing = ResourceId::from_uuid(uuid::Uuid::nil());
    let ids = asked.ids.iter().map(|id| id.parse().unwrap_or(nothing)).collect();
    let templates = asked
        .policy_template_ids
        .iter()
        .map(|id| id.parse().unwrap_or_else(|_| job_model::ids::TemplateId::from_uuid(uuid::Uuid::nil())))
        .collect();
    let mut accounts = (!asked.kms.is_empty()).then(|| containers::accounts(service, tenant, &asked.kms));
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

fn to_wire(service: &Service, tenant: &Tenant, key: Key) -> wire::Key {
    let (kms, kms_id) = containers::name_and_id(service, tenant, &key.account).unwrap_or_default();
    wire::Key {
        id: key.id.to_string(),
        tenant: tenant.to_string(),
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
