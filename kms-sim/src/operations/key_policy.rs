//! GetKeyPolicy and PutKeyPolicy.

use serde::Serialize;

use super::{Answer, Context, json, policy_check};
use crate::{
    error::{ErrorCode, KmsError},
    input::Input,
    store::{Names, Version},
};

/// The only name a key policy can have.
const NAME: &str = "default";

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Got<'a> {
    policy: &'a str,
    policy_name: &'static str,
}

pub(super) fn get_key_policy(context: &Context<'_>, input: &Input) -> Answer {
    check_name(input)?;
    context.read(input, Names::OfKey, |_, _, version| match &version.policy {
        Some(policy) => json(&Got { policy, policy_name: NAME }),
        None => json(&Got { policy: &default_policy(context), policy_name: NAME }),
    })
}

pub(super) fn put_key_policy(context: &Context<'_>, input: &Input) -> Answer {
    check_name(input)?;
    let text = input.policy.as_deref().ok_or_else(|| KmsError::missing("policy"))?;
    // The key is looked up first, as AWS does: a policy for a key that is not there is not judged.
    context.write(input, |_, _| {
        policy_check::check(text, context.scope, input.bypass_policy_lockout_safety_check.unwrap_or(false))?;
        let policy = context.policies.share(text);
        Ok((Some(|version: &mut Version| version.policy = Some(policy)), Vec::new()))
    })
}

fn check_name(input: &Input) -> Result<(), KmsError> {
    match input.policy_name.as_deref() {
        None | Some(NAME) => Ok(()),
        Some(_) => Err(KmsError::new(ErrorCode::NotFound, "No such policy exists")),
    }
}

/// What a key has that was made without a policy (AWS KMS developer guide, "Default key policy").
fn default_policy(context: &Context<'_>) -> String {
    let root = format!("arn:{}:iam::{}:root", crate::store::partition(&context.scope.region), context.scope.account);
    format!(
        r#"{{
  "Version" : "2012-10-17",
  "Id" : "key-default-1",
  "Statement" : [ {{
    "Sid" : "Enable IAM User Permissions",
    "Effect" : "Allow",
    "Principal" : {{
      "AWS" : "{root}"
    }},
    "Action" : "kms:*",
    "Resource" : "*"
  }} ]
}}"#
    )
}
