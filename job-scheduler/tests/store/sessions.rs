//! Sessions are found until they end or are revoked, by nobody else's word.

use job_model::Tenant;
use job_scheduler::store::sessions::{Revoke, Session};
use time::{Duration, OffsetDateTime};
use uuid::Uuid;

use super::{World, at, kylo};

fn acme() -> Tenant {
    "acme:ops".parse().unwrap()
}

fn digest(number: u8) -> Vec<u8> {
    vec![number; 32]
}

fn session(number: u8, tenant: Tenant, expires_at: OffsetDateTime) -> Session {
    Session {
        id: Uuid::from_u128(number.into()),
        token_digest: digest(number),
        tenant,
        subject: format!("local|{number}"),
        password_mark: vec![1, 2, 3],
        created_at: at(0),
        expires_at,
    }
}

impl World {
    async fn open(&self, sessions: &[Session]) {
        self.store.sessions_insert(sessions).await.unwrap();
    }

    async fn finds(&self, number: u8, now: OffsetDateTime) -> bool {
        self.store.session_find(&digest(number), now).await.unwrap().is_some()
    }

    async fn revoke(&self, which: Revoke, now: OffsetDateTime) -> Option<Uuid> {
        self.store.session_revoke(&which, now).await.unwrap()
    }

    async fn revoked(&self, after: OffsetDateTime) -> Vec<Uuid> {
        self.store.revocations_after(after, 100).await.unwrap().into_iter().map(|(id, _)| id).collect()
    }
}

#[tokio::test]
async fn a_session_is_found_by_its_token_until_it_ends() {
    let world = World::new().await;
    let kept = session(1, kylo(), at(10));
    world.open(&[kept.clone(), session(2, acme(), at(20))]).await;
    // Repeated by a gateway that got no answer, with another one beside it.
    world.open(&[kept.clone(), session(3, kylo(), at(10))]).await;
    assert_eq!(world.store.session_find(&digest(1), at(9)).await.unwrap(), Some(kept));
    assert!(world.finds(3, at(9)).await);
    assert!(!world.finds(1, at(10)).await);
    assert!(world.finds(2, at(10)).await);
    assert!(!world.finds(4, at(0)).await);
}

#[tokio::test]
async fn a_revoked_session_is_forgotten_and_listed() {
    let world = World::new().await;
    world.open(&[session(1, kylo(), at(100)), session(2, kylo(), at(100))]).await;
    assert_eq!(world.revoke(Revoke::Token(digest(1)), at(5)).await, Some(Uuid::from_u128(1)));
    assert_eq!(world.revoke(Revoke::Token(digest(1)), at(6)).await, None);
    assert!(!world.finds(1, at(7)).await);
    assert!(world.finds(2, at(7)).await);
    assert_eq!(world.revoked(at(4)).await, [Uuid::from_u128(1)]);
    assert!(world.revoked(at(5)).await.is_empty());
}

#[tokio::test]
async fn nobody_revokes_a_session_of_others_by_its_id() {
    let world = World::new().await;
    world.open(&[session(1, kylo(), at(100)), session(2, kylo(), at(100))]).await;
    let of = |number: u8, tenant, subject: Option<&str>| {
        Revoke::Of(Uuid::from_u128(number.into()), tenant, subject.map(str::to_owned))
    };
    for which in
        [of(1, acme(), None), of(1, acme(), Some("local|1")), of(1, kylo(), Some("local|2")), of(9, kylo(), None)]
    {
        assert_eq!(world.revoke(which.clone(), at(1)).await, None, "{which:?}");
    }
    assert!(world.finds(1, at(2)).await);
    assert!(world.revoked(at(0)).await.is_empty());
    assert!(world.revoke(of(1, kylo(), Some("local|1")), at(3)).await.is_some());
    assert!(world.revoke(of(2, kylo(), None), at(3)).await.is_some());
    assert_eq!(world.count("SELECT count(*) FROM sessions").await, 0);
}

#[tokio::test]
async fn the_caller_s_own_session_is_revoked_whether_it_is_kept_or_not() {
    let world = World::new().await;
    world.open(&[session(1, kylo(), at(100))]).await;
    for number in [1, 2] {
        let id = Uuid::from_u128(number);
        for _ in 0..2 {
            assert_eq!(world.revoke(Revoke::Own(id), at(1)).await, Some(id));
        }
    }
    assert_eq!(world.count("SELECT count(*) FROM sessions").await, 0);
    assert_eq!(world.count("SELECT count(*) FROM revoked_sessions").await, 2);
}

#[tokio::test]
async fn what_has_ended_is_removed_and_nothing_else() {
    let world = World::new().await;
    world.open(&[session(1, kylo(), at(10)), session(2, kylo(), at(11)), session(3, kylo(), at(100))]).await;
    world.open(&[session(4, kylo(), at(100))]).await;
    world.revoke(Revoke::Token(digest(3)), at(3)).await;
    world.revoke(Revoke::Token(digest(4)), at(5)).await;
    assert!(!world.store.sessions_remove_batch(at(10), at(5)).await.unwrap());
    assert_eq!(world.count("SELECT count(*) FROM sessions").await, 1);
    assert!(world.finds(2, at(0)).await);
    assert_eq!(world.revoked(at(0)).await, [Uuid::from_u128(4)]);
}

#[tokio::test]
async fn many_are_removed_in_batches() {
    let world = World::new().await;
    let many = |number: u128| Session {
        id: Uuid::from_u128(number),
        token_digest: number.to_be_bytes().repeat(2),
        ..session(0, kylo(), at(1) + Duration::microseconds(i64::try_from(number).unwrap()))
    };
    for from in (0..6_000).step_by(1_000) {
        world.open(&(from..from + 1_000).map(many).collect::<Vec<_>>()).await;
    }
    assert!(world.store.sessions_remove_batch(at(60), at(0)).await.unwrap());
    assert_eq!(world.count("SELECT count(*) FROM sessions").await, 1_000);
    assert!(!world.store.sessions_remove_batch(at(60), at(0)).await.unwrap());
    assert_eq!(world.count("SELECT count(*) FROM sessions").await, 0);
}
