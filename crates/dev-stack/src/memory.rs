//! What a stack remembers from one start to the next: where its data is, its ports, its passwords.
//!
//! Invariant: the file is written before anything relies on what it says, and only its owner can
//! read it, for it holds passwords.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use rand::distr::{Alphanumeric, SampleString};
use serde::{Deserialize, Serialize};

use crate::ports;
use crate::site::write_private;

/// Long enough that guessing is hopeless even against a fast hash: 32 of 62 signs, 190 bits.
const SECRET_LENGTH: usize = 32;

/// The remembered facts.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Memory {
    /// The folder of the servers' data.
    pub data: PathBuf,
    ports: BTreeMap<String, u16>,
    secrets: BTreeMap<String, String>,
}

impl Memory {
    /// A fresh memory whose data is in that folder.
    #[must_use]
    pub(crate) fn with_data(data: PathBuf) -> Self {
        Self { data, ..Self::default() }
    }

    /// What the file holds, or nothing yet when there is no file.
    ///
    /// # Errors
    /// When it cannot be read or is not what [`Memory::save`] writes.
    pub(crate) fn load(file: &Path) -> Result<Self> {
        match fs::read(file) {
            Ok(bytes) => serde_json::from_slice(&bytes).with_context(|| format!("{} is damaged", file.display())),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(error).with_context(|| format!("cannot read {}", file.display())),
        }
    }

    /// Writes it all.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub(crate) fn save(&self, file: &Path) -> Result<()> {
        write_private(file, &serde_json::to_vec_pretty(self).context("cannot write the memory")?)
    }

    /// The port of that name: `fixed` when given, else the remembered one while it is free, else a new one.
    ///
    /// # Errors
    /// When `fixed` is taken by another program, or no port is free.
    pub(crate) fn port(&mut self, name: &str, fixed: Option<u16>) -> Result<u16> {
        let port = match (fixed, self.ports.get(name)) {
            (Some(port), _) if ports::is_free(port) => port,
            (Some(port), _) => bail!("port {port}, asked for {name}, is taken by another program"),
            (None, Some(port)) if ports::is_free(*port) => *port,
            (None, _) => ports::free()?,
        };
        self.ports.insert(name.to_owned(), port);
        Ok(port)
    }

    /// The password of that name, made up at first use.
    pub(crate) fn secret(&mut self, name: &str) -> String {
        self.secrets
            .entry(name.to_owned())
            .or_insert_with(|| Alphanumeric.sample_string(&mut rand::rng(), SECRET_LENGTH))
            .clone()
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, TcpListener};

    use super::*;

    #[test]
    fn remembers_ports_and_secrets_over_a_save() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("memory.json");
        let mut memory = Memory::load(&file).unwrap();
        let (port, secret) = (memory.port("gateway", None).unwrap(), memory.secret("user"));
        memory.save(&file).unwrap();

        let mut again = Memory::load(&file).unwrap();
        assert_eq!((again.port("gateway", None).unwrap(), again.secret("user")), (port, secret.clone()));
        assert_ne!(again.secret("other"), secret);
    }

    #[test]
    fn a_remembered_port_taken_meanwhile_is_replaced_and_a_fixed_one_refused() {
        let mut memory = Memory::default();
        let port = memory.port("gateway", None).unwrap();
        let _taken = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).unwrap();
        assert_ne!(memory.port("gateway", None).unwrap(), port);
        assert!(memory.port("gateway", Some(port)).unwrap_err().to_string().contains("is taken"));
    }
}
