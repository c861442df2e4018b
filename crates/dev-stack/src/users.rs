//! The three local users of a development stack, and the file the gateway reads them from.

use anyhow::{Context, Result};
use argon2::password_hash::{PasswordHasher, SaltString};
use argon2::{Algorithm, Argon2, Params, Version};
use serde::Serialize;
use uuid::Uuid;

use crate::memory::Memory;
use crate::site::{Site, write_private};

/// One user with the password in clear, for those who are to log in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// The name to log in with.
    pub name: String,
    /// The password.
    pub password: String,
}

/// The stack's users.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Users {
    /// In the group `CCKM Admins` of tenant `kylo:kylo`.
    pub admin: User,
    /// In the same tenant without any permission.
    pub nobody: User,
    /// An admin of another tenant, `acme:acme`.
    pub stranger: User,
}

/// A user as the gateway's file tells it.
#[derive(Serialize)]
struct Entry<'a> {
    id: Uuid,
    username: &'a str,
    password_hash: String,
    tenant: &'a str,
    groups: &'a [&'a str],
}

/// The users with their remembered passwords; the file is written when it is missing.
///
/// # Errors
/// When the file cannot be written.
pub(crate) fn ensure(site: &Site, memory: &mut Memory) -> Result<Users> {
    let mut user = |name: &str| User { name: name.to_owned(), password: memory.secret(&format!("user {name}")) };
    let users = Users { admin: user("admin"), nobody: user("nobody"), stranger: user("acme-admin") };
    let file = site.users_file();
    if !file.is_file() {
        let admins: &[&str] = &["CCKM Admins"];
        let entries = [
            (&users.admin, "kylo:kylo", admins),
            (&users.nobody, "kylo:kylo", &[]),
            (&users.stranger, "acme:acme", admins),
        ]
        .into_iter()
        .map(|(user, tenant, groups)| {
            let password_hash = hash(&user.password)?;
            Ok(Entry { id: Uuid::new_v4(), username: &user.name, password_hash, tenant, groups })
        })
        .collect::<Result<Vec<_>>>()?;
        write_private(&file, &serde_json::to_vec_pretty(&entries).context("cannot write the users")?)?;
    }
    Ok(users)
}

/// Argon2id with 1 MiB and one pass: what protects here is the password's 190 random bits, and a stack
/// of a test, built without optimization, is to start at once.
fn hash(password: &str) -> Result<String> {
    let params = Params::new(1024, 1, 1, None).map_err(|error| anyhow::anyhow!("argon2: {error}"))?;
    let salt = SaltString::encode_b64(Uuid::new_v4().as_bytes()).map_err(|error| anyhow::anyhow!("salt: {error}"))?;
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
        .hash_password(password.as_bytes(), &salt)
        .map(|hash| hash.to_string())
        .map_err(|error| anyhow::anyhow!("argon2: {error}"))
}

#[cfg(test)]
mod tests {
    use argon2::password_hash::{PasswordHash, PasswordVerifier};

    use super::*;

    #[test]
    fn the_file_holds_hashes_that_the_passwords_open() {
        let dir = tempfile::tempdir().unwrap();
        let site = Site::open(dir.path()).unwrap();
        let mut memory = Memory::default();
        let users = ensure(&site, &mut memory).unwrap();
        let text = std::fs::read_to_string(site.users_file()).unwrap();
        assert!(!text.contains(&users.admin.password));

        let entries: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(entries[0]["groups"], serde_json::json!(["CCKM Admins"]));
        assert_eq!((&entries[2]["tenant"], &entries[1]["groups"]), (&"acme:acme".into(), &serde_json::json!([])));
        let stored = entries[0]["password_hash"].as_str().unwrap();
        let verify = |password: &str| {
            Argon2::default().verify_password(password.as_bytes(), &PasswordHash::new(stored).unwrap())
        };
        assert!(verify(&users.admin.password).is_ok());
        assert!(verify(&users.stranger.password).is_err());
        assert_eq!(ensure(&site, &mut memory).unwrap(), users);
    }
}
