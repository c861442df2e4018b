//! Sessions: every replica answers, whoever leads, and says what is wrong with a question.

use keyfleet_proto::auth::v1::{
    FindSessionRequest, ListRevocationsRequest, OpenSessionsRequest, RevokeSessionRequest, Session, SessionOf,
    revoke_session_request::Which, sessions_client::SessionsClient,
};
use tonic::{Code, transport::Channel};

use super::site::{CALM, STRANGER, Site, TENANT};

/// Later than any run of this test.
const FAR_US: i64 = 4_000_000_000_000_000;

fn session(number: u8) -> Session {
    Session {
        id: vec![number; 16].into(),
        token_digest: vec![number; 32].into(),
        tenant: TENANT.to_owned(),
        subject: "local|a".to_owned(),
        password_mark: vec![7].into(),
        created_at_us: 1,
        expires_at_us: FAR_US,
    }
}

fn open(session: Session) -> OpenSessionsRequest {
    OpenSessionsRequest { sessions: vec![session] }
}

fn find(number: u8) -> FindSessionRequest {
    FindSessionRequest { token_digest: vec![number; 32].into() }
}

fn revoke(which: Which) -> RevokeSessionRequest {
    RevokeSessionRequest { which: Some(which) }
}

async fn of(site: &Site, scheduler: usize) -> SessionsClient<Channel> {
    SessionsClient::connect(site.schedulers[scheduler].url.clone()).await.unwrap()
}

#[tokio::test]
async fn leader_and_standby_answer_alike() {
    let site = Site::of(2, &CALM).await;
    let [mut leader, mut standby] = [of(&site, 0).await, of(&site, 1).await];
    standby.open_sessions(open(session(1))).await.unwrap();
    let found = leader.find_session(find(1)).await.unwrap().into_inner();
    assert_eq!(found, session(1));
    assert_eq!(standby.find_session(find(1)).await.unwrap().into_inner(), found);

    let by_id = |tenant: &str| {
        let (tenant, subject) = (tenant.to_owned(), String::new());
        revoke(Which::Session(SessionOf { id: session(1).id, tenant, subject, own: false }))
    };
    let strangers = leader.revoke_session(by_id(STRANGER)).await.unwrap_err();
    assert_eq!(strangers.code(), Code::NotFound);
    let revoked = leader.revoke_session(by_id(TENANT)).await.unwrap().into_inner();
    assert_eq!(revoked.id, session(1).id);
    assert_eq!(standby.find_session(find(1)).await.unwrap_err().code(), Code::NotFound);
    let listed = standby.list_revocations(ListRevocationsRequest { after_us: 0 }).await.unwrap().into_inner();
    assert_eq!(listed.revocations.len(), 1);
    assert_eq!(listed.revocations[0].session_id, session(1).id);
    let after_us = listed.revocations[0].revoked_at_us;
    let later = standby.list_revocations(ListRevocationsRequest { after_us }).await.unwrap().into_inner();
    assert!(later.revocations.is_empty());
}

#[tokio::test]
async fn a_question_that_makes_no_sense_is_refused() {
    let site = Site::with(&CALM).await;
    let mut client = of(&site, 0).await;
    for (bad, field) in [
        (Session { id: vec![1; 15].into(), ..session(1) }, "id"),
        (Session { token_digest: vec![].into(), ..session(1) }, "token_digest"),
        (Session { tenant: "kylo".to_owned(), ..session(1) }, "tenant"),
        (Session { subject: String::new(), ..session(1) }, "subject"),
        (Session { subject: "a\0".to_owned(), ..session(1) }, "subject"),
        (Session { password_mark: vec![0; 1_000].into(), ..session(1) }, "password_mark"),
        (Session { expires_at_us: i64::MAX, ..session(1) }, "expires_at_us"),
    ] {
        let refused = client.open_sessions(open(bad)).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument);
        assert!(refused.message().starts_with(&format!("{field}: ")), "{refused:?}");
    }
    let many = OpenSessionsRequest { sessions: vec![session(1); 1_001] };
    assert_eq!(client.open_sessions(many).await.unwrap_err().code(), Code::InvalidArgument);
    let nothing = client.revoke_session(RevokeSessionRequest { which: None }).await.unwrap_err();
    assert_eq!(nothing.code(), Code::InvalidArgument);
    let short = client.find_session(FindSessionRequest { token_digest: vec![1].into() }).await.unwrap_err();
    assert_eq!(short.code(), Code::InvalidArgument);
    let far = client.list_revocations(ListRevocationsRequest { after_us: i64::MIN }).await.unwrap_err();
    assert_eq!(far.code(), Code::InvalidArgument);
}
