//! Sessions of local users, and which of them were revoked.
//!
//! Nothing here is guarded by the leadership: each call is one statement, and any replica may run it. A session is in
//! one of two tables at a time; the statement that takes it out of the one puts it into the other.

use job_model::Tenant;
use time::OffsetDateTime;
use uuid::Uuid;

use super::{Error, Store};

/// Rows removed at once.
const BATCH: i64 = 5_000;

/// A session whose refresh token can be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    /// Its id.
    pub id: Uuid,
    /// SHA-256 of the refresh token.
    pub token_digest: Vec<u8>,
    /// Of the user.
    pub tenant: Tenant,
    /// The user, `local|<id>`.
    pub subject: String,
    /// Changes with the user's password.
    pub password_mark: Vec<u8>,
    /// When the user logged in.
    pub created_at: OffsetDateTime,
    /// When the refresh token ends.
    pub expires_at: OffsetDateTime,
}

/// Which session is to be revoked.
#[derive(Clone, Debug)]
pub enum Revoke {
    /// That of this refresh token.
    Token(Vec<u8>),
    /// This one, if it is of the tenant and, when given, of the subject.
    Of(Uuid, Tenant, Option<String>),
    /// This one, whether its refresh token is kept or not.
    Own(Uuid),
}

impl Store {
    /// Keeps sessions, all or none; one that is kept already stays as it is.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn sessions_insert(&self, sessions: &[Session]) -> Result<(), Error> {
        let ids: Vec<Uuid> = sessions.iter().map(|session| session.id).collect();
        let digests: Vec<Vec<u8>> = sessions.iter().map(|session| session.token_digest.clone()).collect();
        let tenants: Vec<String> = sessions.iter().map(|session| session.tenant.to_string()).collect();
        let subjects: Vec<String> = sessions.iter().map(|session| session.subject.clone()).collect();
        let marks: Vec<Vec<u8>> = sessions.iter().map(|session| session.password_mark.clone()).collect();
        let created: Vec<OffsetDateTime> = sessions.iter().map(|session| session.created_at).collect();
        let expires: Vec<OffsetDateTime> = sessions.iter().map(|session| session.expires_at).collect();
        sqlx::query!(
            "INSERT INTO sessions (id, token_digest, tenant, subject, password_mark, created_at, expires_at)
             SELECT * FROM unnest($1::uuid[], $2::bytea[], $3::text[], $4::text[], $5::bytea[],
                 $6::timestamptz[], $7::timestamptz[])
             ON CONFLICT DO NOTHING",
            &ids,
            &digests,
            &tenants,
            &subjects,
            &marks,
            &created,
            &expires,
        )
        .execute(&self.pool)
        .await?;
        Ok(())
    }

    /// The session of this refresh token, unless it has ended by now or was revoked.
    ///
    /// # Errors
    /// [`Error::Database`], [`Error::Inconsistent`].
    pub async fn session_find(&self, token_digest: &[u8], now: OffsetDateTime) -> Result<Option<Session>, Error> {
        let row = sqlx::query!(
            "SELECT id, token_digest, tenant, subject, password_mark, created_at, expires_at FROM sessions
             WHERE token_digest = $1 AND expires_at > $2",
            token_digest,
            now,
        )
        .fetch_optional(&self.pool)
        .await?;
        row.map(|row| {
            let wrong = |_| Error::Inconsistent { table: "sessions", column: "tenant", row: row.id.to_string() };
            Ok(Session {
                id: row.id,
                token_digest: row.token_digest,
                tenant: row.tenant.parse().map_err(wrong)?,
                subject: row.subject,
                password_mark: row.password_mark,
                created_at: row.created_at,
                expires_at: row.expires_at,
            })
        })
        .transpose()
    }

    /// Revokes a session: its refresh token is forgotten, its id remembered. Answers the id; `None` when there is no
    /// such session.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn session_revoke(&self, which: &Revoke, now: OffsetDateTime) -> Result<Option<Uuid>, Error> {
        let (digest, id, tenant, subject, own) = match which {
            Revoke::Token(digest) => (Some(digest.as_slice()), None, None, None, false),
            Revoke::Of(id, tenant, subject) => (None, Some(*id), Some(tenant.as_str()), subject.as_deref(), false),
            Revoke::Own(id) => (None, Some(*id), None, None, true),
        };
        Ok(sqlx::query_scalar!(
            r#"WITH ended AS (
                 DELETE FROM sessions
                 WHERE (token_digest = $1 OR id = $2)
                   AND ($3::text IS NULL OR tenant = $3) AND ($4::text IS NULL OR subject = $4)
                 RETURNING id
             ), remembered AS (
                 INSERT INTO revoked_sessions (id, revoked_at)
                 SELECT id, $6 FROM (SELECT id FROM ended UNION SELECT $2 WHERE $5) AS revoked (id)
                 ON CONFLICT DO NOTHING
             )
             SELECT id AS "id!" FROM (SELECT id FROM ended UNION SELECT $2 WHERE $5) AS revoked (id)"#,
            digest,
            id,
            tenant,
            subject,
            own,
            now,
        )
        .fetch_optional(&self.pool)
        .await?)
    }

    /// The sessions revoked after this moment, oldest first.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn revocations_after(
        &self,
        after: OffsetDateTime,
        limit: u32,
    ) -> Result<Vec<(Uuid, OffsetDateTime)>, Error> {
        let rows = sqlx::query!(
            "SELECT id, revoked_at FROM revoked_sessions WHERE revoked_at > $1 ORDER BY revoked_at LIMIT $2",
            after,
            i64::from(limit),
        )
        .fetch_all(&self.pool)
        .await?;
        Ok(rows.into_iter().map(|row| (row.id, row.revoked_at)).collect())
    }

    /// Removes one batch of sessions that had ended at `ended`, and of revocations from before `revoked`; answers
    /// whether there may be more.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn sessions_remove_batch(&self, ended: OffsetDateTime, revoked: OffsetDateTime) -> Result<bool, Error> {
        let sessions = sqlx::query!(
            "DELETE FROM sessions WHERE id IN
                 (SELECT id FROM sessions WHERE expires_at <= $1 ORDER BY expires_at LIMIT $2)",
            ended,
            BATCH
        )
        .execute(&self.pool)
        .await?;
        let revocations = sqlx::query!(
            "DELETE FROM revoked_sessions WHERE id IN
                 (SELECT id FROM revoked_sessions WHERE revoked_at < $1 ORDER BY revoked_at LIMIT $2)",
            revoked,
            BATCH
        )
        .execute(&self.pool)
        .await?;
        let most = sessions.rows_affected().max(revocations.rows_affected());
        Ok(i64::try_from(most).unwrap_or(BATCH) >= BATCH)
    }
}
