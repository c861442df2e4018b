//! Wall clocks of single processes that can be set back.
//!
//! libfaketime (Debian's package `faketime`) stands between a process and the C library's wall clock and reads from a file how far it
//! is off. The clock that leases are measured by is the kernel's own and stays: nobody can set that one. Where the library is not
//! installed no clock is set back, and that is said.

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::{Context as _, Result};
use dev_stack::StackSettings;
use tempfile::TempDir;

use super::schedule::SERVICES;

/// How far a clock is set back, in seconds: longer than tokens live, shorter than idempotency keys do.
const BACK_S: u32 = 3_600;

/// The file of each service that says how far its clock is off.
#[derive(Debug)]
pub(super) struct Clocks {
    files: BTreeMap<&'static str, PathBuf>,
    _folder: TempDir,
}

impl Clocks {
    /// Gives each service of the stack that is to be started with these settings a clock of its own.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub(super) fn give(settings: &mut StackSettings) -> Result<Self> {
        let folder = tempfile::tempdir().context("a folder for clocks")?;
        let mut files = BTreeMap::new();
        let Some(library) = library() else {
            println!("libfaketime is not installed (Debian: faketime): no clock is set back.");
            return Ok(Self { files, _folder: folder });
        };
        for service in SERVICES {
            let file = folder.path().join(service);
            std::fs::write(&file, "+0").context("the file of a clock")?;
            let env = settings.env.entry(service.to_owned()).or_default();
            env.insert("LD_PRELOAD".to_owned(), library.display().to_string());
            env.insert("FAKETIME_TIMESTAMP_FILE".to_owned(), file.display().to_string());
            env.insert("FAKETIME_CACHE_DURATION".to_owned(), "1".to_owned());
            env.insert("FAKETIME_DONT_FAKE_MONOTONIC".to_owned(), "1".to_owned());
            files.insert(service, file);
        }
        Ok(Self { files, _folder: folder })
    }

    /// Sets a service's clock back, or right again. It notices within a second.
    ///
    /// # Errors
    /// When its file cannot be written.
    pub(super) fn set_back(&self, service: &str, back: bool) -> Result<()> {
        let Some(file) = self.files.get(service) else { return Ok(()) };
        let off = if back { format!("-{BACK_S}") } else { "+0".to_owned() };
        std::fs::write(file, off).context("the file of a clock")
    }
}

/// The library, where Debian keeps it.
fn library() -> Option<PathBuf> {
    let folders = std::fs::read_dir("/usr/lib").ok()?.filter_map(Result::ok);
    folders.map(|entry| entry.path().join("faketime/libfaketimeMT.so.1")).find(|library| library.is_file())
}
