//! The file of connections, which may change while jobs run: read again every few seconds, as the scheduler's file of
//! quotas is. A content that makes no sense is told once and changes nothing: the last good one stays.

use std::{path::PathBuf, time::Duration};

use service_kit::settings::Invalid;
use tokio::time::sleep;

use super::Connections;

/// How often the file is read.
const EVERY: Duration = Duration::from_secs(2);

/// The file, and what was last read of it.
#[derive(Debug)]
pub struct ConnectionsFile {
    path: Option<PathBuf>,
    /// The content, or why there was none, that was told last.
    seen: Result<String, String>,
    now: Connections,
}

impl ConnectionsFile {
    /// Reads the file, if there is to be one.
    ///
    /// # Errors
    /// [`Invalid`] when it cannot be read or makes no sense: at the start somebody looks.
    pub fn open(path: Option<PathBuf>) -> Result<Self, Invalid> {
        // A variable that is set to nothing.
        let Some(path) = path.filter(|path| !path.as_os_str().is_empty()) else {
            return Ok(Self { path: None, seen: Ok(String::new()), now: Connections::default() });
        };
        let wrong = |error: String| Invalid::new("CONNECTIONS_FILE", format!("{}: {error}", path.display()));
        let content = std::fs::read_to_string(&path).map_err(|error| wrong(error.to_string()))?;
        let now: Connections = content.parse().map_err(|error: super::ConnectionsError| wrong(error.to_string()))?;
        tracing::info!(connections = now.count(), "The file of connections was read.");
        Ok(Self { path: Some(path), seen: Ok(content), now })
    }

    /// The connections as last read.
    pub const fn now(&self) -> &Connections {
        &self.now
    }

    /// Reads the file again and again, and hands on what has changed.
    pub async fn follow(mut self, changed: impl Fn(&Connections)) {
        let Some(path) = self.path.take() else { return };
        loop {
            metrics::gauge!("keyfleet_connections_file_good").set(f64::from(u8::from(self.is_good())));
            sleep(EVERY).await;
            if self.take(tokio::fs::read_to_string(&path).await.map_err(|error| error.to_string())) {
                changed(&self.now);
            }
        }
    }

    fn is_good(&self) -> bool {
        self.seen.as_ref().is_ok_and(|content| content.parse::<Connections>().is_ok())
    }

    /// Takes what was read, if it is other than before and makes sense; tells whether it did.
    fn take(&mut self, read: Result<String, String>) -> bool {
        if read == self.seen {
            return false;
        }
        let taken = match read.as_ref().map(|content| content.parse::<Connections>()) {
            Ok(Ok(now)) => {
                tracing::info!(connections = now.count(), "The file of connections was read again.");
                self.now = now;
                true
            }
            Ok(Err(error)) => {
                tracing::error!(%error, "The file of connections makes no sense; the last good one stays.");
                false
            }
            Err(error) => {
                tracing::error!(error, "The file of connections cannot be read; the last good one stays.");
                false
            }
        };
        self.seen = read;
        taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_makes_no_sense_changes_nothing() {
        let mut file = ConnectionsFile::open(None).unwrap();
        for (read, taken, count, good) in [
            (Ok(r#"{"a": {}, "b": {"profile": "b"}}"#.to_owned()), true, 2, true),
            (Ok(r#"{"a": {"profil": "b"}}"#.to_owned()), false, 2, false),
            (Err("no such file".to_owned()), false, 2, false),
            (Ok(r#"{"a": {}}"#.to_owned()), true, 1, true),
            (Ok(r#"{"a": {}}"#.to_owned()), false, 1, true),
            (Ok("{}".to_owned()), true, 0, true),
        ] {
            let context = format!("{read:?}");
            assert_eq!(file.take(read), taken, "{context}");
            assert_eq!((file.now().count(), file.is_good()), (count, good), "{context}");
        }
    }

    #[test]
    fn at_the_start_it_must_make_sense() {
        let nowhere = ConnectionsFile::open(Some("/nowhere/connections.json".into())).unwrap_err().to_string();
        assert!(nowhere.contains("CONNECTIONS_FILE") && nowhere.contains("/nowhere/connections.json"), "{nowhere}");
        assert_eq!(ConnectionsFile::open(Some("".into())).unwrap().now(), &Connections::default());
    }
}
