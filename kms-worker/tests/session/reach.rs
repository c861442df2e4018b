//! How accounts are reached changes while a worker runs: by what the leader says, and by the file of connections.

use std::path::PathBuf;

use job_model::{KeyAddress, Request};
use keyfleet_proto::{
    convert,
    workers::v1::{FromLeader, Reach, Reaches, report::Outcome},
};
use kms_sim::KeyState;
use uuid::Uuid;

use crate::{
    leader::{Session, with_go, within},
    setup::{Setup, task},
};

const OURS: &str = "111122223333";
const THEIRS: &str = "222233334444";
const ROLE: &str = "arn:aws:iam::222233334444:role/keyfleet";

/// Accounts, each by a connection and a role.
fn reaches(accounts: &[(&str, &str, &str)]) -> Option<Reaches> {
    let reach = |(account, connection, role): &(&str, &str, &str)| Reach {
        account: (*account).to_owned(),
        connection: (*connection).to_owned(),
        role_arn: (*role).to_owned(),
        external_id: String::new(),
        tenant: "kylo:kylo".to_owned(),
    };
    Some(Reaches { accounts: accounts.iter().map(reach).collect() })
}

/// Tries one key of the account, and tells how that ended: `ok`, or the refusal. The reaches come in the Go's own frame.
async fn tried(setup: &Setup, session: &mut Session, number: u64, account: &str, reaches: Option<Reaches>) -> String {
    let key = setup.key_of(account, KeyState::Disabled);
    let address = KeyAddress { account: account.into(), region: "us-east-1".into(), id: key.as_str().into() };
    let task = task(number.into(), 0);
    let frame = with_go(number, task, &address, convert::spec(task.job, &Request::EnableKey, false, false));
    session.say(FromLeader { reaches, ..frame }).await;
    let report = session.report().await;
    session.acknowledge(&report, true).await;
    match report.outcome {
        Some(Outcome::Succeeded(_)) => {
            let row = setup.sim.log(0).into_iter().find(|row| row.key.as_deref() == Some(key.as_str())).unwrap();
            assert_eq!(row.account, account);
            "ok".to_owned()
        }
        Some(Outcome::Refused(refused)) => {
            assert!(setup.made(&key).is_empty(), "nobody was called");
            format!("{}: {}", refused.code, refused.text)
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn the_leader_s_last_word_counts_also_for_gos_of_its_own_frame() {
    let mut setup = Setup::new().await;
    let mut session = setup.leader.leased().await;
    let unreached = "CredentialsError: no container reaches the account";
    assert_eq!(tried(&setup, &mut session, 1, OURS, None).await, "ok", "one account, the standard chain");
    let ours = reaches(&[(OURS, "", "")]);
    assert_eq!(tried(&setup, &mut session, 2, OURS, ours).await, "ok");
    let told = tried(&setup, &mut session, 3, THEIRS, None).await;
    assert!(told.starts_with(unreached) && told.ends_with(THEIRS), "{told}");
    let both = reaches(&[(OURS, "", ""), (THEIRS, "", ROLE)]);
    assert_eq!(tried(&setup, &mut session, 4, THEIRS, both).await, "ok");
    assert_eq!(tried(&setup, &mut session, 5, OURS, None).await, "ok");
    drop(session);

    // Another leader, which has said nothing yet.
    let mut session = setup.leader.leased().await;
    assert_eq!(tried(&setup, &mut session, 6, THEIRS, None).await, "ok");
    let told = tried(&setup, &mut session, 7, OURS, reaches(&[(THEIRS, "", ROLE)])).await;
    assert!(told.starts_with(unreached) && told.ends_with(OURS), "{told}");
    session.heard().await;
    setup.stop().await;
    assert_eq!(setup.sim.roles_asked()[ROLE], 1);
}

/// A file that is removed with the test.
struct File(PathBuf);

impl Drop for File {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

#[tokio::test]
async fn a_connection_is_known_soon_after_it_was_written() {
    let file = File(std::env::temp_dir().join(format!("keyfleet-connections-{}.json", Uuid::new_v4())));
    std::fs::write(&file.0, "{}").unwrap();
    let mut setup = Setup::with_connections(file.0.to_str().unwrap()).await;
    let mut session = setup.leader.leased().await;
    let told = tried(&setup, &mut session, 1, THEIRS, reaches(&[(THEIRS, "hub", "")])).await;
    assert!(told.starts_with("CredentialsError: ") && told.contains("\"hub\""), "{told}");
    std::fs::write(&file.0, format!(r#"{{"hub": {{"role_arn": "{ROLE}"}}}}"#)).unwrap();
    within("the connection", async {
        for number in 2.. {
            if tried(&setup, &mut session, number, THEIRS, None).await == "ok" {
                break;
            }
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    })
    .await;
    session.heard().await;
    setup.stop().await;
}
