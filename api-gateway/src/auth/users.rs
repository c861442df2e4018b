//! The local users, from a JSON file that is read again when it changes.
//!
//! The last good content stays when a new one cannot be read: an editor that has half saved must not lock everyone out.

use std::{
    collections::HashMap,
    fs, io,
    path::{Path, PathBuf},
    sync::{Arc, PoisonError, RwLock},
    time::SystemTime,
};

use argon2::password_hash::PasswordHash;
use job_model::Tenant;
use serde::Deserialize;
use uuid::Uuid;

/// A local user.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(super) struct User {
    pub(super) id: Uuid,
    pub(super) username: String,
    /// Argon2id, in the PHC form `$argon2id$…`
    pub(super) password_hash: String,
    #[serde(deserialize_with = "super::tenant")]
    pub(super) tenant: Tenant,
    #[serde(default)]
    pub(super) groups: Vec<String>,
}

/// Why the file cannot be used.
#[derive(Debug, thiserror::Error)]
pub(super) enum BadUsers {
    /// It cannot be read.
    #[error("{0}: {1}")]
    Unreadable(PathBuf, io::Error),
    /// It is not of the form.
    #[error("it must be a JSON list of users with id, username, password_hash, tenant and groups: {0}")]
    Malformed(serde_json::Error),
    /// Two users share a name or an id.
    #[error("the user {0:?} stands in it twice")]
    Twice(String),
    /// Not a hash that can be checked.
    #[error("the password_hash of {0:?} is not argon2id in PHC form")]
    Hash(String),
}

/// All users as they are now.
pub(super) struct Users {
    path: PathBuf,
    current: RwLock<Current>,
}

struct Current {
    seen: Option<Stamp>,
    users: Arc<Directory>,
}

/// Tells one content of the file from another without reading it.
type Stamp = (SystemTime, u64);

/// One content of the file.
#[derive(Debug, Default)]
pub(super) struct Directory {
    by_name: HashMap<String, Arc<User>>,
    by_id: HashMap<Uuid, Arc<User>>,
    decoy: Option<String>,
}

impl Users {
    pub(super) fn open(path: &Path) -> Result<Self, BadUsers> {
        let seen = stamp(path);
        let users = Arc::new(read(path)?);
        Ok(Self { path: path.to_owned(), current: RwLock::new(Current { seen, users }) })
    }

    /// The users as last read.
    pub(super) fn now(&self) -> Arc<Directory> {
        Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner).users)
    }

    /// Reads the file again if it has changed. Blocks.
    pub(super) fn reload(&self) -> Result<(), BadUsers> {
        let seen = stamp(&self.path);
        if self.current.read().unwrap_or_else(PoisonError::into_inner).seen == seen {
            return Ok(());
        }
        let users = Arc::new(read(&self.path)?);
        tracing::info!(users = users.by_name.len(), "The users file was read again.");
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = Current { seen, users };
        Ok(())
    }
}

impl Directory {
    pub(super) fn named(&self, username: &str) -> Option<Arc<User>> {
        self.by_name.get(username).cloned()
    }

    pub(super) fn with_id(&self, id: Uuid) -> Option<Arc<User>> {
        self.by_id.get(&id).cloned()
    }

    /// Some user's hash, to be checked in vain for a name that nobody has: the time must not tell them apart.
    pub(super) fn decoy(&self) -> Option<&str> {
        self.decoy.as_deref()
    }

    fn of(users: Vec<User>) -> Result<Self, BadUsers> {
        let mut directory = Self::default();
        for user in users {
            let hash = PasswordHash::new(&user.password_hash);
            if !hash.is_ok_and(|hash| hash.algorithm == argon2::ARGON2ID_IDENT && hash.hash.is_some()) {
                return Err(BadUsers::Hash(user.username));
            }
            directory.decoy.get_or_insert_with(|| user.password_hash.clone());
            let user = Arc::new(user);
            let twice = directory.by_name.insert(user.username.clone(), Arc::clone(&user)).is_some()
                || directory.by_id.insert(user.id, Arc::clone(&user)).is_some();
            if twice {
                return Err(BadUsers::Twice(user.username.clone()));
            }
        }
        Ok(directory)
    }
}

fn stamp(path: &Path) -> Option<Stamp> {
    let metadata = fs::metadata(path).ok()?;
    Some((metadata.modified().ok()?, metadata.len()))
}

fn read(path: &Path) -> Result<Directory, BadUsers> {
    let text = fs::read(path).map_err(|error| BadUsers::Unreadable(path.to_owned(), error))?;
    Directory::of(serde_json::from_slice(&text).map_err(BadUsers::Malformed)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HASH: &str = "$argon2id$v=19$m=8,t=1,p=1$c2FsdHNhbHQ$2YsDcjvZ8nHq0vhmdPbjF7sGQ/fyAl0yR+pWGdJkBnM";

    fn line(id: u8, name: &str, hash: &str) -> String {
        format!(
            r#"{{"id":"00000000-0000-0000-0000-0000000000{id:02x}","username":"{name}","password_hash":"{hash}","tenant":"kylo:kylo","groups":["a"]}}"#
        )
    }

    fn parse(lines: &[String]) -> Result<Directory, BadUsers> {
        Directory::of(serde_json::from_str(&format!("[{}]", lines.join(","))).map_err(BadUsers::Malformed)?)
    }

    #[test]
    fn users_are_found_by_name_and_id() {
        let users = parse(&[line(1, "a", HASH), line(2, "b", HASH)]).unwrap();
        assert_eq!(users.named("b").unwrap().id, Uuid::from_u128(2));
        assert_eq!(users.with_id(Uuid::from_u128(1)).unwrap().username, "a");
        assert!(users.named("c").is_none());
        assert_eq!(users.decoy(), Some(HASH));
    }

    #[test]
    fn a_file_that_makes_no_sense_is_refused() {
        assert!(matches!(parse(&[line(1, "a", HASH), line(2, "a", HASH)]), Err(BadUsers::Twice(_))));
        assert!(matches!(parse(&[line(1, "a", HASH), line(1, "b", HASH)]), Err(BadUsers::Twice(_))));
        assert!(matches!(parse(&[line(1, "a", "secret")]), Err(BadUsers::Hash(_))));
        let no_tenant = line(1, "a", HASH).replace("kylo:kylo", "kylo");
        assert!(matches!(parse(&[no_tenant]), Err(BadUsers::Malformed(_))));
    }

    #[test]
    fn a_changed_file_is_read_again_and_a_broken_one_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("users.json");
        fs::write(&path, format!("[{}]", line(1, "a", HASH))).unwrap();
        let users = Users::open(&path).unwrap();
        fs::write(&path, format!("[{},{}]", line(1, "a", HASH), line(2, "b", HASH))).unwrap();
        users.reload().unwrap();
        assert!(users.now().named("b").is_some());
        fs::write(&path, "[").unwrap();
        assert!(users.reload().is_err());
        assert!(users.now().named("b").is_some());
    }
}
