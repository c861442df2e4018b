//! The audit trail: rows are added, and nothing else; the table's triggers refuse the rest.

use time::OffsetDateTime;
use uuid::Uuid;

use super::{Error, Store};

/// One call of the API and how it was answered.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Made by the gateway.
    pub id: Uuid,
    /// When it was answered.
    pub at: OffsetDateTime,
    /// The answer's `X-Request-Id`.
    pub request_id: String,
    /// Of the caller, when recognized.
    pub tenant: Option<String>,
    /// The caller, when recognized.
    pub subject: Option<String>,
    /// The caller's name; of a failed login the name that was tried.
    pub username: Option<String>,
    /// Where the connection came from.
    pub address: String,
    /// The HTTP method.
    pub method: String,
    /// Without the query.
    pub path: String,
    /// HTTP status of the answer.
    pub status: i16,
}

impl Store {
    /// Adds entries, all or none; one that is there already stays as it is.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn audit_append(&self, entries: Vec<Entry>) -> Result<(), Error> {
        let mut columns = Columns::default();
        entries.into_iter().for_each(|entry| columns.push(entry));
        sqlx::query!(
            "INSERT INTO audit_log (id, at, request_id, tenant, subject, username, address, method, path, status)
             SELECT * FROM unnest($1::uuid[], $2::timestamptz[], $3::text[], $4::text[], $5::text[], $6::text[],
                 $7::text[], $8::text[], $9::text[], $10::smallint[])
             ON CONFLICT DO NOTHING",
            &columns.ids,
            &columns.at,
            &columns.request_ids,
            &columns.tenants as &[Option<String>],
            &columns.subjects as &[Option<String>],
            &columns.usernames as &[Option<String>],
            &columns.addresses,
            &columns.methods,
            &columns.paths,
            &columns.statuses,
        )
        .execute(&self.pool)
        .await?;
        Ok(())
    }
}

/// The entries by column, as `unnest` takes them.
#[derive(Default)]
struct Columns {
    ids: Vec<Uuid>,
    at: Vec<OffsetDateTime>,
    request_ids: Vec<String>,
    tenants: Vec<Option<String>>,
    subjects: Vec<Option<String>>,
    usernames: Vec<Option<String>>,
    addresses: Vec<String>,
    methods: Vec<String>,
    paths: Vec<String>,
    statuses: Vec<i16>,
}

impl Columns {
    fn push(&mut self, entry: Entry) {
        self.ids.push(entry.id);
        self.at.push(entry.at);
        self.request_ids.push(entry.request_id);
        self.tenants.push(entry.tenant);
        self.subjects.push(entry.subject);
        self.usernames.push(entry.username);
        self.addresses.push(entry.address);
        self.methods.push(entry.method);
        self.paths.push(entry.path);
        self.statuses.push(entry.status);
    }
}
