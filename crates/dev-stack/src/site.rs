//! The folders of one stack: process ids, addresses, logs, memory; and the servers' data elsewhere.
//!
//! The data is in a folder of its own under the system's temporary folder, because Postgres cannot
//! live below a folder that its account may not enter, such as root's home.

use std::fs::{self, DirBuilder, OpenOptions, Permissions};
use std::io::Write;
use std::iter;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::memory::Memory;
use crate::part::Part;
use crate::process::Process;

/// How data folders begin, so that nobody wonders whose they are.
const DATA_PREFIX: &str = "keyfleet-";
/// The file of what is remembered.
const MEMORY: &str = "memory.json";

/// One stack's folder.
#[derive(Debug, Clone)]
pub(crate) struct Site {
    root: PathBuf,
}

impl Site {
    /// The folder `root`, made when it is not there yet.
    ///
    /// # Errors
    /// When a folder cannot be made.
    pub(crate) fn open(root: &Path) -> Result<Self> {
        for dir in ["run", "log", "tls"] {
            fs::create_dir_all(root.join(dir)).with_context(|| format!("cannot make {}", root.join(dir).display()))?;
        }
        Ok(Self { root: root.canonicalize().with_context(|| format!("cannot enter {}", root.display()))? })
    }

    /// The folder `root` when a stack was ever started there; commands that only end things make nothing.
    ///
    /// # Errors
    /// When it cannot be entered.
    pub(crate) fn existing(root: &Path) -> Result<Option<Self>> {
        if root.join(MEMORY).is_file() { Self::open(root).map(Some) } else { Ok(None) }
    }

    /// A folder for a stack that lives only for a while, with the data inside.
    ///
    /// # Errors
    /// When a folder cannot be made.
    pub(crate) fn temporary() -> Result<Self> {
        let site = Self::open(&new_data_dir()?)?;
        let data = site.root.join("data");
        open_dir(&data)?;
        Memory::with_data(data).save(&site.memory_file())?;
        Ok(site)
    }

    /// The folder itself.
    #[must_use]
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// What is remembered here; with a fresh data folder when there is none, or it is gone.
    ///
    /// # Errors
    /// When the memory cannot be read or written.
    pub(crate) fn memory(&self) -> Result<Memory> {
        let mut memory = Memory::load(&self.memory_file())?;
        if !memory.data.is_dir() {
            memory.data = new_data_dir()?;
            memory.save(&self.memory_file())?;
        }
        Ok(memory)
    }

    /// The data folder that is remembered and not there any more: temporary folders are emptied.
    ///
    /// # Errors
    /// When the memory cannot be read.
    pub(crate) fn lost_data(&self) -> Result<Option<PathBuf>> {
        let data = Memory::load(&self.memory_file())?.data;
        Ok((!data.as_os_str().is_empty() && !data.is_dir()).then_some(data))
    }

    /// Writes what is to be remembered.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub(crate) fn remember(&self, memory: &Memory) -> Result<()> {
        memory.save(&self.memory_file())
    }

    /// The log of a part.
    #[must_use]
    pub(crate) fn log(&self, name: &str) -> PathBuf {
        self.root.join("log").join(format!("{name}.log"))
    }

    /// A file of a part in `run`: `pid`, `addr`, or `json` (how it was started).
    #[must_use]
    pub(crate) fn run(&self, name: &str, what: &str) -> PathBuf {
        self.root.join("run").join(format!("{name}.{what}"))
    }

    /// A file in the folder of keys and certificates.
    #[must_use]
    pub(crate) fn tls(&self, name: &str) -> PathBuf {
        self.root.join("tls").join(name)
    }

    /// The last lines of a part's log.
    #[must_use]
    pub(crate) fn log_tail(&self, name: &str, lines: usize) -> String {
        let bytes = fs::read(self.log(name)).unwrap_or_default();
        let text = String::from_utf8_lossy(&bytes);
        let all: Vec<&str> = text.lines().collect();
        all[all.len().saturating_sub(lines)..].join("\n")
    }

    /// The parts that were started here and not stopped since, with their processes, dead or alive.
    ///
    /// # Errors
    /// When a record cannot be read.
    pub(crate) fn parts(&self) -> Result<Vec<(Part, Option<Process>)>> {
        let mut found = Vec::new();
        let Ok(entries) = fs::read_dir(self.root.join("run")) else {
            return Ok(found);
        };
        for entry in entries {
            let path = entry.context("cannot list the run folder")?.path();
            if path.extension().is_some_and(|extension| extension == "json") {
                let record = Part::read(&path)?;
                found.push(record);
            }
        }
        Ok(found)
    }

    /// Removes everything that was made here, the data too. Nothing may run any more.
    ///
    /// Only what is known to be ours, and the folder itself when nothing else is in it: it may have been
    /// named by mistake.
    ///
    /// # Errors
    /// When something resists.
    pub(crate) fn remove(&self) -> Result<()> {
        // Without making a new data folder when the old one is gone.
        let data = Memory::load(&self.memory_file()).map(|memory| memory.data).unwrap_or_default();
        let ours = ["run", "log", "tls", "lock", "stack.env", "users.json", MEMORY];
        for path in iter::once(data).chain(ours.map(|name| self.root.join(name))) {
            let removed = if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
            match removed {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(error).with_context(|| format!("cannot remove {}", path.display()));
                }
                Ok(()) | Err(_) => {}
            }
        }
        match fs::remove_dir(&self.root) {
            Err(error) if error.kind() == std::io::ErrorKind::DirectoryNotEmpty => Ok(()),
            other => other.with_context(|| format!("cannot remove {}", self.root.display())),
        }
    }

    /// The gateway's file of users.
    #[must_use]
    pub(crate) fn users_file(&self) -> PathBuf {
        self.root.join("users.json")
    }

    fn memory_file(&self) -> PathBuf {
        self.root.join(MEMORY)
    }
}

/// Writes a file that only its owner can read, whole or not at all.
///
/// # Errors
/// When it cannot be written.
pub(crate) fn write_private(path: &Path, bytes: &[u8]) -> Result<()> {
    let half = path.with_extension("half");
    let write = || -> std::io::Result<()> {
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&half)?;
        file.write_all(bytes)?;
        fs::rename(&half, path)
    };
    write().with_context(|| format!("cannot write {}", path.display()))
}

/// Makes a folder that every account may enter but only its owner can list.
///
/// # Errors
/// When it cannot be made.
pub(crate) fn open_dir(path: &Path) -> Result<()> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o711)
        .create(path)
        .and_then(|()| fs::set_permissions(path, Permissions::from_mode(0o711)))
        .with_context(|| format!("cannot make {}", path.display()))
}

fn new_data_dir() -> Result<PathBuf> {
    let base = std::env::temp_dir();
    // A private TMPDIR (root's own, say) would shut the servers' accounts out.
    let base = if everyone_may_enter(&base) { base } else { PathBuf::from("/tmp") };
    let dir = tempfile::Builder::new()
        .prefix(DATA_PREFIX)
        .permissions(Permissions::from_mode(0o711))
        .tempdir_in(&base)
        .with_context(|| format!("cannot make a folder in {}", base.display()))?
        .keep();
    open_dir(&dir)?;
    Ok(dir)
}

fn everyone_may_enter(dir: &Path) -> bool {
    dir.ancestors().all(|dir| fs::metadata(dir).is_ok_and(|facts| facts.permissions().mode() & 0o001 != 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn private_files_are_private() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("secret.json");
        write_private(&file, b"x").unwrap();
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn data_that_vanished_is_replaced_and_removal_takes_it_along() {
        let dir = tempfile::tempdir().unwrap();
        let site = Site::open(&dir.path().join("dev")).unwrap();
        let first = site.memory().unwrap().data;
        assert_eq!(site.memory().unwrap().data, first);
        assert_eq!(site.lost_data().unwrap(), None);
        fs::remove_dir_all(&first).unwrap();
        assert_eq!(site.lost_data().unwrap(), Some(first.clone()));
        let second = site.memory().unwrap().data;
        assert!(second.is_dir() && second != first);
        site.remove().unwrap();
        assert!(!second.exists() && !site.root().exists());
    }

    #[test]
    fn a_private_folder_is_not_for_everyone() {
        let dir = tempfile::tempdir().unwrap();
        fs::set_permissions(dir.path(), Permissions::from_mode(0o700)).unwrap();
        assert!(!everyone_may_enter(dir.path()));
        assert!(everyone_may_enter(Path::new("/usr/bin")));
    }
}
