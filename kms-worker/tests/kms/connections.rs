//! Accounts that are reached by connections and assumed roles, against kms-sim's STS.

use std::{collections::HashMap, time::Duration};

use futures_util::future::join_all;
use job_model::{KeyAddress, Request, outcome::Failure, quota::Quotas};
use keyfleet_proto::workers::v1::{PageKind, PageRequest, Reach, Reaches, page_result::Outcome};
use kms_sim::{KeyState, NewKeys, Role, Settings, Sim};
use kms_worker::{kms::Kms, pages};
use service_kit::clock;

use crate::end::{kms, kms_and_sts, permit};

const ONE: &str = "222233334444";
const TWO: &str = "333344445555";
const ROLE_ONE: &str = "arn:aws:iam::222233334444:role/one";
const ROLE_TWO: &str = "arn:aws:iam::333344445555:role/two";
const PATIENCE: Duration = Duration::from_secs(20);

async fn start() -> (Sim, Kms) {
    let sim = Sim::start(Settings::with_quota(Quotas::off())).await.unwrap();
    let kms = kms(&sim.url(), PATIENCE, clock::boottime);
    (sim, kms)
}

fn reach(kms: &Kms, accounts: &[(&str, &str, &str)]) {
    let reach = |(account, connection, role): &(&str, &str, &str)| Reach {
        account: (*account).to_owned(),
        connection: (*connection).to_owned(),
        role_arn: (*role).to_owned(),
        external_id: "ours".to_owned(),
        tenant: "kylo:kylo".to_owned(),
    };
    kms.reach(Reaches { accounts: accounts.iter().map(reach).collect() }.into());
}

fn rule(sim: &Sim, arn: &str, rule: Role) {
    sim.set_roles(HashMap::from([(arn.to_owned(), rule)]));
}

fn make(sim: &Sim, account: &str, count: u64) -> Vec<String> {
    let (state, account) = (Some(KeyState::Disabled), Some(account.to_owned()));
    sim.make_keys(NewKeys { count: Some(count.try_into().unwrap()), state, account, ..NewKeys::default() }).unwrap()
}

async fn enable(kms: &Kms, account: &str, key: &str) -> Result<(), Failure> {
    let address = KeyAddress { account: account.into(), region: "us-east-1".into(), id: key.into() };
    let answer = kms.key(&address).act(&Request::EnableKey, &permit()).await;
    assert_eq!(answer.sent, !matches!(&answer.result, Err(Failure::Refused(_) | Failure::Unsent(_))), "{answer:?}");
    answer.result
}

/// The text of a refusal that KMS has nothing to do with.
fn refused(result: Result<(), Failure>) -> String {
    match result {
        Err(Failure::Refused(refusal)) if refusal.code == "CredentialsError" && refusal.status == 0 => refusal.text,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn two_accounts_are_reached_by_a_role_of_each() {
    let (sim, kms) = start().await;
    reach(&kms, &[("111122223333", "", ""), (ONE, "", ROLE_ONE), (TWO, "", ROLE_TWO)]);
    for account in [ONE, TWO, "111122223333"] {
        let keys = make(&sim, account, 50);
        let all = join_all(keys.iter().map(|key| enable(&kms, account, key))).await;
        assert!(all.iter().all(Result::is_ok), "{all:?}");
    }
    assert_eq!(sim.log(0).iter().filter(|row| row.account == TWO).count(), 50);
    assert_eq!(sim.roles_asked(), [(ROLE_ONE.to_owned(), 1), (ROLE_TWO.to_owned(), 1)].into());
}

#[tokio::test]
async fn a_wrong_external_id_is_refused_once_and_told_for_every_key() {
    let (sim, kms) = start().await;
    rule(&sim, ROLE_ONE, Role { external_id: Some("theirs".to_owned()), ..Role::default() });
    kms.connect_by(&r#"{"hub": {}}"#.parse().unwrap());
    reach(&kms, &[(ONE, "hub", ROLE_ONE), (TWO, "hub", ROLE_TWO)]);
    let keys = make(&sim, ONE, 100);
    for told in join_all(keys.iter().map(|key| enable(&kms, ONE, key))).await {
        let text = refused(told);
        assert!([ROLE_ONE, "\"hub\"", "AccessDenied"].iter().all(|part| text.contains(part)), "{text}");
        assert!(!text.contains("ours"), "{text}");
    }
    assert_eq!(sim.roles_asked()[ROLE_ONE], 1);
    assert!(sim.log(0).is_empty(), "KMS was not asked");
    assert_eq!(enable(&kms, TWO, &make(&sim, TWO, 1)[0]).await, Ok(()), "nobody else is harmed");
    // A synchronization says it of the whole page.
    let (account, region) = (ONE.to_owned(), "us-east-1".to_owned());
    let request =
        PageRequest { page: 1, account, region, kind: PageKind::Keys.into(), marker: String::new(), limit: 9 };
    match pages::read(&kms, &request, permit()).await.outcome {
        Some(Outcome::Refused(refused)) => assert!(refused.text.contains(ROLE_ONE), "{refused:?}"),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn sts_that_throttles_or_is_gone_is_asked_again() {
    let (sim, kms) = start().await;
    rule(&sim, ROLE_ONE, Role { refuse: Some("Throttling".to_owned()), ..Role::default() });
    reach(&kms, &[(ONE, "", ROLE_ONE)]);
    let key = make(&sim, ONE, 1).remove(0);
    match enable(&kms, ONE, &key).await {
        Err(Failure::Unsent(why)) => assert!(why.contains(ROLE_ONE) && why.contains("Throttling"), "{why}"),
        other => panic!("{other:?}"),
    }
    rule(&sim, ROLE_ONE, Role::default());
    tokio::time::timeout(PATIENCE, async {
        while enable(&kms, ONE, &key).await.is_err() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    })
    .await
    .unwrap();

    let nowhere = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let gone = format!("http://{}", nowhere.local_addr().unwrap());
    drop(nowhere);
    let kms = kms_and_sts(&sim.url(), &gone, PATIENCE, clock::boottime);
    reach(&kms, &[(ONE, "", ROLE_ONE)]);
    match enable(&kms, ONE, &key).await {
        Err(Failure::Unsent(why)) => assert!(why.contains(ROLE_ONE), "{why}"),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn credentials_that_end_soon_are_renewed_before_and_no_request_meets_old_ones() {
    let (sim, kms) = start().await;
    rule(&sim, ROLE_ONE, Role { valid_s: Some(4), ..Role::default() });
    reach(&kms, &[(ONE, "", ROLE_ONE)]);
    let keys = make(&sim, ONE, 1);
    tokio::time::timeout(PATIENCE, async {
        while sim.roles_asked().get(ROLE_ONE).is_none_or(|asked| *asked < 3) {
            // kms-sim refuses expired ones.
            assert_eq!(enable(&kms, ONE, &keys[0]).await, Ok(()));
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn static_keys_come_from_variables_and_files() {
    let (sim, kms) = start().await;
    // cargo sets the variables; they are as good as any.
    let ids = [("kms-worker", ONE), ("AKIDTWO", TWO)];
    sim.add_accounts(ids.map(|(id, account)| (id.to_owned(), account.to_owned())).into());
    let file = std::env::temp_dir().join(format!("keyfleet-key-{}", uuid::Uuid::new_v4()));
    std::fs::write(&file, "AKIDTWO\n").unwrap();
    let connections = format!(
        r#"{{"one": {{"access_key_id_env": "CARGO_PKG_NAME", "secret_access_key_env": "CARGO_PKG_VERSION"}},
            "two": {{"access_key_id_file": {file:?}, "secret_access_key_env": "CARGO_PKG_VERSION"}},
            "none": {{"access_key_id_env": "KEYFLEET_NOT_SET", "secret_access_key_env": "CARGO_PKG_VERSION"}}}}"#
    );
    kms.connect_by(&connections.parse().unwrap());
    reach(&kms, &[(ONE, "one", ""), (TWO, "two", ""), ("444455556666", "none", "")]);
    for account in [ONE, TWO] {
        assert_eq!(enable(&kms, account, &make(&sim, account, 1)[0]).await, Ok(()));
    }
    let text = refused(enable(&kms, "444455556666", "key").await);
    assert!(text.contains("\"none\"") && text.contains("KEYFLEET_NOT_SET"), "{text}");
    std::fs::remove_file(&file).unwrap();
}

#[tokio::test]
async fn nobody_is_called_for_an_account_that_is_not_reached() {
    let (sim, kms) = start().await;
    reach(&kms, &[("111122223333", "", ""), (ONE, "nowhere", ""), (TWO, "", ROLE_ONE)]);
    for (account, says) in [
        (ONE, "\"nowhere\""),
        (TWO, "is of the account 222233334444"),
        ("444455556666", "no container reaches the account 444455556666"),
    ] {
        let text = refused(enable(&kms, account, "some-key").await);
        assert!(text.contains(says), "{text}");
    }
    assert!(sim.log(0).is_empty() && sim.roles_asked().is_empty());
}
