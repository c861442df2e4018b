//! The connections: names for credentials, which containers choose among.
//!
//! A container says by name whose credentials reach its account; what is behind the name only the worker knows, so no
//! secret ever passes through the API, the scheduler or the database. The file names places (a profile, variables, files)
//! and holds no secret either. An object by name, like
//! `{"hub": {"chain": true, "role_arn": "arn:aws:iam::999988887777:role/hub"}, "eu": {"profile": "eu"}}`.

mod file;

use std::{collections::BTreeMap, path::PathBuf, str::FromStr};

use job_model::{Tenant, key::is_account};
use serde::Deserialize;

pub use file::ConnectionsFile;

/// All connections of this worker, by name. Without any it knows the standard chain alone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Connections(BTreeMap<String, Connection>);

/// One connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Connection {
    /// Where its credentials come from.
    pub means: Means,
    /// The role that is assumed with them.
    pub role: Option<Role>,
    /// Whose containers may name it.
    pub tenants: Vec<String>,
}

/// The tenant that the standard chain is for, and a connection that names none.
pub const HOME: &str = "kylo:kylo";

/// Where credentials come from.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Means {
    /// The SDK's standard chain: environment, profile, web identity, container, instance.
    Chain,
    /// A profile of the AWS configuration files.
    Profile(String),
    /// An access key.
    Keys {
        /// Its id.
        access_key_id: Place,
        /// Its secret.
        secret_access_key: Place,
        /// Its session token, if it is a temporary one.
        session_token: Option<Place>,
    },
}

/// Where a secret is read.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Place {
    /// A variable of the worker's environment.
    Variable(String),
    /// A file: its content without surrounding white space.
    File(PathBuf),
}

/// A role to assume.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Role {
    /// Its ARN.
    pub arn: String,
    /// What its trust policy may require to be told.
    pub external_id: Option<String>,
}

impl Connections {
    /// The connection of this name.
    pub fn get(&self, name: &str) -> Option<&Connection> {
        self.0.get(name)
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.0.len()
    }
}

impl Role {
    /// A role of this ARN; an external id that is empty is none.
    ///
    /// # Errors
    /// When it is no role's ARN.
    pub fn new(arn: &str, external_id: &str) -> Result<Self, NoRole> {
        let role = Self {
            arn: arn.to_owned(),
            external_id: Some(external_id).filter(|id| !id.is_empty()).map(ToOwned::to_owned),
        };
        if role.account().is_some() { Ok(role) } else { Err(NoRole(role.arn)) }
    }

    /// The account it is of: `arn:<partition>:iam::<account>:role/<name>`.
    pub fn account(&self) -> Option<&str> {
        let parts: Vec<&str> = self.arn.splitn(6, ':').collect();
        match parts.as_slice() {
            &["arn", partition, "iam", "", account, role]
                if !partition.is_empty()
                    && is_account(account)
                    && role.strip_prefix("role/").is_some_and(|name| !name.is_empty()) =>
            {
                Some(account)
            }
            _ => None,
        }
    }
}

/// It is no role's ARN.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no role's ARN; write it like arn:aws:iam::111122223333:role/name")]
pub struct NoRole(pub String);

/// Why a text is no list of connections.
#[derive(Debug, thiserror::Error)]
pub enum ConnectionsError {
    /// It is not of the form.
    #[error("it is no JSON object of connections by name: {0}")]
    Form(#[from] serde_json::Error),
    /// One of them makes no sense.
    #[error("the connection {name:?}: {why}")]
    Connection {
        /// Which one.
        name: String,
        /// Why.
        why: String,
    },
}

/// A connection as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Form {
    chain: Option<bool>,
    profile: Option<String>,
    access_key_id_env: Option<String>,
    access_key_id_file: Option<PathBuf>,
    secret_access_key_env: Option<String>,
    secret_access_key_file: Option<PathBuf>,
    session_token_env: Option<String>,
    session_token_file: Option<PathBuf>,
    role_arn: Option<String>,
    external_id: Option<String>,
    tenants: Option<Vec<String>>,
}

impl FromStr for Connections {
    type Err = ConnectionsError;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut all = BTreeMap::new();
        for (name, form) in serde_json::from_str::<BTreeMap<String, Form>>(text)? {
            let connection = if name.trim().is_empty() {
                Err("a connection has a name; the standard chain needs none".to_owned())
            } else {
                form.read()
            };
            match connection {
                Ok(connection) => drop(all.insert(name, connection)),
                Err(why) => return Err(ConnectionsError::Connection { name, why }),
            }
        }
        Ok(Self(all))
    }
}

impl Form {
    fn read(self) -> Result<Connection, String> {
        let access_key_id = place("access_key_id", self.access_key_id_env, self.access_key_id_file)?;
        let secret_access_key = place("secret_access_key", self.secret_access_key_env, self.secret_access_key_file)?;
        let session_token = place("session_token", self.session_token_env, self.session_token_file)?;
        let keys = match (access_key_id, secret_access_key, session_token) {
            (None, None, None) => None,
            (Some(access_key_id), Some(secret_access_key), session_token) => {
                Some(Means::Keys { access_key_id, secret_access_key, session_token })
            }
            _ => return Err("an access key is its id and its secret, each by …_env or …_file".to_owned()),
        };
        let profile = match self.profile {
            Some(profile) if profile.is_empty() => return Err("a profile has a name".to_owned()),
            profile => profile.map(Means::Profile),
        };
        let means = match (self.chain, profile, keys) {
            (Some(true) | None, None, None) => Means::Chain,
            (Some(false) | None, Some(means), None) | (Some(false) | None, None, Some(means)) => means,
            (Some(false), None, None) => return Err("it says nothing of where its credentials come from".to_owned()),
            _ => return Err("its credentials come from one of: chain, profile, an access key".to_owned()),
        };
        let role = match (self.role_arn, self.external_id) {
            (None, None) => None,
            (None, Some(_)) => return Err("an external_id needs a role_arn".to_owned()),
            (Some(arn), external_id) => {
                Some(Role::new(&arn, external_id.as_deref().unwrap_or_default()).map_err(|error| error.to_string())?)
            }
        };
        let tenants = match self.tenants {
            None => vec![HOME.to_owned()],
            Some(tenants) if tenants.is_empty() => return Err("tenants: nobody may use it".to_owned()),
            Some(tenants) => tenants,
        };
        if let Some(wrong) = tenants.iter().find(|tenant| tenant.parse::<Tenant>().is_err()) {
            return Err(format!("tenants: {wrong:?} is not written account:domain"));
        }
        Ok(Connection { means, role, tenants })
    }
}

fn place(name: &str, variable: Option<String>, file: Option<PathBuf>) -> Result<Option<Place>, String> {
    match (variable, file) {
        (None, None) => Ok(None),
        (Some(variable), None) if !variable.is_empty() => Ok(Some(Place::Variable(variable))),
        (None, Some(file)) if !file.as_os_str().is_empty() => Ok(Some(Place::File(file))),
        (Some(_), Some(_)) => Err(format!("{name} is given twice, by {name}_env and by {name}_file")),
        (Some(_), None) | (None, Some(_)) => Err(format!("{name}_env or {name}_file is empty")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(form: &str) -> Result<Connection, String> {
        let all: Connections =
            format!(r#"{{"x": {form}}}"#).parse().map_err(|error: ConnectionsError| error.to_string())?;
        Ok(all.get("x").unwrap().clone())
    }

    #[test]
    fn each_form_is_read() {
        let variable = |name: &str| Place::Variable(name.to_owned());
        for (form, means) in [
            ("{}", Means::Chain),
            (r#"{"chain": true}"#, Means::Chain),
            (r#"{"profile": "eu"}"#, Means::Profile("eu".to_owned())),
            (
                r#"{"access_key_id_env": "A", "secret_access_key_file": "/b", "session_token_env": "C"}"#,
                Means::Keys {
                    access_key_id: variable("A"),
                    secret_access_key: Place::File("/b".into()),
                    session_token: Some(variable("C")),
                },
            ),
        ] {
            assert_eq!(one(form).unwrap(), Connection { means, role: None, tenants: vec![HOME.to_owned()] }, "{form}");
        }
        let hub = one(r#"{"profile": "eu", "role_arn": "arn:aws-cn:iam::111122223333:role/a/b", "external_id": "e"}"#);
        let role = hub.unwrap().role.unwrap();
        assert_eq!((role.account(), role.external_id.as_deref()), (Some("111122223333"), Some("e")));
        let shared = one(r#"{"tenants": ["kylo:kylo", "acme:ops"]}"#).unwrap();
        assert_eq!(shared.tenants, ["kylo:kylo", "acme:ops"]);
    }

    #[test]
    fn what_makes_no_sense_is_said_with_its_name() {
        for (form, says) in [
            (r#"{"chain": false}"#, "says nothing"),
            (r#"{"chain": true, "profile": "eu"}"#, "one of"),
            (r#"{"profile": "eu", "access_key_id_env": "A", "secret_access_key_env": "B"}"#, "one of"),
            (r#"{"access_key_id_env": "A"}"#, "its id and its secret"),
            (r#"{"session_token_env": "A"}"#, "its id and its secret"),
            (r#"{"access_key_id_env": "A", "access_key_id_file": "/a"}"#, "given twice"),
            (r#"{"access_key_id_env": "", "secret_access_key_env": "B"}"#, "is empty"),
            (r#"{"profile": ""}"#, "has a name"),
            (r#"{"external_id": "e"}"#, "needs a role_arn"),
            (r#"{"tenants": []}"#, "nobody may use it"),
            (r#"{"tenants": ["acme ops"]}"#, "not written account:domain"),
            (r#"{"role_arn": "arn:aws:iam::1:role/a"}"#, "no role's ARN"),
            (r#"{"role_arn": "arn:aws:iam::111122223333:user/a"}"#, "no role's ARN"),
        ] {
            let said = one(form).unwrap_err();
            assert!(said.contains(says) && said.contains(r#""x""#), "{form}: {said}");
        }
        for text in ["", "[]", r#"{"x": 1}"#, r#"{"x": {"profil": "eu"}}"#, r#"{"": {}}"#] {
            assert!(text.parse::<Connections>().is_err(), "{text}");
        }
    }
}
