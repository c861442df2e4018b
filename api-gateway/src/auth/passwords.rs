//! Checks passwords: slowly the first time, at once when the same login repeats.
//!
//! Argon2 takes tens of milliseconds and megabytes by design, and some clients log in before every call. So a password
//! that was right is remembered for a while: not itself, but a MAC of it under a key that only this process has,
//! beside the hash it was right for. A changed hash forgets it. Hashing runs a few at a time, off the async threads.

use std::{sync::Arc, time::Duration};

use argon2::{Argon2, PasswordVerifier as _, password_hash::PasswordHash};
use hmac::{Hmac, Mac as _};
use moka::sync::Cache;
use sha2::Sha256;
use tokio::sync::Semaphore;

use super::users::User;

/// How long a right password is remembered.
const MEMORY: Duration = Duration::from_secs(10 * 60);
/// How many are remembered, some 2 MB.
const MOST: u64 = 10_000;
/// Hashes computed at once. Each takes one core and the hash's memory, 19 MiB by default.
const AT_ONCE: usize = 2;
/// Logins that may wait for a hash; more would wait longer than clients do.
const WAITING: usize = 64;

/// Remembers what was right.
pub(super) struct Passwords {
    key: [u8; 32],
    right: Cache<[u8; 32], String>,
    hashing: Arc<Semaphore>,
    waiting: Semaphore,
}

/// Too many logins wait already.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Crowded;

impl Default for Passwords {
    fn default() -> Self {
        Self {
            key: rand::random(),
            right: Cache::builder().max_capacity(MOST).time_to_live(MEMORY).build(),
            hashing: Arc::new(Semaphore::new(AT_ONCE)),
            waiting: Semaphore::new(WAITING),
        }
    }
}

impl Passwords {
    /// Whether the password is the user's. For a name that nobody has, `decoy` is hashed in vain and the answer is no.
    /// `may_still` is asked once more after waiting for a turn: guesses that came together must not pass together.
    pub(super) async fn check(
        &self,
        user: Option<&User>,
        decoy: Option<&str>,
        password: &str,
        may_still: impl FnOnce() -> bool,
    ) -> Result<bool, Crowded> {
        if let Some(user) = user
            && self.remembers(user, password)
        {
            return Ok(true);
        }
        let Some(hash) = user.map(|user| user.password_hash.as_str()).or(decoy) else { return Ok(false) };
        let _waiting = self.waiting.try_acquire().map_err(|_| Crowded)?;
        let turn = Arc::clone(&self.hashing).acquire_owned().await.map_err(|_| Crowded)?;
        if !may_still() {
            return Ok(false);
        }
        // The same login may have been checked while this one waited.
        if let Some(user) = user
            && self.remembers(user, password)
        {
            return Ok(true);
        }
        let right = {
            let (hash, password) = (hash.to_owned(), password.to_owned());
            tokio::task::spawn_blocking(move || {
                // Held here: an abandoned login goes on hashing, and must go on counting.
                let _turn = turn;
                verify(&hash, &password)
            })
            .await
            .unwrap_or(false)
        };
        match user {
            Some(user) if right => {
                self.right.insert(self.mac(user, password), user.password_hash.clone());
                Ok(true)
            }
            Some(_) | None => Ok(false),
        }
    }

    fn remembers(&self, user: &User, password: &str) -> bool {
        let mac = self.mac(user, password);
        match self.right.get(&mac) {
            Some(hash) if hash == user.password_hash => true,
            Some(_) => {
                self.right.invalidate(&mac);
                false
            }
            None => false,
        }
    }

    fn mac(&self, user: &User, password: &str) -> [u8; 32] {
        let mut mac = <Hmac<Sha256> as hmac::Mac>::new_from_slice(&self.key).expect("HMAC takes keys of any length");
        // The id has a fixed length, so no two pairs write the same bytes.
        mac.update(user.id.as_bytes());
        mac.update(password.as_bytes());
        mac.finalize().into_bytes().into()
    }
}

fn verify(hash: &str, password: &str) -> bool {
    PasswordHash::new(hash).is_ok_and(|hash| Argon2::default().verify_password(password.as_bytes(), &hash).is_ok())
}

#[cfg(test)]
mod tests {
    use argon2::{Params, PasswordHasher as _, password_hash::SaltString};
    use uuid::Uuid;

    use super::*;

    fn hash(password: &str) -> String {
        let argon2 =
            Argon2::new(argon2::Algorithm::Argon2id, argon2::Version::V0x13, Params::new(8, 1, 1, None).unwrap());
        let salt = SaltString::encode_b64(b"saltsalt").unwrap();
        argon2.hash_password(password.as_bytes(), &salt).unwrap().to_string()
    }

    fn user(password: &str) -> User {
        User {
            id: Uuid::from_u128(1),
            username: "a".to_owned(),
            password_hash: hash(password),
            tenant: "kylo:kylo".parse().unwrap(),
            groups: vec![],
        }
    }

    #[tokio::test]
    async fn a_right_password_is_remembered_and_a_wrong_one_is_not() {
        let passwords = Passwords::default();
        let user = user("right");
        assert!(!passwords.check(Some(&user), None, "wrong", || true).await.unwrap());
        assert!(!passwords.remembers(&user, "wrong"));
        assert!(passwords.check(Some(&user), None, "right", || true).await.unwrap());
        assert!(passwords.remembers(&user, "right"));
        // It needs no turn any more.
        passwords.hashing.close();
        assert!(passwords.check(Some(&user), None, "right", || true).await.unwrap());
        assert_eq!(passwords.check(Some(&user), None, "wrong", || true).await, Err(Crowded));
    }

    #[tokio::test]
    async fn a_changed_hash_forgets() {
        let passwords = Passwords::default();
        let before = user("old");
        assert!(passwords.check(Some(&before), None, "old", || true).await.unwrap());
        let after = User { password_hash: hash("new"), ..before };
        assert!(!passwords.check(Some(&after), None, "old", || true).await.unwrap());
        assert!(passwords.check(Some(&after), None, "new", || true).await.unwrap());
    }

    #[tokio::test]
    async fn an_unknown_user_is_hashed_in_vain() {
        let passwords = Passwords::default();
        let decoy = hash("right");
        assert!(!passwords.check(None, Some(&decoy), "right", || true).await.unwrap());
        // The decoy took a turn like anyone else.
        passwords.hashing.close();
        assert_eq!(passwords.check(None, Some(&decoy), "right", || true).await, Err(Crowded));
    }

    #[tokio::test]
    async fn a_guess_that_was_blocked_while_it_waited_is_not_checked() {
        let passwords = Passwords::default();
        let user = user("right");
        assert!(!passwords.check(Some(&user), None, "right", || false).await.unwrap());
        assert!(!passwords.remembers(&user, "right"));
    }

    #[test]
    fn two_processes_remember_under_different_keys() {
        let user = user("x");
        assert_ne!(Passwords::default().mac(&user, "x"), Passwords::default().mac(&user, "x"));
    }
}
