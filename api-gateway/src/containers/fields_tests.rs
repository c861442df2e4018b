use super::*;

fn refused<T: std::fmt::Debug>(read: Result<T, ApiError>, field: &str) -> String {
    match read {
        Err(ApiError::BadRequest(message)) if message.starts_with(field) => message,
        other => panic!("{other:?} is no refusal of {field}"),
    }
}

#[test]
fn a_name_is_short_printable_and_no_id() {
    assert_eq!(name("ä".repeat(255)).unwrap().chars().count(), 255);
    for bad in ["x".repeat(256), "a\0".to_owned(), "a\nb".to_owned(), uuid::Uuid::nil().to_string()] {
        refused(name(bad), "name: ");
    }
    refused(needed("name", None), "name: is missing");
    refused(needed("name", Some(" ".to_owned())), "name: is empty");
}

#[test]
fn an_account_has_twelve_digits() {
    assert_eq!(account_id("012345678901".to_owned()).unwrap(), "012345678901");
    for bad in ["12345678901", "1234567890123", "12345678901x", "１２３４５６７８９０１２", ""] {
        refused(account_id(bad.to_owned()), "account_id: ");
    }
}

#[test]
fn regions_are_aws_s_each_once() {
    let of = |texts: &[&str]| regions(texts.iter().map(|&text| text.to_owned()).collect());
    assert_eq!(of(&["eu-west-1", "us-gov-west-1", "ap-southeast-4", "cn-north-1"]).unwrap().len(), 4);
    for bad in [
        "",
        "eu",
        "eu-1",
        "eu-west",
        "eu-west-",
        "eu-west-x",
        "eu-west-12",
        "EU-west-1",
        "e-west-1",
        "eu--1",
        "eu-west-1 ",
    ] {
        refused(of(&["us-east-1", bad]), "regions[1]: ");
    }
    refused(of(&["us-east-1", "eu-west-1", "us-east-1"]), "regions[2]: us-east-1");
    refused(of(&[]), "regions: is empty");
    let many: Vec<String> = (0..65).map(|n| format!("eu-{}-1", ["a", "b"][n % 2].repeat(n / 2 + 1))).collect();
    refused(regions(many), "regions: ");
}

#[test]
fn a_connection_is_a_name_and_never_a_key() {
    for good in ["prod", "prod.eu_1-b", &"x".repeat(128), "AKIAlike-prod", &"a1".repeat(20), "AKIA"] {
        assert_eq!(connection(good.to_owned()).unwrap(), good);
    }
    for bad in ["a b", "a/b", "ä", "a\0", &"x".repeat(129)] {
        refused(connection(bad.to_owned()), "connection: must be");
    }
    // Made up, and of the right form.
    let secret = "abcdefghij/KLMNOPQRST+uvwxyz0123456789AB";
    for key in [
        "AKIA0123456789ABCDEF",
        "ASIA0123456789ABCDEF",
        "key-AKIA0123456789ABCDEF",
        secret,
        &secret.replace(['/', '+'], "x"),
    ] {
        let message = refused(connection(key.to_owned()), "connection: looks like");
        assert!(!message.contains(key), "the message repeats what was sent");
    }
}

#[test]
fn a_role_is_named_by_its_arn() {
    for good in [
        "arn:aws:iam::111122223333:role/keyfleet",
        "arn:aws-us-gov:iam::111122223333:role/path/to/key_fleet+=,.@-1",
        "arn:aws-cn:iam::111122223333:role/r",
    ] {
        assert_eq!(role_arn(good.to_owned()).unwrap(), good);
    }
    for bad in [
        "keyfleet",
        "arn:aws:iam::111122223333:user/keyfleet",
        "arn:aws:iam::11112222333:role/keyfleet",
        "arn:aws:iam:us-east-1:111122223333:role/keyfleet",
        "arn:aws:sts::111122223333:role/keyfleet",
        "arn:awsx:iam::111122223333:role/keyfleet",
        "arn:aws:iam::111122223333:role/",
        "arn:aws:iam::111122223333:role/a/",
        "arn:aws:iam::111122223333:role/a b",
        "arn:aws:iam::111122223333:role/a:b",
        &format!("arn:aws:iam::111122223333:role/{}", "x".repeat(2_048)),
    ] {
        refused(role_arn(bad.to_owned()), "assume_role_arn: ");
    }
}

#[test]
fn an_external_id_is_as_sts_takes_it() {
    for good in ["ab", "id:1/2+3=4,5.6@7_8-9", &"x".repeat(1_224)] {
        assert_eq!(external_id(good.to_owned()).unwrap(), good);
    }
    for bad in ["a", "a b", "ä1", &"x".repeat(1_225)] {
        refused(external_id(bad.to_owned()), "assume_role_external_id: ");
    }
    assert_eq!(unless_empty(String::new(), external_id).unwrap(), "");
}
