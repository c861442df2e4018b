//! The quotas as they are now: the setting, and a file that may change while jobs run.
//!
//! AWS grants quotas by account and Region, and a grant comes while a job of hours is running. So the file is read
//! again every few seconds, which needs no signal, no watcher, and works however a file is put in its place (written
//! over, renamed into, or a mounted ConfigMap). A content that makes no sense is told once and changes nothing: the last
//! good one stays. Standbys follow it as well, so that whoever comes to lead has it.

use std::{path::PathBuf, time::Duration};

use job_model::{
    places::{PlaceQuotas, Places},
    quota::Quotas,
};
use service_kit::settings::Invalid;
use tokio::{sync::watch, time::sleep};

/// How often the file is read.
const EVERY: Duration = Duration::from_secs(2);

/// The file, and what was last read of it.
#[derive(Debug)]
pub struct QuotasFile {
    everywhere: Quotas,
    path: Option<PathBuf>,
    /// The content, or why there was none, that was told last.
    seen: Result<String, String>,
    now: watch::Sender<PlaceQuotas>,
}

impl QuotasFile {
    /// Reads the file, if there is to be one. What it does not name keeps to `everywhere`.
    ///
    /// # Errors
    /// [`Invalid`] when it cannot be read or makes no sense: at the start somebody looks.
    pub fn open(everywhere: Quotas, path: Option<PathBuf>) -> Result<Self, Invalid> {
        // A variable that is set to nothing.
        let path = path.filter(|path| !path.as_os_str().is_empty());
        let wrong = |path: &PathBuf, error: String| {
            Invalid::new("KEYFLEET_QUOTAS_FILE", format!("{}: {error}", path.display()))
        };
        let (content, places) = match &path {
            None => (String::new(), Places::default()),
            Some(path) => {
                let content = std::fs::read_to_string(path).map_err(|error| wrong(path, error.to_string()))?;
                let places = content.parse::<Places>().map_err(|error| wrong(path, error.to_string()))?;
                tracing::info!(places = places.count(), "The file of quotas was read.");
                (content, places)
            }
        };
        let now = watch::Sender::new(PlaceQuotas::with(everywhere.clone(), places));
        Ok(Self { everywhere, path, seen: Ok(content), now })
    }

    /// The quotas, and their changes.
    pub fn now(&self) -> watch::Receiver<PlaceQuotas> {
        self.now.subscribe()
    }

    /// Reads the file again and again.
    pub async fn follow(mut self) {
        let Some(path) = self.path.take() else {
            // Whoever follows the quotas does not care whether they can change.
            return std::future::pending().await;
        };
        loop {
            metrics::gauge!("keyfleet_quotas_file_good").set(f64::from(u8::from(self.is_good())));
            sleep(EVERY).await;
            self.take(tokio::fs::read_to_string(&path).await.map_err(|error| error.to_string()));
        }
    }

    fn is_good(&self) -> bool {
        self.seen.as_ref().is_ok_and(|content| content.parse::<Places>().is_ok())
    }

    /// Takes what was read, if it is other than before and makes sense.
    fn take(&mut self, read: Result<String, String>) {
        if read == self.seen {
            return;
        }
        match read.as_ref().map(|content| content.parse::<Places>()) {
            Ok(Ok(places)) => {
                tracing::info!(places = places.count(), "The file of quotas was read again.");
                self.now.send_replace(PlaceQuotas::with(self.everywhere.clone(), places));
            }
            Ok(Err(error)) => {
                tracing::error!(%error, "The file of quotas makes no sense; the last good one stays.");
            }
            Err(error) => tracing::error!(error, "The file of quotas cannot be read; the last good one stays."),
        }
        self.seen = read;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLACE: (&str, &str) = ("111122223333", "eu-west-1");

    fn enable(file: &QuotasFile) -> Option<f64> {
        file.now().borrow().per_second(PLACE.0, PLACE.1, "EnableKey")
    }

    #[test]
    fn what_makes_no_sense_changes_nothing() {
        let mut file = QuotasFile::open(Quotas::aws(), None).unwrap();
        let mut changes = file.now();
        for (read, quota, changed, good) in [
            (Ok(r#"{"111122223333/eu-west-1": {"EnableKey": 9}}"#.to_owned()), 9.0, true, true),
            (Ok(r#"{"111122223333/eu-west-1": {"EnableKey": -9}}"#.to_owned()), 9.0, false, false),
            (Ok(r#"{"111122223333/eu-w"#.to_owned()), 9.0, false, false),
            (Err("no such file".to_owned()), 9.0, false, false),
            (Ok(r#"{"111122223333/eu-west-1": {"EnableKey": 7}}"#.to_owned()), 7.0, true, true),
            (Ok(r#"{"111122223333/eu-west-1": {"EnableKey": 7}}"#.to_owned()), 7.0, false, true),
            (Ok("{}".to_owned()), 5.0, true, true),
        ] {
            let context = format!("{read:?}");
            file.take(read);
            assert_eq!(enable(&file), Some(quota), "{context}");
            assert_eq!(changes.has_changed().unwrap(), changed, "{context}");
            assert_eq!(file.is_good(), good, "{context}");
            changes.mark_unchanged();
        }
    }

    #[test]
    fn at_the_start_it_must_make_sense() {
        let nowhere = QuotasFile::open(Quotas::aws(), Some("/nowhere/quotas.json".into())).unwrap_err().to_string();
        assert!(nowhere.contains("KEYFLEET_QUOTAS_FILE") && nowhere.contains("/nowhere/quotas.json"), "{nowhere}");
        assert_eq!(enable(&QuotasFile::open(Quotas::off(), Some("".into())).unwrap()), None);
    }
}
