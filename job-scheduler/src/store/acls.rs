//! Who may do what with the keys of containers. The default container, which has no row, has rows here too.

use std::collections::HashMap;

use job_model::ContainerId;
use sqlx::PgConnection;
use time::OffsetDateTime;

use super::{Error, Store, containers::Changed, guard};
use crate::containers::{Acl, DEFAULT_ID, Who};

/// Actions given or taken away.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AclChange {
    /// Whose.
    pub who: Who,
    /// Given; else taken away.
    pub permit: bool,
    /// Their words.
    pub actions: Vec<String>,
}

/// A kind's word and a name, as columns.
fn columns(who: &Who) -> (&'static str, &str) {
    match who {
        Who::User(name) => ("user", name),
        Who::Group(name) => ("group", name),
    }
}

impl Store {
    /// Who may do what, by container; the default one's too.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn acls_all(&self) -> Result<HashMap<ContainerId, Vec<Acl>>, Error> {
        let rows = sqlx::query!(
            "SELECT container_id, kind, who, actions FROM container_acls ORDER BY container_id, kind DESC, who"
        )
        .fetch_all(&self.pool)
        .await?;
        let mut all: HashMap<ContainerId, Vec<Acl>> = HashMap::new();
        for row in rows {
            let who = if row.kind == "user" { Who::User(row.who) } else { Who::Group(row.who) };
            let acl = Acl { who, actions: row.actions };
            all.entry(ContainerId::from_uuid(row.container_id)).or_default().push(acl);
        }
        Ok(all)
    }

    /// Gives and takes away, in order and together.
    ///
    /// # Errors
    /// [`Error::LostLeadership`], [`Error::Database`].
    pub async fn acls_change(
        &self,
        epoch: u32,
        id: ContainerId,
        changes: &[AclChange],
        now: OffsetDateTime,
    ) -> Result<Changed, Error> {
        let mut tx = self.begin().await?;
        guard(&mut tx, epoch).await?;
        // The row is held, so that changes of one container come one after the other, and none after its end.
        let known = sqlx::query!("UPDATE containers SET updated_at = $2 WHERE id = $1", id.as_uuid(), now)
            .execute(&mut *tx)
            .await?
            .rows_affected();
        if known == 0 && id != DEFAULT_ID {
            return Ok(Changed::Unknown);
        }
        for change in changes {
            if change.permit {
                permit(&mut tx, id, change).await?;
            } else {
                forbid(&mut tx, id, change).await?;
            }
        }
        tx.commit().await?;
        Ok(Changed::Done)
    }
}

async fn permit(connection: &mut PgConnection, id: ContainerId, change: &AclChange) -> Result<(), Error> {
    let (kind, who) = columns(&change.who);
    sqlx::query!(
        r#"INSERT INTO container_acls AS a (container_id, kind, who, actions)
           SELECT $1, $2, $3, array_agg(DISTINCT word COLLATE "C" ORDER BY word COLLATE "C") FROM unnest($4::text[]) AS w (word)
           HAVING count(*) > 0
           ON CONFLICT (container_id, kind, who) DO UPDATE
           SET actions = (SELECT array_agg(DISTINCT word COLLATE "C" ORDER BY word COLLATE "C")
                          FROM unnest(a.actions || excluded.actions) AS w (word))"#,
        id.as_uuid(),
        kind,
        who,
        &change.actions,
    )
    .execute(connection)
    .await?;
    Ok(())
}

async fn forbid(connection: &mut PgConnection, id: ContainerId, change: &AclChange) -> Result<(), Error> {
    let (kind, who) = columns(&change.who);
    sqlx::query!(
        "DELETE FROM container_acls WHERE container_id = $1 AND kind = $2 AND who = $3 AND actions <@ $4::text[]",
        id.as_uuid(),
        kind,
        who,
        &change.actions,
    )
    .execute(&mut *connection)
    .await?;
    sqlx::query!(
        r#"UPDATE container_acls
           SET actions = ARRAY(SELECT word FROM unnest(actions) AS w (word) WHERE word <> ALL($4::text[])
                               ORDER BY word COLLATE "C")
           WHERE container_id = $1 AND kind = $2 AND who = $3"#,
        id.as_uuid(),
        kind,
        who,
        &change.actions,
    )
    .execute(connection)
    .await?;
    Ok(())
}
