use super::*;

const ACCOUNT: &str = "111122223333";

fn tenant(name: &str) -> Tenant {
    format!("{name}:{name}").parse().unwrap()
}

fn created(number: u128, of: &str, name: &str, account: &str, regions: &[&str]) -> Container {
    Container {
        id: ContainerId::from_uuid(Uuid::from_u128(number)),
        name: name.to_owned(),
        regions: regions.iter().map(|region| (*region).to_owned()).collect(),
        connection: name.to_owned(),
        ..Container::default_of(tenant(of), account.to_owned(), String::new())
    }
}

fn estate(containers: Vec<Container>) -> Estate {
    Estate::new(Container::default_of(tenant("kylo"), ACCOUNT.to_owned(), "us-east-1".to_owned()), containers)
}

/// `<container>: <account>/<region>`, or the status text.
fn placed(estate: &Estate, of: &str, text: &str) -> String {
    match estate.place(&tenant(of), text) {
        Ok((place, container)) => format!("{}: {}/{}", container.name, place.account, place.region),
        Err(detail) => detail,
    }
}

fn arn(account: &str, region: &str) -> String {
    format!("arn:aws:kms:{region}:{account}:key/1234")
}

#[test]
fn the_default_ids_text_is_agreed() {
    assert_eq!(DEFAULT_ID.to_string(), "00000000-0000-4000-8000-000000000000");
}

#[test]
fn a_key_lives_where_its_text_says() {
    let estate = estate(vec![
        created(1, "kylo", "eu-prod", "222233334444", &["eu-west-1", "eu-central-1"]),
        created(2, "acme", "theirs", "333344445555", &["eu-west-1"]),
    ]);
    let nobodys = |account: &str| format!("NotFoundException: no container for account {account}");
    for (of, text, expected) in [
        ("kylo", "1234".to_owned(), format!("default: {ACCOUNT}/us-east-1")),
        ("kylo", arn(ACCOUNT, "ap-east-1"), format!("default: {ACCOUNT}/ap-east-1")),
        ("kylo", arn("222233334444", "eu-west-1"), "eu-prod: 222233334444/eu-west-1".to_owned()),
        ("kylo", arn("222233334444", "eu-central-1"), "eu-prod: 222233334444/eu-central-1".to_owned()),
        (
            "kylo",
            arn("222233334444", "us-east-1"),
            "NotFoundException: container eu-prod has no Region us-east-1".to_owned(),
        ),
        ("kylo", arn("333344445555", "eu-west-1"), nobodys("333344445555")),
        ("kylo", arn("999922223333", "eu-west-1"), nobodys("999922223333")),
        ("kylo", "alias/prod".to_owned(), "NotFoundException: Key 'alias/prod' does not exist".to_owned()),
        ("acme", "1234".to_owned(), "NotFoundException: Key '1234' does not exist".to_owned()),
        ("acme", arn(ACCOUNT, "us-east-1"), nobodys(ACCOUNT)),
        ("acme", arn("222233334444", "eu-west-1"), nobodys("222233334444")),
        ("acme", arn("333344445555", "eu-west-1"), "theirs: 333344445555/eu-west-1".to_owned()),
    ] {
        assert_eq!(placed(&estate, of, &text), expected, "{of} {text}");
    }
}

#[test]
fn a_created_one_takes_the_defaults_account_over_and_leaves_it_the_bare_ids() {
    let estate = estate(vec![created(1, "kylo", "prod", ACCOUNT, &["eu-west-1"])]);
    assert_eq!(placed(&estate, "kylo", "1234"), format!("default: {ACCOUNT}/us-east-1"));
    assert_eq!(placed(&estate, "kylo", &arn(ACCOUNT, "eu-west-1")), format!("prod: {ACCOUNT}/eu-west-1"));
    assert_eq!(
        placed(&estate, "kylo", &arn(ACCOUNT, "us-east-1")),
        "NotFoundException: container prod has no Region us-east-1"
    );
    assert!(!estate.owns_its_account(estate.default_one()));
    let ways: Vec<_> = estate.reaches().into_iter().map(|reach| (reach.account, reach.connection)).collect();
    assert_eq!(ways, [(ACCOUNT.to_owned(), "prod".to_owned())]);
}

#[test]
fn all_accounts_are_reached_the_defaults_first() {
    let estate = estate(vec![
        created(1, "acme", "one", "000022223333", &["eu-west-1"]),
        Container { archived: true, ..created(2, "kylo", "two", "222233334444", &["eu-west-1"]) },
    ]);
    let ways: Vec<_> = estate.reaches().into_iter().map(|reach| (reach.account, reach.connection)).collect();
    let expected = [(ACCOUNT, ""), ("000022223333", "one"), ("222233334444", "two")];
    assert_eq!(ways, expected.map(|(account, connection)| (account.to_owned(), connection.to_owned())));
}

/// Whatever containers there are: a key is placed into one container of the tenant at the most, and that is the one its
/// account belongs to, or the default one.
#[test]
fn nobody_is_given_a_key_of_another_tenants_container() {
    let names = ["kylo", "acme", "other"];
    let accounts = [ACCOUNT, "222233334444", "333344445555"];
    let regions = ["us-east-1", "eu-west-1"];
    // Each account has no container, or one of any tenant with any of the Regions.
    let choices = 1 + names.len() * regions.len();
    for world in 0..choices.pow(3) {
        let mut containers = Vec::new();
        for (number, account) in (0..).zip(accounts) {
            let choice = world / choices.pow(number) % choices;
            if let Some(choice) = choice.checked_sub(1) {
                let (of, region) = (names[choice / regions.len()], regions[choice % regions.len()]);
                containers.push(created(number.into(), of, &format!("c{number}"), account, &[region]));
            }
        }
        let estate = estate(containers);
        for of in names {
            for (account, region) in accounts.iter().flat_map(|account| regions.map(|region| (*account, region))) {
                for text in ["1234".to_owned(), arn(account, region)] {
                    let Ok((place, container)) = estate.place(&tenant(of), &text) else { continue };
                    assert_eq!(container.tenant, tenant(of), "{world} {of} {text}");
                    assert_eq!(container.account, place.account, "{world} {of} {text}");
                    assert!(container.has_region(&place.region), "{world} {of} {text}");
                    assert!(container.is_default() || estate.owns_its_account(container), "{world} {of} {text}");
                }
            }
        }
    }
}

#[test]
fn a_container_is_named_by_id_before_name() {
    let id = ContainerId::from_uuid(Uuid::from_u128(1)).to_string();
    let estate = estate(vec![
        created(1, "kylo", "one", "222233334444", &["eu-west-1"]),
        created(2, "kylo", &id, "333344445555", &["eu-west-1"]),
        created(3, "acme", "three", "444455556666", &["eu-west-1"]),
    ]);
    let named = |of: &str, text: &str| estate.named(&tenant(of), text).map(|found| found.account.as_str());
    for (of, text, account) in [
        ("kylo", "default", Some(ACCOUNT)),
        ("kylo", "00000000-0000-4000-8000-000000000000", Some(ACCOUNT)),
        ("kylo", "one", Some("222233334444")),
        ("kylo", &id, Some("222233334444")),
        ("kylo", "three", None),
        ("acme", "three", Some("444455556666")),
        ("acme", "default", None),
        ("acme", &id, None),
    ] {
        assert_eq!(named(of, text), account, "{of} {text}");
    }
}

#[test]
fn a_user_is_the_same_however_it_is_written() {
    let uuid = "6c9f2e0a-6f55-4d0c-9d7e-0f8a4c1b2d3e";
    let local = Who::User(format!("local|{uuid}"));
    for text in [uuid.to_owned(), format!("local|{uuid}"), format!("user::local|{uuid}"), format!("user::{uuid}")] {
        assert_eq!(Who::user(&text), local, "{text}");
    }
    for (text, user) in
        [("okta|alice", "okta|alice"), ("user::okta|alice", "okta|alice"), ("local|bob", "local|bob"), ("bob", "bob")]
    {
        assert_eq!(Who::user(text), Who::User(user.to_owned()));
    }
    assert_ne!(Who::user(&format!("okta|{uuid}")), local);
}
