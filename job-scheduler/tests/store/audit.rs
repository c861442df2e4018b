//! The audit trail is added to, and nothing else.

use job_scheduler::store::audit::Entry;
use uuid::Uuid;

use super::{World, at};

fn entry(number: u128) -> Entry {
    Entry {
        id: Uuid::from_u128(number),
        at: at(0),
        request_id: number.to_string(),
        tenant: Some("kylo:kylo".to_owned()),
        subject: None,
        username: Some("admin".to_owned()),
        address: "192.0.2.7".to_owned(),
        method: "POST".to_owned(),
        path: "/api/v1/cckm/aws/bulkjob".to_owned(),
        status: 201,
    }
}

#[tokio::test]
async fn an_entry_that_is_sent_twice_is_kept_once() {
    let world = World::new().await;
    world.store.audit_append(vec![entry(1), entry(2)]).await.unwrap();
    world.store.audit_append(vec![entry(2), entry(3)]).await.unwrap();
    let kept: Vec<(String, Option<String>, i16)> =
        sqlx::query_as("SELECT request_id, subject, status FROM audit_log ORDER BY id")
            .fetch_all(&world.pool)
            .await
            .unwrap();
    assert_eq!(kept, ["1", "2", "3"].map(|id| (id.to_owned(), None, 201)));
}

#[tokio::test]
async fn what_was_kept_stays() {
    let world = World::new().await;
    world.store.audit_append(vec![entry(1)]).await.unwrap();
    for statement in ["UPDATE audit_log SET username = 'nobody'", "DELETE FROM audit_log", "TRUNCATE audit_log"] {
        let refused = sqlx::query(statement).execute(&world.pool).await.unwrap_err();
        assert!(refused.to_string().contains("append-only"), "{statement}: {refused}");
    }
}
