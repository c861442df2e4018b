//! The service `Audit`: what gateways tell of the calls they answered. Every replica answers, leading or not.

use keyfleet_proto::audit::v1::{self as wire, audit_server::Audit};
use time::OffsetDateTime;
use tonic::{Request, Response, Status};
use uuid::Uuid;

use super::{Service, refused};
use crate::store::audit::Entry;

/// Entries taken at once, at the most.
const MOST: usize = 1_000;
/// The longest text of an entry that is kept, in bytes.
const LONGEST: usize = 1_024;

#[tonic::async_trait]
impl Audit for Service {
    async fn append_entries(
        &self,
        request: Request<wire::AppendEntriesRequest>,
    ) -> Result<Response<wire::AppendEntriesResponse>, Status> {
        let entries = request.into_inner().entries;
        if entries.len() > MOST {
            return Err(Status::invalid_argument(format!("entries: there are more than {MOST}")));
        }
        let entries = entries.into_iter().map(entry).collect::<Result<Vec<_>, _>>()?;
        let count = entries.len() as u64;
        self.context.store.audit_append(entries).await.map_err(refused)?;
        metrics::counter!("keyfleet_audit_entries_total").increment(count);
        Ok(Response::new(wire::AppendEntriesResponse {}))
    }
}

fn entry(entry: wire::Entry) -> Result<Entry, Status> {
    let given = |text: String| (!text.is_empty()).then(|| clean(text));
    Ok(Entry {
        id: Uuid::from_slice(&entry.id).map_err(|_| Status::invalid_argument("entries.id: is no UUID"))?,
        at: OffsetDateTime::from_unix_timestamp_nanos(i128::from(entry.at_us) * 1_000)
            .map_err(|_| Status::invalid_argument("entries.at_us: is no time"))?,
        request_id: clean(entry.request_id),
        tenant: given(entry.tenant),
        subject: given(entry.subject),
        username: given(entry.username),
        address: clean(entry.address),
        method: clean(entry.method),
        path: clean(entry.path),
        status: i16::try_from(entry.status).map_err(|_| Status::invalid_argument("entries.status: is no status"))?,
    })
}

/// What anybody can send who tries a login is cut to what Postgres takes and a reader can stand.
fn clean(text: String) -> String {
    if text.len() <= LONGEST && !text.contains('\0') {
        return text;
    }
    let end = text.floor_char_boundary(LONGEST);
    text[..end].replace('\0', "\u{fffd}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_or_unfit_text_is_cut_and_any_other_stays() {
        assert_eq!(clean("plain".to_owned()), "plain");
        assert_eq!(clean("a\0b".to_owned()), "a\u{fffd}b");
        assert_eq!(clean("ü".repeat(LONGEST)).len(), LONGEST);
    }
}
