//! Which account a server runs as: Postgres refuses root, and RabbitMQ does not need it.

use std::fs;
use std::os::unix::fs::chown;
use std::path::Path;

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

/// An account by its ids.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Account {
    /// User id.
    pub uid: u32,
    /// Its primary group.
    pub gid: u32,
}

impl Account {
    /// The account for a server: `preferred` or else `nobody` for root, and `None` (the caller's own)
    /// for everybody else, who can't change it anyway.
    ///
    /// # Errors
    /// When neither account exists.
    pub(crate) fn for_server(preferred: &str) -> Result<Option<Self>> {
        if !rustix::process::geteuid().is_root() {
            return Ok(None);
        }
        let passwd = fs::read_to_string("/etc/passwd").context("cannot read /etc/passwd")?;
        match lookup(&passwd, preferred).or_else(|| lookup(&passwd, "nobody")) {
            Some(account) => Ok(Some(account)),
            None => bail!("there is neither a user {preferred} nor nobody to run it as"),
        }
    }
}

/// Gives `path` to the account, when there is one.
///
/// # Errors
/// When the file system refuses.
pub(crate) fn give(path: &Path, account: Option<Account>) -> Result<()> {
    if let Some(account) = account {
        chown(path, Some(account.uid), Some(account.gid))
            .with_context(|| format!("cannot give {} to user {}", path.display(), account.uid))?;
    }
    Ok(())
}

/// A line of passwd(5): `name:password:uid:gid:…`.
fn lookup(passwd: &str, name: &str) -> Option<Account> {
    passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        if fields.next()? != name {
            return None;
        }
        let uid = fields.nth(1)?.parse().ok()?;
        Some(Account { uid, gid: fields.next()?.parse().ok()? })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn looks_up_whole_names_only() {
        let passwd = "root:x:0:0:root:/root:/bin/bash\npostgres:x:101:104:PostgreSQL:/var:/bin/bash\n";
        assert_eq!(lookup(passwd, "postgres"), Some(Account { uid: 101, gid: 104 }));
        assert_eq!(lookup(passwd, "post"), None);
    }
}
