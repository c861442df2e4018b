//! Key policies: what is refused before KMS is asked, and what is made from lists of names.
//!
//! KMS decides what a good policy is, key by key and slowly. What it would refuse for every key (a document that is
//! none, one that is too long, a statement without its parts) is refused when the template is kept.

use job_model::key::is_account;
use serde_json::{Map, Value, json};

/// The longest policy, in bytes (AWS KMS developer guide, "Resource quotas": 32 KB).
const LONGEST: usize = 32 << 10;
/// Names in one list at the most; more would not fit into a policy.
const MOST_NAMES: usize = 500;
/// The longest name or ARN, in characters: IAM's longest ARN is of a path of 512 and a name of 64.
const LONGEST_NAME: usize = 640;

/// Whom a policy is made for: IAM names or ARNs, and AWS accounts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Grants {
    /// IAM users who administer the key.
    pub key_admins: Vec<String>,
    /// IAM roles that administer it.
    pub key_admins_roles: Vec<String>,
    /// IAM users who use it.
    pub key_users: Vec<String>,
    /// IAM roles that use it.
    pub key_users_roles: Vec<String>,
    /// Other accounts that use it.
    pub external_accounts: Vec<String>,
}

/// What administrators may do (AWS KMS developer guide, "Allows key administrators to administer the KMS key").
const ADMINISTER: [&str; 14] = [
    "kms:Create*",
    "kms:Describe*",
    "kms:Enable*",
    "kms:List*",
    "kms:Put*",
    "kms:Update*",
    "kms:Revoke*",
    "kms:Disable*",
    "kms:Get*",
    "kms:Delete*",
    "kms:TagResource",
    "kms:UntagResource",
    "kms:ScheduleKeyDeletion",
    "kms:CancelKeyDeletion",
];
/// What users may do ("Allows key users to use the KMS key").
const USE: [&str; 5] = ["kms:Encrypt", "kms:Decrypt", "kms:ReEncrypt*", "kms:GenerateDataKey*", "kms:DescribeKey"];
/// What users may let AWS services do ("Allows key users to use the KMS key with AWS services").
const ATTACH: [&str; 3] = ["kms:CreateGrant", "kms:ListGrants", "kms:RevokeGrant"];

/// The policy for `account` that these grants make. It always keeps the account itself in charge, as AWS's default
/// policy does, so it locks nobody out.
///
/// # Errors
/// A sentence that begins with the field's name.
pub fn make(account: &str, partition: &str, grants: &Grants) -> Result<String, String> {
    let iam = |field, kind, names: &[String]| {
        check_count(field, names)?;
        names.iter().map(|name| principal(field, account, partition, kind, name)).collect::<Result<Vec<_>, _>>()
    };
    let mut admins = iam("key_admins", "user", &grants.key_admins)?;
    admins.extend(iam("key_admins_roles", "role", &grants.key_admins_roles)?);
    let mut users = iam("key_users", "user", &grants.key_users)?;
    users.extend(iam("key_users_roles", "role", &grants.key_users_roles)?);
    check_count("external_accounts", &grants.external_accounts)?;
    for name in &grants.external_accounts {
        let id = name.strip_prefix(&format!("arn:{partition}:iam::")).and_then(|rest| rest.strip_suffix(":root"));
        let id = id.unwrap_or(name);
        if !is_account(id) {
            return Err(format!("external_accounts: {name:?} is no AWS account of 12 digits"));
        }
        users.push(format!("arn:{partition}:iam::{id}:root"));
    }
    let root = vec![format!("arn:{partition}:iam::{account}:root")];
    let mut statements = vec![allow("Enable IAM User Permissions", &root, &json!("kms:*"))];
    if !admins.is_empty() {
        statements.push(allow("Allow access for Key Administrators", &admins, &json!(ADMINISTER)));
    }
    if !users.is_empty() {
        statements.push(allow("Allow use of the key", &users, &json!(USE)));
        let mut attach = allow("Allow attachment of persistent resources", &users, &json!(ATTACH));
        attach["Condition"] = json!({"Bool": {"kms:GrantIsForAWSResource": "true"}});
        statements.push(attach);
    }
    let text = json!({"Version": "2012-10-17", "Statement": statements}).to_string();
    if text.len() > LONGEST {
        return Err("policy: the one made from the lists is longer than 32 KB".to_owned());
    }
    Ok(text)
}

fn check_count(field: &str, names: &[String]) -> Result<(), String> {
    if names.len() > MOST_NAMES { Err(format!("{field}: there are more than {MOST_NAMES}")) } else { Ok(()) }
}

/// The partition of a Region's ARNs.
pub fn partition(region: &str) -> &'static str {
    if region.starts_with("cn-") {
        "aws-cn"
    } else if region.starts_with("us-gov-") {
        "aws-us-gov"
    } else {
        "aws"
    }
}

fn principal(field: &str, account: &str, partition: &str, kind: &str, name: &str) -> Result<String, String> {
    // IAM's names and paths (IAM user guide, "IAM and AWS STS quotas": names).
    let named = |text: &str| {
        !text.is_empty()
            && text
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || matches!(c, '+' | '=' | ',' | '.' | '@' | '_' | '-' | '/'))
    };
    if name.chars().count() > LONGEST_NAME {
        return Err(format!("{field}: a name is longer than {LONGEST_NAME} characters"));
    }
    let good = match name.strip_prefix("arn:") {
        None if named(name) => {
            return Ok(format!("arn:{partition}:iam::{account}:{kind}/{}", name.trim_start_matches('/')));
        }
        None => false,
        Some(rest) => match rest.splitn(5, ':').collect::<Vec<_>>().as_slice() {
            ["aws" | "aws-cn" | "aws-us-gov", "iam", "", account, resource] => {
                is_account(account)
                    && resource.strip_prefix(kind).and_then(|rest| rest.strip_prefix('/')).is_some_and(named)
            }
            _ => false,
        },
    };
    if good {
        Ok(name.to_owned())
    } else {
        Err(format!("{field}: {name:?} is neither the name nor the ARN of an IAM {kind}"))
    }
}

fn allow(sid: &str, principals: &[String], actions: &Value) -> Value {
    json!({"Sid": sid, "Effect": "Allow", "Principal": {"AWS": principals}, "Action": actions, "Resource": "*"})
}

/// Checks a policy document that was given.
///
/// # Errors
/// A sentence that begins with `policy: `.
pub fn check(text: &str) -> Result<(), String> {
    let bad = |why: String| Err(format!("policy: {why}"));
    if text.len() > LONGEST {
        return bad("is longer than 32 KB".to_owned());
    }
    let document: Value = match serde_json::from_str(text) {
        Ok(document) => document,
        Err(error) => return bad(format!("is no JSON: {error}")),
    };
    let Value::Object(document) = &document else { return bad("must be a JSON object".to_owned()) };
    let statements = match document.get("Statement") {
        Some(Value::Array(statements)) if !statements.is_empty() => statements.as_slice(),
        Some(one @ Value::Object(_)) => std::slice::from_ref(one),
        Some(_) => return bad("Statement must be a list with at least one statement".to_owned()),
        None => return bad("Statement is missing".to_owned()),
    };
    for (number, statement) in statements.iter().enumerate() {
        let Value::Object(statement) = statement else {
            return bad(format!("statement {number} must be an object"));
        };
        if let Err(why) = check_statement(statement) {
            return bad(format!("statement {number}: {why}"));
        }
    }
    Ok(())
}

fn check_statement(statement: &Map<String, Value>) -> Result<(), String> {
    match statement.get("Effect").and_then(Value::as_str) {
        Some("Allow" | "Deny") => {}
        Some(_) | None => return Err("Effect must be Allow or Deny".to_owned()),
    }
    for (one, other) in [("Principal", "NotPrincipal"), ("Action", "NotAction"), ("Resource", "NotResource")] {
        if statement.contains_key(one) == statement.contains_key(other) {
            return Err(format!("it needs {one} or {other}, and not both"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(list: &[&str]) -> Vec<String> {
        list.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn lists_become_statements_and_the_account_stays_in_charge() {
        let grants = Grants {
            key_admins: names(&["alice"]),
            key_admins_roles: names(&["ops/admin"]),
            key_users: names(&["arn:aws:iam::999988887777:user/bob"]),
            external_accounts: names(&["222233334444", "arn:aws:iam::333344445555:root"]),
            ..Grants::default()
        };
        let policy: Value = serde_json::from_str(&make("111122223333", "aws", &grants).unwrap()).unwrap();
        let principals = |number: usize| policy["Statement"][number]["Principal"]["AWS"].clone();
        assert_eq!(principals(0), json!(["arn:aws:iam::111122223333:root"]));
        assert_eq!(policy["Statement"][0]["Action"], "kms:*");
        assert_eq!(
            principals(1),
            json!(["arn:aws:iam::111122223333:user/alice", "arn:aws:iam::111122223333:role/ops/admin"])
        );
        let users = json!([
            "arn:aws:iam::999988887777:user/bob",
            "arn:aws:iam::222233334444:root",
            "arn:aws:iam::333344445555:root"
        ]);
        assert_eq!((principals(2), principals(3)), (users.clone(), users));
        check(&policy.to_string()).unwrap();
    }

    #[test]
    fn no_lists_make_the_default_policy() {
        let policy: Value = serde_json::from_str(&make("111122223333", "aws-cn", &Grants::default()).unwrap()).unwrap();
        assert_eq!(policy["Statement"].as_array().unwrap().len(), 1);
        assert_eq!(policy["Statement"][0]["Principal"]["AWS"], json!(["arn:aws-cn:iam::111122223333:root"]));
    }

    #[test]
    fn a_name_that_is_none_is_told_with_its_field() {
        for (field, grants) in [
            ("key_admins", Grants { key_admins: names(&["a b"]), ..Grants::default() }),
            ("key_admins_roles", Grants { key_admins_roles: names(&[""]), ..Grants::default() }),
            ("key_users", Grants { key_users: names(&["arn:aws:iam::1:user/x"]), ..Grants::default() }),
            ("key_users", Grants { key_users: names(&["arn:aws:iam::111122223333:role/x"]), ..Grants::default() }),
            ("key_users_roles", Grants { key_users_roles: names(&["arn:aws:s3:::x"]), ..Grants::default() }),
            ("external_accounts", Grants { external_accounts: names(&["12"]), ..Grants::default() }),
            ("key_users", Grants { key_users: vec!["x".to_owned(); MOST_NAMES + 1], ..Grants::default() }),
        ] {
            let why = make("111122223333", "aws", &grants).unwrap_err();
            assert!(why.starts_with(&format!("{field}: ")), "{why}");
        }
    }

    #[test]
    fn a_policy_too_long_for_kms_is_not_made() {
        let many = (0..400).map(|number| format!("{}{number}", "x".repeat(100))).collect();
        let why = make("111122223333", "aws", &Grants { key_users: many, ..Grants::default() }).unwrap_err();
        assert!(why.contains("32 KB"), "{why}");
    }

    #[test]
    fn documents_need_their_parts() {
        let good = json!({"Effect": "Allow", "Principal": "*", "Action": "kms:*", "Resource": "*"});
        check(&json!({"Statement": [good]}).to_string()).unwrap();
        check(&json!({"Statement": good}).to_string()).unwrap();
        let without = |part: &str| {
            let mut statement = good.clone();
            statement.as_object_mut().unwrap().remove(part);
            json!({"Statement": [good, statement]})
        };
        for (bad, word) in [
            (json!([]), "object"),
            (json!({}), "Statement"),
            (json!({"Statement": []}), "Statement"),
            (json!({"Statement": [7]}), "statement 0"),
            (without("Effect"), "statement 1: Effect"),
            (without("Principal"), "statement 1: it needs Principal"),
            (without("Action"), "statement 1: it needs Action"),
            (without("Resource"), "statement 1: it needs Resource"),
        ] {
            let why = check(&bad.to_string()).unwrap_err();
            assert!(why.starts_with("policy: ") && why.contains(word), "{why}");
        }
        assert!(check("{").unwrap_err().starts_with("policy: is no JSON"));
        assert!(
            check(&json!({"Statement": [good], "Id": "x".repeat(LONGEST)}).to_string()).unwrap_err().contains("32 KB")
        );
    }

    #[test]
    fn regions_have_a_partition() {
        assert_eq!(["eu-west-1", "cn-north-1", "us-gov-west-1"].map(partition), ["aws", "aws-cn", "aws-us-gov"]);
    }
}
