//! Settings that are missing or wrong, and the `migrate` subcommand.

use dev_stack::scratch::Database;
use sqlx::PgPool;

use super::{LONG, process::command};

/// Nobody is there, and nobody is asked before the settings are known to be right.
const RIGHT: [(&str, &str); 4] = [
    ("DATABASE_URL", "postgres://nobody:secret@127.0.0.1:1/none"),
    ("AMQP_URL", "amqp://nobody:secret@127.0.0.1:1/none"),
    ("GRPC_LISTEN", "127.0.0.1:0"),
    ("AWS_ACCOUNT_ID", "111122223333"),
];

/// Ends with exit code 2 and one sentence that names the setting and tells no secret.
fn refused(name: &str, settings: &[(&str, &str)]) {
    let output = assert_cmd::Command::from_std(command(settings)).timeout(LONG).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{name}: {said}");
    assert_eq!(said.lines().count(), 1, "{name}: {said}");
    assert!(said.contains(name) && said.trim_end().ends_with('.'), "{name}: {said}");
    assert!(!said.contains("secret"), "{name}: {said}");
}

#[test]
fn a_missing_setting_ends_it_with_one_sentence() {
    for (name, _) in RIGHT {
        let others: Vec<_> = RIGHT.into_iter().filter(|(other, _)| *other != name).collect();
        refused(name, &others);
    }
}

#[test]
fn a_wrong_setting_ends_it_with_one_sentence() {
    for (name, value) in [
        ("DATABASE_URL", "http://nobody:secret@host"),
        ("AMQP_URL", "http://nobody:secret@host"),
        ("GRPC_LISTEN", "here"),
        ("AWS_ACCOUNT_ID", "12"),
        ("AWS_REGION", "the moon"),
        ("LEASE", "100ms"),
        ("TERM_OF_LEADERSHIP", "1s"),
        ("OPERATION_TIMEOUT", "soon"),
        ("KEYFLEET_QUOTA", "fast"),
        ("KEYFLEET_QUOTAS_FILE", "/nowhere/quotas.json"),
    ] {
        let mut settings: Vec<_> = RIGHT.into_iter().filter(|(other, _)| *other != name).collect();
        settings.push((name, value));
        refused(name, &settings);
    }
}

#[test]
fn a_port_in_use_ends_it_with_one_sentence() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let mut settings = RIGHT;
    settings[2].1 = &address;
    refused("GRPC_LISTEN", &settings);
}

#[tokio::test]
async fn migrate_needs_only_the_database_and_may_be_repeated() {
    let database = Database::create().unwrap();
    let pool = PgPool::connect_lazy(database.url()).unwrap();
    for _ in 0..2 {
        let output = command(&[("DATABASE_URL", database.url())]).arg("migrate").output().unwrap();
        assert!(output.status.success(), "{output:?}");
        let jobs: i64 = sqlx::query_scalar("SELECT count(*) FROM jobs").fetch_one(&pool).await.unwrap();
        assert_eq!(jobs, 0);
    }
}
