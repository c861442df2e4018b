//! Whether a policy may become a key's.
//!
//! AWS parses it, and refuses one that would lock everybody out (unless told to let it pass). The check here is a
//! simple form of that: some statement without a condition must allow somebody of the key's own account, or everybody,
//! to put another policy, and no statement without a condition may deny that to the whole account. Who the caller is,
//! is not looked at; AWS asks whether that very caller keeps the right.

use job_model::key::is_account;
use serde::Deserialize;
use serde_json::Value;

use crate::{
    error::{ErrorCode, KmsError},
    store::Scope,
};

/// The longest policy, in bytes (AWS KMS developer guide, "Resource quotas": 32 KB).
const LONGEST: usize = 32 * 1024;

/// The right that must remain.
const PUT: &str = "kms:PutKeyPolicy";

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Document {
    statement: Many<Statement>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Statement {
    effect: Effect,
    principal: Option<Principal>,
    not_principal: Option<Principal>,
    action: Option<Many<String>>,
    not_action: Option<Many<String>>,
    resource: Option<Many<String>>,
    not_resource: Option<Many<String>>,
    condition: Option<Value>,
}

#[derive(Clone, Copy, Deserialize, PartialEq, Eq)]
enum Effect {
    Allow,
    Deny,
}

/// IAM's grammar lets a list of one be written without brackets.
#[derive(Deserialize)]
#[serde(untagged)]
enum Many<T> {
    Several(Vec<T>),
    One(T),
}

impl<T> Many<T> {
    fn as_slice(&self) -> &[T] {
        match self {
            Self::Several(items) => items,
            Self::One(item) => std::slice::from_ref(item),
        }
    }
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Principal {
    /// Only `*` has this form.
    Everybody(String),
    Named(std::collections::BTreeMap<String, Many<String>>),
}

/// Checks the policy; `bypass` leaves out the question whether it locks everybody out.
pub(super) fn check(text: &str, scope: &Scope, bypass: bool) -> Result<(), KmsError> {
    if text.is_empty() {
        return Err(KmsError::validation("''", "policy", "have length greater than or equal to 1"));
    }
    if text.len() > LONGEST {
        let message = format!("The key policy exceeds the size limit of {LONGEST} bytes.");
        return Err(KmsError::new(ErrorCode::LimitExceeded, message));
    }
    let document: Document =
        serde_json::from_str(text).map_err(|error| malformed(format!("Syntax errors in policy: {error}")))?;
    let statements = document.statement.as_slice();
    if statements.is_empty() {
        return Err(malformed("Policy contains no statements."));
    }
    for statement in statements {
        statement.check()?;
    }
    let keeps = |statement: &Statement| statement.is_about(Effect::Allow, |who| who.concerns_some_of(&scope.account));
    let takes = |statement: &Statement| statement.is_about(Effect::Deny, |who| who.concerns_all_of(&scope.account));
    if !bypass && (!statements.iter().any(keeps) || statements.iter().any(takes)) {
        return Err(malformed("The new key policy will not allow you to update the key policy in the future."));
    }
    Ok(())
}

fn malformed(message: impl Into<String>) -> KmsError {
    KmsError::new(ErrorCode::MalformedPolicyDocument, message)
}

impl Statement {
    fn check(&self) -> Result<(), KmsError> {
        let exactly_one = |a: bool, b: bool, what: &str| {
            if a == b { Err(malformed(format!("Policy statement must contain {what}."))) } else { Ok(()) }
        };
        exactly_one(self.principal.is_some(), self.not_principal.is_some(), "principals")?;
        exactly_one(self.action.is_some(), self.not_action.is_some(), "actions")?;
        exactly_one(self.resource.is_some(), self.not_resource.is_some(), "resources")?;
        for principal in [&self.principal, &self.not_principal].into_iter().flatten() {
            principal.check()?;
        }
        Ok(())
    }

    /// Whether it says this of the right to put a policy, on every resource, without a condition, to these principals.
    fn is_about(&self, effect: Effect, who: impl Fn(&Principal) -> bool) -> bool {
        let action = match (&self.action, &self.not_action) {
            (Some(actions), _) => actions.as_slice().iter().any(|pattern| covers(pattern, PUT)),
            (None, Some(others)) => !others.as_slice().iter().any(|pattern| covers(pattern, PUT)),
            (None, None) => false,
        };
        // In a key policy "*" means the key itself, and KMS takes nothing else for it but the key's ARN.
        let resource = self.resource.as_ref().is_some_and(|resources| !resources.as_slice().is_empty());
        self.effect == effect
            && action
            && resource
            && self.condition.is_none()
            && self.principal.as_ref().is_some_and(who)
    }
}

impl Principal {
    fn check(&self) -> Result<(), KmsError> {
        let invalid = || malformed("Policy contains a statement with one or more invalid principals.");
        let valid_aws = |text: &str| {
            text == "*"
                || is_account(text)
                || account_of(text).is_some()
                || text.starts_with("AIDA")
                || text.starts_with("AROA")
        };
        match self {
            Self::Everybody(text) if text == "*" => Ok(()),
            Self::Everybody(_) => Err(invalid()),
            Self::Named(kinds) => {
                for (kind, texts) in kinds {
                    let valid = match kind.as_str() {
                        "AWS" => texts.as_slice().iter().all(|text| valid_aws(text)),
                        "Service" | "Federated" | "CanonicalUser" => {
                            texts.as_slice().iter().all(|text| !text.is_empty())
                        }
                        _ => false,
                    };
                    if !valid || texts.as_slice().is_empty() {
                        return Err(invalid());
                    }
                }
                if kinds.is_empty() { Err(invalid()) } else { Ok(()) }
            }
        }
    }

    fn concerns_some_of(&self, account: &str) -> bool {
        self.aws(|text| text == "*" || text == account || account_of(text) == Some(account))
    }

    fn concerns_all_of(&self, account: &str) -> bool {
        let root = |text: &str| text.ends_with(":root") && account_of(text) == Some(account);
        self.aws(|text| text == "*" || text == account || root(text))
    }

    fn aws(&self, says: impl Fn(&str) -> bool) -> bool {
        match self {
            Self::Everybody(text) => says(text),
            Self::Named(kinds) => kinds.get("AWS").is_some_and(|texts| texts.as_slice().iter().any(|text| says(text))),
        }
    }
}

/// The account of an ARN of IAM or STS.
fn account_of(arn: &str) -> Option<&str> {
    let parts: Vec<&str> = arn.splitn(6, ':').collect();
    match parts.as_slice() {
        ["arn", _, "iam" | "sts", "", account, resource] if is_account(account) && !resource.is_empty() => {
            Some(account)
        }
        _ => None,
    }
}

/// Whether an action pattern (`kms:*`, `kms:Put*`) covers an action; IAM compares them without regard to case.
fn covers(pattern: &str, action: &str) -> bool {
    fn matches(pattern: &[u8], text: &[u8]) -> bool {
        match (pattern.split_first(), text.split_first()) {
            (None, None) => true,
            (Some((b'*', rest)), _) => matches(rest, text) || !text.is_empty() && matches(pattern, &text[1..]),
            (Some((b'?', rest)), Some((_, tail))) => matches(rest, tail),
            (Some((a, rest)), Some((b, tail))) => a.eq_ignore_ascii_case(b) && matches(rest, tail),
            (Some(_), None) | (None, Some(_)) => false,
        }
    }
    matches(pattern.as_bytes(), action.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_cover_as_in_iam() {
        for pattern in ["*", "kms:*", "kms:Put*", "KMS:putkeypolicy", "kms:???KeyPolicy", "k*:*Policy"] {
            assert!(covers(pattern, PUT), "{pattern}");
        }
        for pattern in ["", "kms:Get*", "kms:PutKeyPolic", "kms:PutKeyPolicy?"] {
            assert!(!covers(pattern, PUT), "{pattern}");
        }
    }
}
