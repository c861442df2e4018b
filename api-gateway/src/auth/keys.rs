//! The signing keys as they are now: from the environment for good, or from a file that is read again when it changes.
//!
//! The last good content stays when a new one cannot be read, as with the users.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, PoisonError, RwLock},
};

use service_kit::settings::{Invalid, Secret, secret_or_file};
use sha2::{Digest as _, Sha256};

use super::signing::Signing;

const SETTING: &str = "TOKEN_KEY";

/// The keys, and where they come from.
pub(super) struct Keys {
    file: Option<PathBuf>,
    current: RwLock<Current>,
}

struct Current {
    /// Tells one content from another without keeping it.
    digest: [u8; 32],
    signing: Arc<Signing>,
}

impl Keys {
    /// From the setting itself or its file.
    ///
    /// # Errors
    /// [`Invalid`] when neither or both are given, or there is no key in it.
    pub(super) fn open(value: Option<&Secret<String>>, file: Option<&Path>) -> Result<Self, Invalid> {
        let current = Current::of(&secret_or_file(SETTING, value, file)?)?;
        Ok(Self { file: file.map(Path::to_owned), current: RwLock::new(current) })
    }

    /// The keys as last read.
    pub(super) fn now(&self) -> Arc<Signing> {
        Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner).signing)
    }

    /// Reads the file again. Blocks.
    pub(super) fn reload(&self) -> Result<(), Invalid> {
        let Some(file) = &self.file else { return Ok(()) };
        let text = secret_or_file(SETTING, None, Some(file))?;
        if self.current.read().unwrap_or_else(PoisonError::into_inner).digest == digest(&text) {
            return Ok(());
        }
        let current = Current::of(&text)?;
        tracing::info!(keys = current.signing.public_keys().keys.len(), "The token keys were read again.");
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = current;
        Ok(())
    }
}

impl Current {
    fn of(text: &Secret<String>) -> Result<Self, Invalid> {
        let signing = Signing::new(text.expose()).map_err(|error| Invalid::new(SETTING, error))?;
        Ok(Self { digest: digest(text), signing: Arc::new(signing) })
    }
}

fn digest(text: &Secret<String>) -> [u8; 32] {
    Sha256::digest(text.expose().as_bytes()).into()
}

#[cfg(test)]
mod tests {
    use rcgen::KeyPair;

    use super::*;

    #[test]
    fn a_changed_file_is_read_again_and_a_broken_one_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token.pem");
        let pem = || KeyPair::generate().unwrap().serialize_pem();
        let one = pem();
        std::fs::write(&path, &one).unwrap();
        let keys = Keys::open(None, Some(&path)).unwrap();
        let before = keys.now();
        keys.reload().unwrap();
        assert!(Arc::ptr_eq(&before, &keys.now()));
        std::fs::write(&path, format!("{}{one}", pem())).unwrap();
        keys.reload().unwrap();
        assert_eq!(keys.now().public_keys().keys.len(), 2);
        for broken in ["", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"] {
            std::fs::write(&path, broken).unwrap();
            assert!(keys.reload().is_err());
        }
        assert_eq!(keys.now().public_keys().keys.len(), 2);
    }
}
