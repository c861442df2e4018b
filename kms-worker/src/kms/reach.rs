//! How accounts are reached: what the leader says of containers, joined with what this worker knows of connections.
//!
//! Invariant: no account is ever called with credentials that are not meant for it. So the leader's set is taken whole,
//! an account that is not in it is refused, and so is a role of another account than the one it is to reach. The set
//! outlives sessions: between two leaders the last word counts. A worker that never heard one talks to a leader that
//! knows one account only, which the standard chain reaches.

use std::collections::HashMap;

use keyfleet_proto::workers::v1 as wire;

use crate::connections::{Connections, HOME, Means, Role};

/// The accounts of all containers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reaches(HashMap<String, Reach>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Reach {
    /// Whose container it is; empty by a leader that does not say.
    tenant: String,
    /// Empty: the standard chain.
    connection: String,
    /// Assumed with the connection's credentials; what is no role's ARN is told to whoever wants to go there.
    role: Option<Result<Role, String>>,
}

impl From<wire::Reaches> for Reaches {
    fn from(reaches: wire::Reaches) -> Self {
        let reach = |reach: wire::Reach| {
            let role = (!reach.role_arn.is_empty())
                .then(|| Role::new(&reach.role_arn, &reach.external_id).map_err(|error| error.to_string()));
            (reach.account, Reach { tenant: reach.tenant, connection: reach.connection, role })
        };
        Self(reaches.accounts.into_iter().map(reach).collect())
    }
}

impl Reaches {
    /// All accounts.
    pub(super) fn accounts(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }
}

/// The way to an account: credentials, and the roles that are assumed one by the other. Equal ways are gone together.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Way {
    /// The connection's name; empty for the standard chain.
    pub(super) connection: String,
    pub(super) means: Means,
    pub(super) roles: Vec<Role>,
}

impl Way {
    pub(super) const fn standard() -> Self {
        Self { connection: String::new(), means: Means::Chain, roles: Vec::new() }
    }

    /// Whether `self` is as far as somebody gets who goes `other`.
    pub(super) fn leads_to(&self, other: &Self) -> bool {
        self.connection == other.connection && self.means == other.means && other.roles.starts_with(&self.roles)
    }
}

/// The way to the account.
///
/// # Errors
/// Why it is not reached.
pub(super) fn way(account: &str, reaches: Option<&Reaches>, connections: &Connections) -> Result<Way, String> {
    let Some(reaches) = reaches else { return Ok(Way::standard()) };
    let Some(Reach { tenant, connection: name, role }) = reaches.0.get(account) else {
        return Err(format!("no container reaches the account {account}"));
    };
    let mut way = Way::standard();
    let is_for = |tenants: &[String]| tenant.is_empty() || tenants.contains(tenant);
    if name.is_empty() {
        if !is_for(&[HOME.to_owned()]) {
            return Err(format!(
                "the account {account} names no connection, and the standard chain is not for the tenant {tenant}"
            ));
        }
    } else {
        let Some(connection) = connections.get(name) else {
            return Err(format!(
                "the account {account} is reached by the connection {name:?}, which is not in this worker's CONNECTIONS_FILE"
            ));
        };
        if !is_for(&connection.tenants) {
            return Err(format!("the connection {name:?} is not for the tenant {tenant}"));
        }
        way.connection.clone_from(name);
        way.means = connection.means.clone();
        way.roles.extend(connection.role.clone());
    }
    if let Some(role) = role {
        way.roles.push(role.clone()?);
    }
    match way.roles.last().map(|role| (role, role.account())) {
        Some((role, Some(of))) if of != account => Err(format!(
            "the account {account} is to be reached by the role {}, which is of the account {of}",
            role.arn
        )),
        Some(_) | None => Ok(way),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ACCOUNT: &str = "222233334444";

    fn reaches(connection: &str, role_arn: &str) -> Reaches {
        let reach = wire::Reach {
            account: ACCOUNT.to_owned(),
            connection: connection.to_owned(),
            role_arn: role_arn.to_owned(),
            external_id: "e".to_owned(),
            tenant: HOME.to_owned(),
        };
        wire::Reaches { accounts: vec![reach] }.into()
    }

    fn connections() -> Connections {
        r#"{"hub": {"role_arn": "arn:aws:iam::999988887777:role/hub"}, "eu": {"profile": "eu"},
            "own": {"role_arn": "arn:aws:iam::222233334444:role/own"}}"#
            .parse()
            .unwrap()
    }

    #[test]
    fn a_way_is_the_connections_and_then_the_containers() {
        let ours = "arn:aws:iam::222233334444:role/ours";
        for (connection, role, means, roles) in [
            ("", "", Means::Chain, vec![]),
            ("", ours, Means::Chain, vec![ours]),
            ("eu", "", Means::Profile("eu".to_owned()), vec![]),
            ("own", "", Means::Chain, vec!["arn:aws:iam::222233334444:role/own"]),
            ("hub", ours, Means::Chain, vec!["arn:aws:iam::999988887777:role/hub", ours]),
        ] {
            let way = way(ACCOUNT, Some(&reaches(connection, role)), &connections()).unwrap();
            assert_eq!((way.connection.as_str(), &way.means), (connection, &means));
            let arns: Vec<&str> = way.roles.iter().map(|role| role.arn.as_str()).collect();
            assert_eq!(arns, roles);
        }
    }

    #[test]
    fn nobody_is_reached_by_what_is_not_meant_for_him() {
        for (reaches, account, says) in [
            (reaches("", ""), "111122223333", "no container reaches the account 111122223333"),
            (Reaches::default(), ACCOUNT, "no container reaches"),
            (reaches("nowhere", ""), ACCOUNT, "\"nowhere\""),
            (reaches("hub", ""), ACCOUNT, "is of the account 999988887777"),
            (reaches("", "arn:aws:iam::111122223333:role/x"), ACCOUNT, "is of the account 111122223333"),
            (reaches("", "role/x"), ACCOUNT, "no role's ARN"),
        ] {
            let why = way(account, Some(&reaches), &connections()).unwrap_err();
            assert!(why.contains(says), "{why}");
        }
    }

    #[test]
    fn a_connection_is_for_its_tenants() {
        let connections: Connections = r#"{"home": {}, "theirs": {"tenants": ["acme:ops"]}}"#.parse().unwrap();
        let reached = |tenant: &str, connection: &str| {
            let reach = wire::Reach {
                account: ACCOUNT.to_owned(),
                connection: connection.to_owned(),
                tenant: tenant.to_owned(),
                ..wire::Reach::default()
            };
            way(ACCOUNT, Some(&wire::Reaches { accounts: vec![reach] }.into()), &connections).is_ok()
        };
        for (tenant, ways) in [(HOME, [true, true, false]), ("acme:ops", [false, false, true]), ("", [true; 3])] {
            assert_eq!(["", "home", "theirs"].map(|connection| reached(tenant, connection)), ways, "{tenant}");
        }
    }

    #[test]
    fn a_leader_that_says_nothing_knows_one_account() {
        assert_eq!(way(ACCOUNT, None, &connections()), Ok(Way::standard()));
    }

    #[test]
    fn a_way_leads_as_far_as_it_goes_along() {
        let whole = way(ACCOUNT, Some(&reaches("hub", "arn:aws:iam::222233334444:role/ours")), &connections()).unwrap();
        let begun = Way { roles: whole.roles[..1].to_vec(), ..whole.clone() };
        assert!(begun.leads_to(&whole) && whole.leads_to(&whole) && !whole.leads_to(&begun));
        assert!(!Way::standard().leads_to(&whole), "another name");
    }
}
